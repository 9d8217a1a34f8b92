"""The embedded servers: real ones, private, and gone with the process that started them."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg2
import pytest
import redis

from hes import embedded
from hes.embedded import HOST, EmbeddedError, EmbeddedPostgres, EmbeddedRedis
from hes.reaper import ROOT, start_time

PARENT = """
import sys, time
from pathlib import Path
from hes.embedded import EmbeddedPostgres, EmbeddedRedis
with EmbeddedPostgres(Path(sys.argv[1])) as postgres, EmbeddedRedis(Path(sys.argv[1])) as server:
    print(postgres.pid, server.pid, postgres.url, server.url, flush=True)
    time.sleep(600)
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """Under var/, as in real life: the system's folder for temporary files may be closed to other users."""
    path = ROOT / "var" / f"embedded-{os.getpid()}-{time.monotonic_ns()}"
    path.mkdir(parents=True)
    yield path
    shutil.rmtree(path)


def gone(pids: list[int], timeout_s: float = 20.0) -> bool:
    deadline = time.monotonic() + timeout_s
    while any(start_time(pid) for pid in pids):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def test_postgres_is_version_18_with_scram_on_loopback_only(folder: Path) -> None:
    with EmbeddedPostgres(folder) as server:
        connection = psycopg2.connect(server.url)
        with connection.cursor() as cursor:
            cursor.execute("SHOW server_version_num")
            assert cursor.fetchone()[0].startswith("18")
            cursor.execute("SHOW listen_addresses")
            assert cursor.fetchone() == (HOST,)
            cursor.execute("SHOW unix_socket_directories")
            assert cursor.fetchone() == ("",)
            cursor.execute("SELECT rolpassword LIKE 'SCRAM-SHA-256$%' FROM pg_authid WHERE rolname = 'hes'")
            assert cursor.fetchone() == (True,)
        connection.close()
        with pytest.raises(psycopg2.OperationalError, match="password"):
            psycopg2.connect(server.url.replace(server.password, "wrong"))


def test_redis_keeps_on_disk_evicts_nothing_and_wants_a_password(folder: Path) -> None:
    with EmbeddedRedis(folder) as server:
        with redis.Redis.from_url(server.url, decode_responses=True) as client:
            for name, value in {"appendonly": "yes", "maxmemory-policy": "noeviction", "bind": HOST}.items():
                assert client.config_get(name) == {name: value}
        with redis.Redis(port=server.port) as stranger, pytest.raises(redis.AuthenticationError):
            stranger.ping()


def test_servers_started_again_have_their_data(folder: Path) -> None:
    with EmbeddedPostgres(folder) as postgres, EmbeddedRedis(folder) as server:
        connection = psycopg2.connect(postgres.url)
        connection.autocommit = True
        connection.cursor().execute("CREATE TABLE kept (n int)")
        connection.close()
        with redis.Redis.from_url(server.url) as client:
            client.set("kept", "1")
    with EmbeddedPostgres(folder) as postgres, EmbeddedRedis(folder) as server:
        connection = psycopg2.connect(postgres.url)
        connection.cursor().execute("SELECT n FROM kept")
        connection.close()
        with redis.Redis.from_url(server.url) as client:
            assert client.get("kept") == b"1"


def test_folder_is_readable_by_its_owner_only(folder: Path) -> None:
    with EmbeddedPostgres(folder), EmbeddedRedis(folder):
        for path in folder.iterdir():
            assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path.name
            assert path.stat().st_uid == os.geteuid(), path.name


def test_passwords_are_on_no_command_line(folder: Path) -> None:
    with EmbeddedPostgres(folder) as postgres, EmbeddedRedis(folder) as server:
        for one in (postgres, server):
            assert one.password.encode() not in Path(f"/proc/{one.pid}/cmdline").read_bytes()


def test_exit_leaves_no_process_and_no_listener(folder: Path) -> None:
    with EmbeddedPostgres(folder) as postgres, EmbeddedRedis(folder) as server:
        pids, ports = [postgres.pid, server.pid], [postgres.port, server.port]
    assert gone(pids, timeout_s=0)
    for port in ports:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((HOST, port), timeout=1)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_parent_killed_by_signal_leaves_no_server(folder: Path, number: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, str(folder)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as parent:
        assert parent.stdout is not None
        words = parent.stdout.readline().split()
        pids = [int(word) for word in words[:2]]
        assert all(start_time(pid) for pid in pids)
        parent.send_signal(number)
        parent.wait(30)
    assert gone(pids)
    # an orderly stop, so the next start needs no recovery
    assert b"database system is shut down" in (folder / "postgres.log").read_bytes()


@pytest.mark.parametrize("uid", [pwd.getpwnam("nobody").pw_uid, 123456])
def test_ordinary_user_with_or_without_a_name_runs_both_servers(folder: Path, uid: int) -> None:
    """The parent is not root here, whoever runs the tests; containers have users without a name."""
    code = f"import os; assert os.geteuid() == {uid}\n" + PARENT.replace("time.sleep(600)", "")
    outcome = subprocess.run(
        [
            "unshare",
            "--user",
            f"--map-user={uid}",
            f"--map-group={uid}",
            sys.executable,
            "-c",
            code,
            str(folder),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert outcome.returncode == 0, outcome.stderr
    assert gone([int(word) for word in outcome.stdout.split()[:2]])


def test_interrupted_initdb_is_made_anew(folder: Path) -> None:
    (folder / "pgdata.new").mkdir()
    (folder / "pgdata.new" / "PG_VERSION").write_text("18")
    with EmbeddedPostgres(folder) as server:
        psycopg2.connect(server.url).close()


def test_port_in_use_is_a_named_error(folder: Path) -> None:
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        for server in (EmbeddedPostgres(folder, port=port), EmbeddedRedis(folder, port=port)):
            with pytest.raises(EmbeddedError) as caught:
                server.start()
            assert caught.value.code == f"{server.name.upper()}_START_FAILED"


def test_servers_given_urls_starts_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://elsewhere/hes")
    monkeypatch.setenv("REDIS_URL", "redis://elsewhere/0")
    with embedded.servers(folder) as urls:
        assert urls == {}
    assert not list(folder.iterdir())


def test_embedded_does_not_load_django() -> None:
    code = (
        "import sys, hes.embedded, hes.supervisor; print([m for m in sys.modules if m.startswith('django')])"
    )
    outcome = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert outcome.stdout.strip() == "[]"


def test_servers_start_below_a_folder_with_blanks_and_quotes(folder: Path) -> None:
    inner = folder / 'a "quoted" folder'
    with EmbeddedPostgres(inner), EmbeddedRedis(inner) as server, redis.Redis.from_url(server.url) as client:
        assert client.config_get("dir")["dir"] == str(inner)
        assert client.config_get("save")["save"] == ""
