"""What a dialog asks of whoever carries it. Owns the effects; must not know sockets, event loops or Redis.

A dialog is a generator: it yields effects and is sent the answer of each. `Send` and `Pause` are answered
with `None`, `Receive` with one whole frame (framing included). The same dialog runs under asyncio, in a plain
loop, and against a peer in memory. The carrier ends a dialog early by closing it or by throwing its own error
into it.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import TypeVar


@dataclass(frozen=True, slots=True)
class Send:
    """Put one whole frame on the link."""

    frame: bytes


@dataclass(frozen=True, slots=True)
class Receive:
    """Wait for the next whole frame of this dialog, at most `timeout_s` seconds."""

    timeout_s: float


@dataclass(frozen=True, slots=True)
class Pause:
    """Let `seconds` pass without using the link."""

    seconds: float


Effect = Send | Receive | Pause

T = TypeVar("T")
Dialog = Generator[Effect, bytes | None, T]
