"""Ends what a process started when that process dies without doing so itself, SIGKILL included.

A small process of its own (standard library only) that holds one end of a pipe: each line says what to
watch or forget, end of file says the parent is gone. Then it stops the watched processes stage by stage,
lowest first: the stop signal, a grace, SIGKILL. Process numbers are matched with their start times, so a
number used again is safe. Linux only: it reads /proc.
"""

from __future__ import annotations

import atexit
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

POLL_S = 0.5
ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True)
class Watched:
    """A process that leads its own group. `group`: signals go to the whole group."""

    pid: int
    started: str
    stage: int
    stop_signal: int
    grace_s: float
    group: bool

    def to_line(self) -> str:
        words = (self.pid, self.started, self.stage, int(self.stop_signal), self.grace_s, int(self.group))
        return "watch " + " ".join(map(str, words)) + "\n"

    @classmethod
    def from_words(cls, words: list[str]) -> Watched:
        pid, started, stage, stop_signal, grace_s, group = words
        return cls(int(pid), started, int(stage), int(stop_signal), float(grace_s), group == "1")

    def alive(self) -> bool:
        """The process itself, or (group) anything left in its group."""
        if self.started and start_time(self.pid) == self.started:
            return True
        return self.group and bool(group_members(self.pid))

    def send(self, number: int) -> None:
        try:
            if self.group:
                os.killpg(self.pid, number)
            elif start_time(self.pid) == self.started:
                os.kill(self.pid, number)
        except (ProcessLookupError, PermissionError):
            pass


def _stat_fields(pid: int) -> list[str]:
    """Fields of /proc/PID/stat after the name: state first; empty when there is no such process."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return []
    return text.rpartition(")")[2].split()


def start_time(pid: int) -> str:
    """Clock ticks since boot at which the process began; "" when it is gone or a zombie."""
    fields = _stat_fields(pid)
    return fields[19] if fields and fields[0] != "Z" else ""


def group_members(group: int) -> list[int]:
    """Live processes of a group."""
    members = []
    for entry in os.listdir("/proc"):
        if entry.isdecimal():
            fields = _stat_fields(int(entry))
            if fields and fields[0] != "Z" and fields[2] == str(group):
                members.append(int(entry))
    return members


def stop_all(watched: list[Watched]) -> None:
    """Stop stage by stage; returns when nothing watched is left."""
    for stage in sorted({item.stage for item in watched}):
        current = [item for item in watched if item.stage == stage and item.alive()]
        for item in current:
            item.send(item.stop_signal)
        deadline = time.monotonic() + max((item.grace_s for item in current), default=0.0)
        while any(item.alive() for item in current) and time.monotonic() < deadline:
            time.sleep(0.05)
        for item in current:
            if item.alive():
                item.send(signal.SIGKILL)


class Reaper:
    """The parent's side: starts the watching process and tells it what to watch."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-E", "-m", "hes.reaper", str(os.getpid())],
            stdin=subprocess.PIPE,
            cwd=ROOT,
            start_new_session=True,
        )
        self._owner = os.getpid()
        atexit.register(self._finish)

    def _finish(self) -> None:
        """At the end of this process: what is still watched is stopped, then the reaper ends."""
        if os.getpid() == self._owner and self._process.stdin is not None:
            self._process.stdin.close()
            self._process.wait()

    def _tell(self, line: str) -> None:
        stream = self._process.stdin
        assert stream is not None
        if os.getpid() != self._owner:
            raise RuntimeError("a forked child must not use its parent's reaper")
        stream.write(line.encode())
        stream.flush()

    def watch(
        self,
        pid: int,
        *,
        stage: int,
        stop_signal: int = signal.SIGTERM,
        grace_s: float = 10.0,
        group: bool = True,
    ) -> Watched:
        """From now on `pid` ends with this process at the latest."""
        watched = Watched(pid, start_time(pid), stage, stop_signal, grace_s, group)
        self._tell(watched.to_line())
        return watched

    def forget(self, pid: int) -> None:
        self._tell(f"forget {pid}\n")


@cache
def own_reaper() -> Reaper:
    """The one reaper of this process. Ends by itself when this process ends."""
    return Reaper()


def _lines_until_parent_gone(parent: int) -> Iterator[str]:
    """What the parent says, line by line; ends when the parent does: end of file, or another parent."""
    pending = b""
    gone = False
    while True:
        # a forked child of the parent may hold the pipe open, so end of file alone is not enough
        gone = gone or os.getppid() != parent
        ready, _, _ = select.select([0], [], [], 0 if gone else POLL_S)
        if ready:
            chunk = os.read(0, 65536)
            if not chunk:
                return
            *complete, pending = (pending + chunk).split(b"\n")
            yield from (line.decode() for line in complete)
        elif gone:
            return


def main(parent: int) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    watched: dict[int, Watched] = {}
    for line in _lines_until_parent_gone(parent):
        verb, *words = line.split(" ")
        if verb == "watch":
            item = Watched.from_words(words)
            watched[item.pid] = item
        else:
            watched.pop(int(words[0]), None)
    stop_all(list(watched.values()))


if __name__ == "__main__":
    main(int(sys.argv[1]))
