"""A worker's end, meters that are closed with their test, nodes with short times.

Nodes that a test does not harm are shared by its module: identities are a test's own, and nothing is flushed.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from hes.embedded import EmbeddedRedis
from hes.supervisor import stop_children
from tests.gateway.ends import MeterEnd, NodeEnd, WorkerEnd, start_node

#: Times that a test can wait for; long ones for what it does not look at.
TIMES = {"HES_NODE_TTL_S": "1.5", "HES_QUARANTINE_S": "1", "HES_GATEWAY_DRAIN_S": "3"}
STRICT = {
    "HES_NODE_TTL_S": "0.6",
    "HES_GATEWAY_LOGIN_TIMEOUT_S": "0.6",
    "HES_GATEWAY_IDLE_S": "1.5",
    "HES_GATEWAY_HALF_FRAME_S": "0.5",
    "HES_GATEWAY_MAX_FRAME_BYTES": "1000",
}
_serials = itertools.count(1)


@pytest.fixture
def worker(embedded_redis: EmbeddedRedis) -> Iterator[WorkerEnd]:
    with redis.Redis.from_url(embedded_redis.url) as client:
        yield WorkerEnd(client)


@pytest.fixture
def identity() -> str:
    return f"T{next(_serials):08d}"


@pytest.fixture
def dial() -> Iterator[Callable[..., MeterEnd]]:
    """dial(node, login=identity) -> MeterEnd"""
    ends: list[MeterEnd] = []

    def make(node: NodeEnd, **words: object) -> MeterEnd:
        ends.append(MeterEnd(node.port, **words))
        return ends[-1]

    yield make
    for end in ends:
        end.close()


@pytest.fixture
def open_node(embedded_redis: EmbeddedRedis, tmp_path: Path) -> Iterator[Callable[..., NodeEnd]]:
    """open_node(**env) -> NodeEnd: one of the test's own."""
    nodes: list[NodeEnd] = []

    def start(redis_url: str = embedded_redis.url, **env: str) -> NodeEnd:
        nodes.append(start_node(tmp_path, redis_url, **(TIMES | env)))
        return nodes[-1]

    yield start
    stop_children([node.child for node in nodes])


def _shared(embedded_redis: EmbeddedRedis, folder: Path, env: dict[str, str]) -> Iterator[NodeEnd]:
    shared = start_node(folder, embedded_redis.url, **env)
    yield shared
    stop_children([shared.child])


@pytest.fixture(scope="module")
def node(embedded_redis: EmbeddedRedis, tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeEnd]:
    yield from _shared(embedded_redis, tmp_path_factory.mktemp("node"), TIMES)


@pytest.fixture(scope="module")
def strict(embedded_redis: EmbeddedRedis, tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeEnd]:
    """A node that waits for nothing."""
    yield from _shared(embedded_redis, tmp_path_factory.mktemp("strict"), STRICT)
