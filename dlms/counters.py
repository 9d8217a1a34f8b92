"""Our invocation counters of one key: blocks reserved by the caller, each number given out once."""

from __future__ import annotations

from collections import deque

from dlms.errors import LocalProtocolError


class Counters:
    """The runner tops it up with `extend` while the dialog runs; `take` never waits."""

    __slots__ = ("_blocks",)

    def __init__(self, start: int = 0, count: int = 0) -> None:
        self._blocks: deque[tuple[int, int]] = deque()
        if count:
            self.extend(start, count)

    @property
    def remaining(self) -> int:
        return sum(end - start for start, end in self._blocks)

    def extend(self, start: int, count: int) -> None:
        """Add a reserved block; it must lie above all before it."""
        floor = self._blocks[-1][1] if self._blocks else 0
        if count < 1 or start < floor or start + count > 1 << 32:
            raise LocalProtocolError(f"counters {start}+{count} after {floor}", code="COUNTERS_INVALID")
        self._blocks.append((start, start + count))

    def take(self) -> int:
        """The next counter. Raises LocalProtocolError (COUNTERS_EXHAUSTED) before anything is sent."""
        if not self._blocks:
            raise LocalProtocolError(
                "the reserved invocation counters are used up", code="COUNTERS_EXHAUSTED"
            )
        start, end = self._blocks[0]
        if start + 1 == end:
            self._blocks.popleft()
        else:
            self._blocks[0] = (start + 1, end)
        return start
