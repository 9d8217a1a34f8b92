"""A whole head-end system with its fleet, started for a bench, and the handles that a bench needs on it.

The machinery is that of bin/demo (`hes.stack`); what is added reads the database and sets the scene by plain
SQL.
"""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg2
import redis

from bench.meters import var_folder
from bench.processes import cpu_s, memory_mb
from bench.registry import BenchError
from hes.stack import Stack, StackSettings

#: The embedded servers are part of what is measured: those of the environment are not used.
_SERVER_VARIABLES = ("DATABASE_URL", "REDIS_URL", "HES_BROKER_URL", "HES_CACHE_REDIS_URL")
POLL_S = 0.05


class System:
    """A running stack. One database connection, whose backend is left out of the CPU that is counted."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.meters = stack.settings.meters
        self._database = psycopg2.connect(stack.env["DATABASE_URL"])
        self._database.autocommit = True
        self._redis = redis.Redis.from_url(stack.env["REDIS_URL"])

    def close(self) -> None:
        self._database.close()
        self._redis.close()

    @property
    def seed(self) -> str:
        return self.stack.seed_env["HES_SIM_SEED"]

    def rows(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        with self._database.cursor() as cursor:
            cursor.execute(sql, values)
            return cursor.fetchall() if cursor.description else []

    def number(self, sql: str, *values: Any) -> int:
        return int(self.rows(sql, *values)[0][0])

    def stream_length(self, stream: str) -> int:
        return int(self._redis.xlen(stream))

    def cpu(self) -> dict[str, float]:
        """CPU seconds so far by kind of process: those of the Procfile, postgres, redis, simulator."""
        own_backend = self._database.info.backend_pid
        seconds: dict[str, float] = defaultdict(float)
        for child in self.stack.supervisor.children.values():
            seconds[child.kind] += cpu_s(child.pid)
        for name, server in self.stack.servers.items():
            seconds[name] += cpu_s(server.pid, without=own_backend)
        return dict(seconds)

    def memory(self) -> dict[str, float]:
        megabytes: dict[str, float] = defaultdict(float)
        for child in self.stack.supervisor.children.values():
            megabytes[child.kind] += memory_mb(child.pid)
        for name, server in self.stack.servers.items():
            megabytes[name] += memory_mb(server.pid)
        return dict(megabytes)

    def wait(self, what: str, is_so: Callable[[], bool], timeout_s: float) -> float:
        """Until `is_so`; the monotonic time at which it was. BenchError, also where a process ended."""
        deadline = time.monotonic() + timeout_s
        while not is_so():
            for child in self.stack.supervisor.ended():
                raise BenchError(f"{child.name} ended with {child.exit_status()}:\n{child.log_tail(15)}")
            if time.monotonic() > deadline:
                raise BenchError(f"not within {timeout_s:.0f} s: {what}")
            time.sleep(POLL_S)
        return time.monotonic()


@contextmanager
def running(meters: int, *, scale: dict[str, int] | None = None, **env: str) -> Iterator[System]:
    """A system with its fleet dialling in; its folder under var/ goes with it."""
    for variable in _SERVER_VARIABLES:
        os.environ.pop(variable, None)
    with var_folder() as folder:
        settings = StackSettings(folder, meters=meters, scale=scale or {}, env=env)
        with Stack(settings) as stack:
            system = System(stack)
            try:
                yield system
            finally:
                system.close()
