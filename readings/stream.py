"""The stream as a consumer sees it: read what is new, take over what the dead left, acknowledge, bury.

Owns the calls on `rd:in`, its consumer group and the dead letters. Redis 6.2 commands only.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import redis

from readings.entries import DEAD_STREAM, FIELD, GROUP, STREAM

#: dead letters are kept for people to look at; the oldest go when there are more
DEAD_MAX: Final = 100_000
#: a consumer without entries that was not seen for this long is forgotten
CONSUMER_IDLE_MS: Final = 3_600_000


@dataclass(frozen=True, slots=True)
class Delivery:
    """One entry as delivered: its id, its bytes, how often it was delivered (this time included)."""

    id: bytes
    payload: bytes
    deliveries: int = 1


class Stream:
    """One consumer of the group."""

    def __init__(self, client: redis.Redis, consumer: str) -> None:
        self._redis = client
        self.consumer = consumer

    def ensure_group(self) -> None:
        """Make stream and group where they are missing, from the stream's beginning."""
        try:
            self._redis.xgroup_create(STREAM, GROUP, id="0", mkstream=True)
        except redis.ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise

    def read_new(self, count: int, block_ms: int) -> list[Delivery]:
        """Up to `count` entries that no consumer has had."""
        answer = self._redis.xreadgroup(GROUP, self.consumer, {STREAM: ">"}, count=count, block=block_ms)
        entries = answer[0][1] if answer else []
        return [Delivery(id_, _payload(fields)) for id_, fields in entries]

    def read_held(self, count: int) -> list[Delivery]:
        """Up to `count` entries that this consumer has had and not acknowledged, the oldest first."""
        answer = self._redis.xreadgroup(GROUP, self.consumer, {STREAM: "0"}, count=count)
        entries = answer[0][1] if answer else []
        gone = [id_ for id_, fields in entries if not fields]
        if gone:
            self._redis.xack(STREAM, GROUP, *gone)
        return [Delivery(id_, _payload(fields)) for id_, fields in entries if fields]

    def take_over(self, count: int, idle_ms: int) -> list[Delivery]:
        """Up to `count` entries that some consumer has held for `idle_ms` without an acknowledgement.

        Entries that were deleted but are still pending come back as nil (Redis 6.2): they are acknowledged.
        """
        pending = self._redis.xpending_range(STREAM, GROUP, "-", "+", count, idle=idle_ms)
        if not pending:
            return []
        seen = {item["message_id"]: item["times_delivered"] for item in pending}
        claimed = self._redis.xclaim(STREAM, GROUP, self.consumer, idle_ms, list(seen))
        taken = [Delivery(id_, _payload(fields), seen[id_] + 1) for id_, fields in claimed if id_ is not None]
        self._forget_deleted(set(seen) - {delivery.id for delivery in taken})
        return taken

    def _forget_deleted(self, ids: Iterable[bytes]) -> None:
        gone = [id_ for id_ in ids if not self._redis.xrange(STREAM, id_, id_)]
        if gone:
            self._redis.xack(STREAM, GROUP, *gone)

    def done(self, deliveries: Sequence[Delivery]) -> None:
        """Acknowledge and delete, in one transaction."""
        ids = [delivery.id for delivery in deliveries]
        if not ids:
            return
        with self._redis.pipeline(transaction=True) as pipe:
            pipe.xack(STREAM, GROUP, *ids)
            pipe.xdel(STREAM, *ids)
            pipe.execute()

    def bury(self, delivery: Delivery, code: str, detail: str) -> None:
        """Move to the dead letters, with the cause; in one transaction, so that it is in one place always."""
        with self._redis.pipeline(transaction=True) as pipe:
            pipe.xadd(
                DEAD_STREAM,
                {
                    FIELD: delivery.payload,
                    "id": delivery.id,
                    "code": code,
                    "detail": detail[:500],
                    "at_ms": int(time.time() * 1000),
                },
                maxlen=DEAD_MAX,
                approximate=True,
            )
            pipe.xack(STREAM, GROUP, delivery.id)
            pipe.xdel(STREAM, delivery.id)
            pipe.execute()

    def forget_dead_consumers(self) -> None:
        """Drop consumers that hold nothing and were not seen for long: each start has a new name."""
        for consumer in self._redis.xinfo_consumers(STREAM, GROUP):
            if consumer["pending"] == 0 and consumer["idle"] > CONSUMER_IDLE_MS:
                self._redis.xgroup_delconsumer(STREAM, GROUP, consumer["name"])


def _payload(fields: dict[bytes, bytes]) -> bytes:
    return fields.get(FIELD.encode(), b"")


def requeue_dead(client: redis.Redis, code: str | None = None) -> int:
    """Move dead letters back to the end of the stream; how many. Each is in one place always."""
    moved = 0
    start = "-"
    while letters := client.xrange(DEAD_STREAM, start, "+", count=500):
        for id_, fields in letters:
            if code is not None and fields.get(b"code") != code.encode():
                continue
            with client.pipeline(transaction=True) as pipe:
                pipe.xadd(STREAM, {FIELD: _payload(fields)})
                pipe.xdel(DEAD_STREAM, id_)
                pipe.execute()
            moved += 1
        start = f"({letters[-1][0].decode()}"
    return moved
