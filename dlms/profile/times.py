"""Rows' clocks to UTC where a single date-time does not say enough: doubled hours and implied timestamps.

Owns the rules that need the rows around: which of the two hours of an autumn night a row without deviation
means, and what null-data in the clock column stands for.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone, tzinfo

from dlms.clock import LocalTime, is_ambiguous, is_daylight_saving, to_utc
from dlms.profile.table import NO_TIME

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def micros(moment: datetime) -> int:
    """UTC microseconds since 1970, exact."""
    return (moment - _EPOCH) // _MICROSECOND


def is_descending(locals_: Sequence[LocalTime | None]) -> bool:
    """Whether the newest row stands first; the clocks as they are written decide."""
    known = [local.naive for local in locals_ if local is not None]
    return len(known) > 1 and known[0] > known[-1]


def resolve(locals_: Sequence[LocalTime | None], zone: tzinfo, inverted: bool) -> list[int]:
    """UTC microseconds of each row; NO_TIME where there is no local time.

    In a doubled hour without deviation the daylight-saving bit decides, if any row of the buffer has it set.
    A meter that never sets it: each row takes the earliest reading that lies after the row before; a first
    row takes the second hour, unless a later row steps back into the first.
    """
    times = [NO_TIME] * len(locals_)
    bit_used = any(
        local is not None and local.deviation_min is None and is_daylight_saving(local.status)
        for local in locals_
    )
    order = range(len(locals_) - 1, -1, -1) if is_descending(locals_) else range(len(locals_))
    previous = NO_TIME
    for position, index in enumerate(order):
        local = locals_[index]
        if local is None:
            continue
        fold: int | None = None
        if local.deviation_min is None and not bit_used and is_ambiguous(local.naive, zone):
            rest = order[position + 1 :] if previous == NO_TIME else ()
            fold = _fold_by_order(local, previous, [locals_[other] for other in rest], zone)
        previous = times[index] = micros(to_utc(local, zone, inverted, fold))
    return times


def _fold_by_order(local: LocalTime, previous: int, later: Sequence[LocalTime | None], zone: tzinfo) -> int:
    if previous != NO_TIME:
        return 0 if micros(to_utc(local, zone, fold=0)) > previous else 1
    for other in later:
        if other is not None:
            if not is_ambiguous(other.naive, zone):
                break
            if other.naive <= local.naive:
                return 0
    return 1


def fill_implied(times: list[int], statuses: list[int], implied: Sequence[bool], step_us: int) -> None:
    """Give rows with null-data for a clock the time of the row before plus `step_us`, and its status."""
    for index, missing in enumerate(implied):
        if missing and index and times[index - 1] != NO_TIME:
            times[index] = times[index - 1] + step_us
            statuses[index] = statuses[index - 1]


def constant_offset(first: datetime, last: datetime, zone: tzinfo) -> timedelta | None:
    """The zone's offset when it does not change from the day before `first` to the day after `last`, else
    None.

    Looks at each local midnight: no zone changes twice within a day and back. A span above a year: None.
    """
    if isinstance(zone, timezone):
        return zone.utcoffset(None)
    if last - first > timedelta(days=366):
        return None
    day = first.replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=zone) - timedelta(days=1)
    end = last.replace(tzinfo=zone) + timedelta(days=2)
    offset = day.utcoffset()
    while day < end:
        if day.utcoffset() != offset or day.replace(fold=1).utcoffset() != offset:
            return None
        day += timedelta(days=1)
    return offset
