"""Runs the Procfile's processes on one machine: for bin/demo, benches and kill tests.

Owns start, log files, restart and the order of the stop. In production a process manager does this work.
Only processes started here are ever signalled; what is left when this process dies, the reaper ends.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

from honcho.environ import parse_procfile

from hes.reaper import ROOT, Watched, own_reaper, stop_all

#: stop order: who makes work, who does it, who carries it, who stores it; embedded servers end at 90
STAGES: Final[Mapping[str, int]] = {
    "beat": 10,
    "worker-reads": 20,
    "worker-commands": 20,
    "push": 30,
    "gateway": 40,
    "ingest": 50,
    "web": 50,
    "simulator": 60,
}
DEFAULT_STAGE: Final = 30
RESTART_FIRST_S: Final = 1.0
RESTART_LONGEST_S: Final = 30.0
POLL_S: Final = 0.2


@dataclass(slots=True)
class Child:
    """One process in a group of its own, its output in a file. `name` is kind or kind.number."""

    name: str
    command: Sequence[str]
    log_path: Path
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    stop_signal: signal.Signals = signal.SIGTERM
    grace_s: float = 20.0
    restarts: int = 0
    started_at: float = 0.0
    _watched: Watched | None = None
    _process: subprocess.Popen[bytes] | None = None

    @property
    def kind(self) -> str:
        return self.name.partition(".")[0]

    @property
    def stage(self) -> int:
        return STAGES.get(self.kind, DEFAULT_STAGE)

    @property
    def pid(self) -> int:
        assert self._process is not None, f"{self.name} was not started"
        return self._process.pid

    def start(self) -> Self:
        self.log_path.parent.mkdir(parents=True, exist_ok=True)
        reaper = own_reaper()
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                self.command,
                cwd=ROOT,
                env=child_env(self.env),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.started_at = time.monotonic()
        self._watched = reaper.watch(
            self.pid, stage=self.stage, stop_signal=self.stop_signal, grace_s=self.grace_s
        )
        return self

    def exit_status(self) -> int | None:
        """None while it runs; negative: ended by that signal."""
        return self._process.poll() if self._process is not None else None

    def send(self, number: int) -> None:
        """A signal to the process alone, not to its group; nothing when it has ended."""
        if self._process is not None:
            self._process.send_signal(number)

    def wait(self, timeout_s: float) -> int:
        """Exit status; subprocess.TimeoutExpired when it does not come."""
        assert self._process is not None
        return self._process.wait(timeout_s)

    def stop(self) -> int | None:
        """Stop signal to the group, a grace, SIGKILL; its exit status. Safe to call twice."""
        stop_children([self])
        return self.exit_status()

    def collect(self) -> None:
        """Forget a process that has ended and its group."""
        assert self._process is not None
        self._process.wait()
        own_reaper().forget(self.pid)

    def log_tail(self, lines: int = 8) -> str:
        return "\n".join(self.log_path.read_text(errors="replace").splitlines()[-lines:])


def child_env(extra: Mapping[str, str]) -> dict[str, str]:
    """Our environment, this interpreter's commands first in PATH, output unbuffered."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    return {**os.environ, "PATH": path, "PYTHONUNBUFFERED": "1", **extra}


def stop_children(children: Iterable[Child]) -> None:
    """Stop stage by stage, whole groups; returns when none is left."""
    started = [child for child in children if child._process is not None]
    for child in started:
        child.exit_status()  # collects what has ended already
    stop_all([child._watched for child in started if child._watched is not None])
    for child in started:
        child.collect()


def procfile_commands(path: Path = ROOT / "Procfile") -> dict[str, str]:
    """Kind of process -> shell command, in the order of the file."""
    return dict(parse_procfile(path.read_text()).processes)


def shell(command: str) -> list[str]:
    """A Procfile's line as a command; exec, so that the process is the command and not its shell."""
    return ["/bin/sh", "-c", f"exec {command}"]


class Supervisor:
    """A set of children: starts them, restarts what ends unasked, stops them in order."""

    def __init__(self, log_folder: Path, env: Mapping[str, str]) -> None:
        self.log_folder = log_folder
        self.env = dict(env)
        self.children: dict[str, Child] = {}
        self._restart_at: dict[str, float] = {}

    def add(
        self,
        name: str,
        command: Sequence[str],
        env: Mapping[str, str] | None = None,
        *,
        grace_s: float = 20.0,
    ) -> Child:
        """Start one more process."""
        if name in self.children:
            raise ValueError(f"there is a process {name} already")
        child = Child(
            name, command, self.log_folder / f"{name}.log", {**self.env, **(env or {})}, grace_s=grace_s
        )
        self.children[name] = child.start()
        return child

    def of_kind(self, kind: str) -> list[Child]:
        return [child for child in self.children.values() if child.kind == kind]

    def ended(self) -> list[Child]:
        return [child for child in self.children.values() if child.exit_status() is not None]

    def restart_ended(self) -> list[Child]:
        """Start again what has ended, each after a pause that doubles; those that were started now."""
        now = time.monotonic()
        again = []
        for child in self.ended():
            if child.name not in self._restart_at:
                lived_long = now - child.started_at > RESTART_LONGEST_S
                child.restarts = 0 if lived_long else child.restarts
                pause_s = min(RESTART_FIRST_S * 2**child.restarts, RESTART_LONGEST_S)
                self._restart_at[child.name] = now + pause_s
            elif now >= self._restart_at[child.name]:
                del self._restart_at[child.name]
                stop_children([child])  # whatever is left of its group
                child.restarts += 1
                again.append(child.start())
        return again

    def stop(self) -> None:
        stop_children(self.children.values())
        self.children.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
