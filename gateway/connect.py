"""Clients of the bus: no retries of their own, no wait without a limit; their users decide what then."""

from __future__ import annotations

from typing import Final

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

#: A blocking pop waits this long on the server.
POP_TIMEOUT_S: Final = 2
#: An answer that takes longer is none.
ANSWER_TIMEOUT_S: Final = 5.0
FIRST_PAUSE_S: Final = 0.1
LONGEST_PAUSE_S: Final = 2.0

#: what a command raises when Redis is away or refuses it
BUS_ERRORS: Final = (RedisError, OSError)


def connect(url: str) -> Redis:
    """A client with its own connections; nothing is sent yet."""
    client: Redis = Redis.from_url(
        url,
        socket_connect_timeout=ANSWER_TIMEOUT_S,
        socket_timeout=POP_TIMEOUT_S + ANSWER_TIMEOUT_S,
        socket_keepalive=True,
        retry=Retry(NoBackoff(), 0),
    )
    return client


class Pauses:
    """Growing pauses between tries, from the first again after a success."""

    __slots__ = ("_next_s",)

    def __init__(self) -> None:
        self._next_s = FIRST_PAUSE_S

    def next_s(self) -> float:
        pause_s, self._next_s = self._next_s, min(2 * self._next_s, LONGEST_PAUSE_S)
        return pause_s

    def reset(self) -> None:
        self._next_s = FIRST_PAUSE_S
