"""How much waits in the stream to be stored. Workers ask before they claim more: past a bound meters keep it.

MEMORY USAGE looks at a sample of the stream's nodes, so the answer is an estimate that costs the same however
long the stream is.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

from readings.entries import STREAM

_COMMAND: Final = ("MEMORY", "USAGE", STREAM, "SAMPLES", 20)


def backlog_bytes(redis: Any) -> int:
    """Bytes that the stream takes in Redis, estimated (sync client)."""
    return redis.execute_command(*_COMMAND) or 0


async def backlog_bytes_async(execute: Callable[..., Awaitable[Any]]) -> int:
    """The same through anything that carries one command: `execute(*words)`."""
    return await execute(*_COMMAND) or 0
