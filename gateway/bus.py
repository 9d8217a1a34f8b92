"""The node's end of the bus: requests in, replies and pushed frames out, both in batches.

Owns what waits to be written while Redis is away, and its bounds. Knows no links.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, Final, cast

import structlog
from redis.asyncio import Redis

from gateway import wire
from gateway.connect import BUS_ERRORS, POP_TIMEOUT_S, Pauses
from gateway.counts import Counts

log = structlog.get_logger()

REQUESTS_PER_POP: Final = 512
REPLIES_TTL_MS: Final = 60_000
REPLIES_MAXLEN: Final = 10_000
PUSH_MAXLEN: Final = 100_000
#: Octets that wait for Redis; what comes beyond them is dropped and counted.
OUTBOX_BYTES: Final = 64 << 20
#: A reply older than this is waited for by nobody.
REPLY_KEEP_S: Final = 10.0


class RequestReader:
    """Pops requests and hands each to `handle`, which must not wait."""

    def __init__(
        self, redis: Redis, incarnation: str, handle: Callable[[bytes], None], counts: Counts
    ) -> None:
        self._redis = redis
        self._key = wire.requests_key(incarnation)
        self._handle = handle
        self._counts = counts

    async def run(self) -> None:
        pauses = Pauses()
        while True:
            try:
                popped = await cast(Any, self._redis.blpop([self._key], timeout=POP_TIMEOUT_S))
                if popped is None:
                    continue
                self._handle(popped[1])
                while batch := await cast(Any, self._redis.lpop(self._key, REQUESTS_PER_POP)):
                    for packed in batch:
                        self._handle(packed)
                pauses.reset()
            except BUS_ERRORS as error:
                self._counts.redis_errors += 1
                pause_s = pauses.next_s()
                log.warning("requests_unreadable", error=str(error), retry_s=pause_s)
                await asyncio.sleep(pause_s)


class Outbox:
    """Replies and pushed frames on their way out: one pipeline at a time, with all that came meanwhile."""

    def __init__(self, redis: Redis, counts: Counts) -> None:
        self._redis = redis
        self._counts = counts
        self._replies: dict[str, list[bytes]] = {}
        self._pushes: list[bytes] = []
        self._bytes = 0
        self._filled = asyncio.Event()
        self._writing = False

    @property
    def empty(self) -> bool:
        return not self._writing and not self._replies and not self._pushes

    def reply(self, reply_to: str, packed: bytes) -> None:
        if self._fits(packed, "reply_no_room"):
            self._replies.setdefault(reply_to, []).append(packed)

    def push(self, packed: bytes) -> None:
        if self._fits(packed, "push_no_room"):
            self._pushes.append(packed)

    def _fits(self, packed: bytes, reason: str) -> bool:
        if self._bytes + len(packed) > OUTBOX_BYTES:
            self._counts.undelivered[reason] += 1
            return False
        self._bytes += len(packed)
        self._filled.set()
        return True

    async def run(self) -> None:
        while True:
            await self._filled.wait()
            self._filled.clear()
            replies, pushes, held = self._replies, self._pushes, self._bytes
            self._replies, self._pushes = {}, []
            self._writing = True
            await self._write(replies, pushes)
            self._writing = False
            self._bytes -= held

    async def _write(self, replies: dict[str, list[bytes]], pushes: list[bytes]) -> None:
        """Tries until it is written; replies only as long as somebody may wait for them."""
        began = time.monotonic()
        pauses = Pauses()
        while replies or pushes:
            try:
                await self._write_once(replies, pushes)
                return
            except BUS_ERRORS as error:
                self._counts.redis_errors += 1
                pause_s = pauses.next_s()
                log.warning("replies_unwritable", error=str(error), retry_s=pause_s)
            if time.monotonic() - began > REPLY_KEEP_S:
                self._counts.undelivered["reply_stale"] += sum(map(len, replies.values()))
                replies = {}
            await asyncio.sleep(pause_s)

    async def _write_once(self, replies: dict[str, list[bytes]], pushes: list[bytes]) -> None:
        pipe = self._redis.pipeline(transaction=False)
        for reply_to, packed in replies.items():
            key = wire.replies_key(reply_to)
            pipe.rpush(key, *packed)
            pipe.ltrim(key, -REPLIES_MAXLEN, -1)
            pipe.pexpire(key, REPLIES_TTL_MS)
        for push in pushes:
            pipe.xadd(wire.PUSH_STREAM, {"p": push}, maxlen=PUSH_MAXLEN, approximate=True)
        answers = await pipe.execute(raise_on_error=False)
        errors = [answer for answer in answers if isinstance(answer, Exception)]
        if len(errors) == len(answers):
            raise errors[0]
        if errors:  # what failed alone would fail again, and the others would be written twice
            self._counts.undelivered["refused"] += len(errors)
            log.error("bus_refused", error=str(errors[0]), commands=len(errors))
