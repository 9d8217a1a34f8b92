"""What all tests share: own PostgreSQL and Redis (started when first needed), and the real processes.

The environment is set before Django's settings are read, always to servers of this run, never to those of the
caller: tests flush and drop.
"""

from __future__ import annotations

import importlib
import os
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import django
import pytest
import redis

from hes.embedded import HOST, EmbeddedPostgres, EmbeddedRedis
from hes.embedded import free_port as pick_free_port
from hes.reaper import ROOT
from hes.supervisor import Child, stop_children

(ROOT / "var").mkdir(exist_ok=True)
for left in (ROOT / "var").glob("test-*"):  # of runs that were killed
    if not Path("/proc", left.name.split("-")[1]).exists():
        shutil.rmtree(left, ignore_errors=True)
FOLDER = Path(tempfile.mkdtemp(prefix=f"test-{os.getpid()}-", dir=ROOT / "var"))
#: a power cut may cost a test run its database
POSTGRES = EmbeddedPostgres(
    FOLDER / "postgres", options={"fsync": "off", "full_page_writes": "off"}
).reserve()
REDIS = EmbeddedRedis(FOLDER / "redis").reserve()

for name in [name for name in os.environ if name.startswith("HES_")]:
    del os.environ[name]
OWN_ENV = {
    "HES_ENV": "test",
    "DATABASE_URL": POSTGRES.url,
    "REDIS_URL": REDIS.url,
    "DJANGO_SETTINGS_MODULE": "hes.settings",
    # threads of ours must not keep the tests' database open
    "HES_DATABASE_CONN_MAX_AGE_S": "0",
}
os.environ |= OWN_ENV
#: tmp_path, too, stays within the checkout
os.environ["PYTEST_DEBUG_TEMPROOT"] = str(ROOT / "var")
#: pytest-django sets up only what is configured by now
django.setup()
#: the workers of -n inherit this: they must not read settings before their own servers are named
del os.environ["DJANGO_SETTINGS_MODULE"]


def pytest_unconfigure(config: pytest.Config) -> None:
    runner = sys.modules.get("workers.runner")
    if runner is not None and runner.started() is not None:
        runner.started().stop()
    POSTGRES.stop()
    REDIS.stop()
    shutil.rmtree(FOLDER, ignore_errors=True)


@pytest.fixture(scope="session")
def embedded_postgres() -> EmbeddedPostgres:
    """The PostgreSQL of this run; the tests' database in it is made by pytest-django (`db` fixtures)."""
    return POSTGRES.start()


@pytest.fixture(scope="session")
def embedded_redis() -> EmbeddedRedis:
    """The Redis of this run, append-only file on."""
    return REDIS.start()


@pytest.fixture(scope="session")
def django_db_modify_db_settings(
    embedded_postgres: EmbeddedPostgres,
    embedded_redis: EmbeddedRedis,
    django_db_modify_db_settings_parallel_suffix: None,
) -> None:
    """pytest-django's hook before it makes the test database: have both servers up by then."""


@pytest.fixture
def live_redis(embedded_redis: EmbeddedRedis) -> Iterator[redis.Redis]:
    """Client of the bus (database 0); all databases are empty at the start. Answers are bytes."""
    with redis.Redis.from_url(embedded_redis.url) as client:
        client.flushall()
        yield client


@pytest.fixture
def standard_event_codes(db: None) -> None:
    """The rows that a data migration makes: a test before may have emptied all tables."""
    importlib.import_module("events.migrations.0002_codes").add(django.apps.apps, None)


@pytest.fixture
def free_port() -> int:
    """A loopback port nobody listens on."""
    return pick_free_port()


@pytest.fixture
def process_env(embedded_redis: EmbeddedRedis, request: pytest.FixtureRequest) -> dict[str, str]:
    """What a process of ours needs in its environment; its database is the tests' own where a test has one.

    A process sees only committed rows: such tests use `transactional_db` or `django_db(transaction=True)`.
    """
    env = dict(OWN_ENV)
    if request.node.get_closest_marker("django_db") or "django_db_setup" in request.fixturenames:
        from django.db import connection

        env["DATABASE_URL"] = POSTGRES.url_of(connection.settings_dict["NAME"])
    return env


@pytest.fixture
def start_process(process_env: dict[str, str], tmp_path: Path) -> Iterator[Callable[..., Child]]:
    """start_process(name, *command, **env) -> Child: a real process, ended with the test; log in tmp_path."""
    children: list[Child] = []

    def start(name: str, *command: str, **env: str) -> Child:
        child = Child(
            f"{name}.{len(children)}", command, tmp_path / f"{name}.{len(children)}.log", process_env | env
        )
        children.append(child.start())
        return child

    yield start
    stop_children(children)


def wait_for_port(port: int, child: Child | None = None, timeout_s: float = 20.0) -> None:
    """Until something accepts connections there; fails with the child's log when it ended."""
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            socket.create_connection((HOST, port), timeout=1).close()
            return
        except OSError:
            if child is not None and child.exit_status() is not None:
                pytest.fail(f"{child.name} ended with {child.exit_status()}:\n{child.log_tail()}")
            if time.monotonic() > deadline:
                pytest.fail(f"nothing listens on port {port} after {timeout_s} s")
            time.sleep(0.05)


class GatewayNode:
    """A running gateway: where it listens, its process."""

    def __init__(self, child: Child, port: int) -> None:
        self.child = child
        self.host = HOST
        self.port = port


@pytest.fixture
def start_gateway(start_process: Callable[..., Child]) -> Callable[..., GatewayNode]:
    """start_gateway(**env) -> GatewayNode: a real gateway that accepts connections."""

    def start(**env: str) -> GatewayNode:
        port = pick_free_port()
        child = start_process(
            "gateway",
            sys.executable,
            "-m",
            "gateway",
            HES_GATEWAY_HOST=HOST,
            HES_GATEWAY_PORT=str(port),
            **env,
        )
        wait_for_port(port, child)
        return GatewayNode(child, port)

    return start


@pytest.fixture
def gateway_node(live_redis: redis.Redis, start_gateway: Callable[..., GatewayNode]) -> GatewayNode:
    """One real gateway on an empty Redis."""
    return start_gateway()
