"""What the dialog benches read, told once for every client: the objects, the day, and what must come out."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from dlms import obis
from dlms.profile import Column, Layout
from simulator.profiles import LOAD_PROFILE

CLOCK = "0-0:1.0.0.255"
STATUS = "0-0:96.10.1.255"
PROFILE = obis.to_text(LOAD_PROFILE.logical_name)
CHANNELS = tuple(obis.to_text(column.capture_object.logical_name) for column in LOAD_PROFILE.columns[2:])
#: Present on every server that is measured against.
REGISTERS = CHANNELS[:5]
ROWS = 96
#: Invocation counters of one dialog: AARQ, pass 3 (two), clock, 5 registers, profile, RLRQ, and room.
COUNTERS = 32


@dataclass(frozen=True, slots=True)
class Answer:
    """What one dialog gave, in the same form from every client."""

    clock: datetime
    registers: tuple[int, ...]
    stamps_s: tuple[int, ...]
    status: tuple[int, ...]
    values: tuple[tuple[int, ...], ...]

    def same_day(self, other: Answer) -> bool:
        return (self.stamps_s, self.status, self.values) == (other.stamps_s, other.status, other.values)


def yesterday() -> tuple[datetime, datetime]:
    """First and last row of the last full UTC day; rows are stamped at their interval's end."""
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return midnight - timedelta(days=1) + timedelta(minutes=15), midnight


def layout() -> Layout:
    """The load profile as a worker holds it: made once, used for every meter of the type."""
    roles = ("clock", "status", *("channel" for _ in CHANNELS))
    columns = tuple(
        Column(column.capture_object, role)  # type: ignore[arg-type]
        for column, role in zip(LOAD_PROFILE.columns, roles, strict=True)
    )
    return Layout(LOAD_PROFILE.logical_name, LOAD_PROFILE.capture_period_s, columns, UTC)
