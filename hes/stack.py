"""The whole head-end system on this machine: servers, Procfile, simulated fleet. For demo, benches, tests.

Owns a folder under var/ (data, logs, secrets of mode 0600) and everything that runs on it. Talks to the
system from outside only: command lines, environment, HTTP. So it proves what a user would find.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

import httpx

from hes.embedded import HOST, EmbeddedPostgres, EmbeddedRedis, Server, free_port
from hes.reaper import ROOT
from hes.supervisor import Child, Supervisor, child_env, procfile_commands, shell

OPERATOR: Final = "operator"
READY_TIMEOUT_S: Final = 90.0
MANAGE_TIMEOUT_S: Final = 600.0
#: kinds that take a port of their own for each process
PORT_VARIABLES: Final[Mapping[str, str]] = {"web": "PORT", "gateway": "HES_GATEWAY_PORT"}


class StackError(Exception):
    """Something did not come up; the message has the end of its output."""


@dataclass(frozen=True, slots=True)
class StackSettings:
    """What to run. `scale`: how many of a kind of process, one where it is not named."""

    folder: Path
    meters: int = 10
    scale: Mapping[str, int] = field(default_factory=dict)
    #: ports to take when they are free; others are taken by chance
    web_port: int = 0
    gateway_port: int = 0
    #: more of the environment of every process
    env: Mapping[str, str] = field(default_factory=dict)
    #: more words for the simulator's command line
    simulator_words: Sequence[str] = ()


def port_or_free(wanted: int) -> int:
    """The wanted port when it is free, else another."""
    if wanted:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, wanted))
            except OSError:
                pass
            else:
                return wanted
    return free_port()


def folder_secrets(folder: Path) -> dict[str, str]:
    """The secrets of a demo folder: random, made on first use, readable by the owner only."""
    path = folder / "secrets.json"
    if not path.exists():
        made = {
            "HES_SECRET_KEY": secrets.token_urlsafe(48),
            "HES_KEK": secrets.token_hex(32),
            "HES_SYSTEM_TITLE": (b"HES" + secrets.token_bytes(5)).hex(),
            "HES_SIM_SEED": secrets.token_hex(16),
            "HES_OPERATOR_PASSWORD": secrets.token_urlsafe(12),
        }
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as stream:
            json.dump(made, stream)
    kept: dict[str, str] = json.loads(path.read_text())
    return kept


class Stack:
    """Use as a context manager: inside, the system is ready and the fleet dials in."""

    def __init__(self, settings: StackSettings, say: Callable[[str], None] = lambda line: None) -> None:
        self.settings = settings
        self.folder = settings.folder.resolve()
        self.say = say
        self.env: dict[str, str] = {}
        self.operator_password = ""
        self.web_port = 0
        self.gateway_ports: list[int] = []
        self.truth_port = 0
        self.servers: dict[str, Server] = {}
        self.supervisor = Supervisor(self.folder / "log", {})
        self._exits = ExitStack()

    @property
    def web_url(self) -> str:
        return f"http://{HOST}:{self.web_port}"

    @property
    def truth_url(self) -> str:
        return f"http://{HOST}:{self.truth_port}"

    @property
    def seed_env(self) -> dict[str, str]:
        """What only the simulator and the seeding may know."""
        kept = folder_secrets(self.folder)
        return {name: kept[name] for name in ("HES_SIM_SEED", "HES_OPERATOR_PASSWORD")}

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._exits.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._exits.close()

    def _start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._start_servers()
        self._exits.enter_context(self.supervisor)
        self._prepare_database()
        self._start_processes()
        self._wait_until_ready()
        self.say(f"{len(self.supervisor.children)} processes are ready")
        self._start_fleet()

    def _start_servers(self) -> None:
        """Where DATABASE_URL or REDIS_URL is set, that server is used and none is started."""
        urls: dict[str, str] = {}
        kinds: dict[str, type[Server]] = {
            "DATABASE_URL": EmbeddedPostgres,
            "REDIS_URL": EmbeddedRedis,
        }
        for variable, kind in kinds.items():
            if not os.environ.get(variable):
                server = self._exits.enter_context(kind(self.folder / "servers"))
                self.servers[server.name] = server
                urls[variable] = server.url
                self.say(f"{server.name} listens on {HOST}:{server.port}")
        kept = folder_secrets(self.folder)
        self.operator_password = kept["HES_OPERATOR_PASSWORD"]
        own = {name: kept[name] for name in ("HES_SECRET_KEY", "HES_KEK", "HES_SYSTEM_TITLE")}
        self.env = {"HES_ENV": "demo", **own, **urls, **self.settings.env}
        self.supervisor.env = self.env

    def manage(self, *words: str, env: Mapping[str, str] | None = None) -> str:
        """Run a management command; its output."""
        command = [sys.executable, "manage.py", *words]
        outcome = subprocess.run(
            command,
            cwd=ROOT,
            env=child_env({**self.env, **(env or {})}),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=MANAGE_TIMEOUT_S,
        )
        if outcome.returncode != 0:
            tail = (outcome.stdout + outcome.stderr)[-3000:]
            raise StackError(f"manage.py {words[0]} ended with {outcome.returncode}:\n{tail}")
        return outcome.stdout

    def _prepare_database(self) -> None:
        self.manage("migrate", "--verbosity", "0")
        self.manage("seed_demo", env=self.seed_env)
        shipment = self.folder / "shipment.csv"
        self._run_simulator("--csv", str(shipment), "--csv-only")
        self.manage("import_meters", str(shipment))
        self.say(f"{self.settings.meters} meters imported from {shipment.relative_to(ROOT)}")

    def _simulator_command(self, *words: str) -> list[str]:
        count = ["--meters", str(self.settings.meters)]
        return [sys.executable, "-m", "simulator", *count, *self.settings.simulator_words, *words]

    def _run_simulator(self, *words: str) -> None:
        outcome = subprocess.run(
            self._simulator_command(*words),
            cwd=ROOT,
            env=child_env(self.seed_env),
            capture_output=True,
            text=True,
            timeout=MANAGE_TIMEOUT_S,
        )
        if outcome.returncode != 0:
            raise StackError(f"the simulator ended with {outcome.returncode}:\n{outcome.stderr[-3000:]}")

    def _start_processes(self) -> None:
        commands = procfile_commands()
        if unknown := set(self.settings.scale) - set(commands):
            raise StackError(f"the Procfile has no {', '.join(sorted(unknown))}")
        wanted_ports = {"web": self.settings.web_port, "gateway": self.settings.gateway_port}
        for kind, command in commands.items():
            for number in range(1, self.settings.scale.get(kind, 1) + 1):
                env = {"HES_NODE_NAME": f"{kind}.{number}"}
                if kind in PORT_VARIABLES:
                    port = port_or_free(wanted_ports[kind] if number == 1 else 0)
                    env[PORT_VARIABLES[kind]] = str(port)
                    if kind == "gateway":
                        self.gateway_ports.append(port)
                    elif number == 1:
                        self.web_port = port
                self.supervisor.add(f"{kind}.{number}", shell(command), env)

    def _wait_until_ready(self) -> None:
        """All processes live, the web says it is ready, each gateway accepts."""
        deadline = time.monotonic() + READY_TIMEOUT_S
        while not self._is_ready():
            for child in self.supervisor.ended():
                raise StackError(f"{child.name} ended with {child.exit_status()}:\n{child.log_tail(15)}")
            if time.monotonic() > deadline:
                raise StackError(
                    f"not ready after {READY_TIMEOUT_S:.0f} s; the logs are in {self.folder / 'log'}"
                )
            time.sleep(0.1)

    def _is_ready(self) -> bool:
        try:
            if httpx.get(f"{self.web_url}/health/ready", timeout=5).status_code != 200:
                return False
            for port in self.gateway_ports:
                socket.create_connection((HOST, port), timeout=1).close()
        except (OSError, httpx.HTTPError):
            return False
        return True

    def _start_fleet(self) -> Child:
        self.truth_port = free_port()
        ports = [word for port in self.gateway_ports for word in ("--port", str(port))]
        command = self._simulator_command("--host", HOST, *ports, "--truth-port", str(self.truth_port))
        return self.supervisor.add("simulator.1", command, self.seed_env)

    def api_token(self) -> str:
        """The operator's token, asked for as any client does."""
        answer = httpx.post(
            f"{self.web_url}/api/token/",
            json={"username": OPERATOR, "password": self.operator_password},
            timeout=30,
        )
        if answer.status_code == 400 and "postgres" not in self.servers:
            raise StackError(
                f"the database of DATABASE_URL was made by another demo: its {OPERATOR} and its meters' keys "
                "are others. Name an empty database, or unset DATABASE_URL"
            )
        if answer.status_code != 200:
            raise StackError(f"no log-in for {OPERATOR}: {answer.status_code} {answer.text[:500]}")
        token: str = answer.json()["token"]
        return token


def stop_on_signals() -> None:
    """SIGTERM and SIGHUP end this process as Ctrl-C does: in order."""

    def stop(number: int, _: object) -> None:
        raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)


def ignore_signals() -> None:
    """While things are being stopped, a second Ctrl-C changes nothing."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
