"""The standard event log of one meter: outages by closed form, and what happened to it since it was started.

Rows are stamped in true UTC, whatever the meter's own clock was set to. Must not know DLMS encodings.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from enum import IntEnum

from simulator.truth import DAY_S, EVENT_POWER_DOWN, EVENT_POWER_UP, Source

KEPT_S = 40 * DAY_S
MAX_LIVE_EVENTS = 200


class EventCode(IntEnum):
    """Codes of the standard event log as IDIS meters use them."""

    POWER_DOWN = EVENT_POWER_DOWN
    POWER_UP = EVENT_POWER_UP
    CLOCK_ADJUSTED_OLD = 4
    CLOCK_ADJUSTED_NEW = 5
    READY_FOR_MANUAL_RECONNECTION = 59
    MANUAL_DISCONNECTION = 60
    MANUAL_CONNECTION = 61
    REMOTE_DISCONNECTION = 62
    REMOTE_CONNECTION = 63
    LOCAL_DISCONNECTION = 64
    LOCAL_RECONNECTION = 69


@dataclass(slots=True)
class EventLog:
    source: Source
    live: deque[tuple[int, int]] = field(default_factory=lambda: deque(maxlen=MAX_LIVE_EVENTS))

    def record(self, at_s: float, code: EventCode) -> None:
        self.live.append((int(at_s), int(code)))

    def rows(self, now_s: float) -> list[tuple[int, int]]:
        """(UTC seconds, code), oldest first: what happened in the last 40 days."""
        oldest = int(now_s) - KEPT_S
        found = [row for row in self.live if oldest <= row[0] <= now_s]
        for began, ended in self.source.outages(oldest, int(now_s)):
            found.append((began, int(EventCode.POWER_DOWN)))
            if ended <= now_s:
                found.append((ended, int(EventCode.POWER_UP)))
        return sorted(found)
