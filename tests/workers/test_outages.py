"""Redis that answers but cannot serve: the runner lives, its callers are told that the bus is away."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
import redis

from hes import redis as hes_redis
from workers.errors import BusAway
from workers.pipe import Pipe


@pytest.fixture
def full_redis(live_redis: redis.Redis) -> Iterator[redis.Redis]:
    """Its memory is used up: it refuses what adds to it."""
    live_redis.config_set("maxmemory", 1)
    yield live_redis
    live_redis.config_set("maxmemory", 0)


def test_bus_that_is_out_of_memory_is_away(full_redis: redis.Redis) -> None:
    async def check() -> object:
        client = hes_redis.async_bus()
        pipe = Pipe(client)
        try:
            with pytest.raises(BusAway, match="memory"):
                await pipe.execute("RPUSH", "gw:req:n", b"a request")
            with pytest.raises(BusAway):
                await pipe.script("return redis.call('SET', KEYS[1], 1)", ["lease:1"], [])
            return await pipe.execute("GET", "nothing")
        finally:
            await client.aclose()

    assert asyncio.run(check()) is None


def test_bus_says_what_is_wrong_with_a_command_of_ours(live_redis: redis.Redis) -> None:
    async def check() -> None:
        client = hes_redis.async_bus()
        try:
            await Pipe(client).execute("GET")
        finally:
            await client.aclose()

    with pytest.raises(redis.ResponseError):
        asyncio.run(check())
