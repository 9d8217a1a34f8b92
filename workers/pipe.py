"""Redis commands of one turn of the event loop, sent as one pipeline. Owns no keys.

A round trip a command costs about thirty times a batched one; with thousands of dialogs in a process,
batching is what makes them cheap.
"""

from __future__ import annotations

import asyncio
import hashlib
from functools import cache
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import NoScriptError, OutOfMemoryError, ReadOnlyError, RedisError, ResponseError

from workers.errors import BusAway

#: A server that says so (in a script, too) is there but cannot serve: full, its disk full, or a replica.
_CANNOT_SERVE = ("OOM ", "MISCONF ", "READONLY ", "NOREPLICAS ", "MASTERDOWN ")


def _is_away(answer: ResponseError) -> bool:
    if isinstance(answer, OutOfMemoryError | ReadOnlyError):
        return True
    return any(word in str(answer) for word in _CANNOT_SERVE)


@cache
def _digest(script: str) -> str:
    return hashlib.sha1(script.encode(), usedforsecurity=False).hexdigest()


class Pipe:
    """`await pipe.execute("GET", key)`: as one command, but everything asked for in one turn goes
    together."""

    def __init__(self, redis: Redis, max_batch: int = 1000) -> None:
        self._redis = redis
        self._max_batch = max_batch
        self._waiting: list[tuple[tuple[Any, ...], asyncio.Future[Any]]] = []
        self._flushing: asyncio.Task[None] | None = None

    def execute(self, *command: Any) -> asyncio.Future[Any]:
        """Answer: what Redis answers; its errors are raised by the future."""
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append((command, future))
        if self._flushing is None or self._flushing.done():
            self._flushing = asyncio.get_running_loop().create_task(self._flush())
        return future

    async def script(self, text: str, keys: list[Any], arguments: list[Any]) -> Any:
        try:
            return await self.execute("EVALSHA", _digest(text), len(keys), *keys, *arguments)
        except NoScriptError:
            return await self.execute("EVAL", text, len(keys), *keys, *arguments)

    async def _flush(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting[: self._max_batch], self._waiting[self._max_batch :]
            try:
                async with self._redis.pipeline(transaction=False) as pipeline:
                    for command, _ in batch:
                        pipeline.execute_command(*command)
                    answers = await pipeline.execute(raise_on_error=False)
            except (RedisError, OSError) as error:
                answers = [BusAway(str(error)) for _ in batch]
            for (_, future), answer in zip(batch, answers, strict=True):
                if future.done():
                    continue
                if isinstance(answer, ResponseError) and _is_away(answer):
                    future.set_exception(BusAway(str(answer)))
                elif isinstance(answer, Exception):
                    future.set_exception(answer)
                else:
                    future.set_result(answer)
