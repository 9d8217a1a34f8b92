"""A worker's end, meters that are closed with their test, nodes with short times."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import pytest
import redis

from tests.gateway.ends import MeterEnd, WorkerEnd

_serials = itertools.count(1)


@pytest.fixture
def worker(live_redis: redis.Redis) -> WorkerEnd:
    return WorkerEnd(live_redis)


@pytest.fixture
def identity() -> str:
    return f"T{next(_serials):08d}"


@pytest.fixture
def dial() -> Iterator[Callable[..., MeterEnd]]:
    """dial(node, login=identity) -> MeterEnd"""
    ends: list[MeterEnd] = []

    def make(node, **words) -> MeterEnd:
        ends.append(MeterEnd(node.port, **words))
        return ends[-1]

    yield make
    for end in ends:
        end.close()


@pytest.fixture
def node(worker: WorkerEnd, start_gateway):
    """One node with times that a test can wait for; long ones for what the test does not look at."""
    return start_gateway(HES_NODE_TTL_S="1.5", HES_QUARANTINE_S="1", HES_GATEWAY_DRAIN_S="3")
