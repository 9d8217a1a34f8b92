"""Readings out of the tables: pages of a profile, gaps, latest values. Owns the SQL of reading, no HTTP."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any, Final, NamedTuple

from django.conf import settings
from django.db import connection

from dlms.profile import STATUS_INDEX
from meters.models import Meter
from readings import latest
from readings.latest import Latest
from readings.layouts import channel_columns, channels
from readings.models import MeterProfile, ProfileLayout
from readings.store import us_of
from readings.values import JsonValue, extra_cells, formatter

_PAGE: Final = """
SELECT layout_id, captured_at, ordinal, clock_status, status, "values", extra
FROM readings_interval
WHERE meter_id = %(meter)s AND layout_id {layouts} AND captured_at >= %(start)s AND captured_at < %(end)s
    AND (captured_at, layout_id, ordinal) > (%(after_at)s, %(after_layout)s, %(after_ordinal)s)
ORDER BY captured_at, layout_id, ordinal LIMIT %(limit)s"""
_REGISTERS: Final = """
SELECT DISTINCT ON (logical_name, attribute)
    logical_name, attribute, captured_at, read_at, coding, value, scaler, unit, extra
FROM readings_registervalue WHERE meter_id = %s
ORDER BY logical_name, attribute, captured_at DESC"""
_NEWEST_ROW: Final = """
SELECT captured_at, read_at, "values" FROM readings_interval
WHERE meter_id = %s AND layout_id = %s AND captured_at = %s ORDER BY ordinal DESC LIMIT 1"""


class Row(NamedTuple):
    layout_id: int
    captured_at: datetime
    ordinal: int
    clock_status: int
    status: int | None
    values: list[int | None]
    extra: memoryview | None


@dataclass(frozen=True, slots=True)
class Position:
    """A row's place in the order of a profile; a page begins after one."""

    captured_at: datetime
    layout_id: int
    ordinal: int


@dataclass(frozen=True, slots=True)
class Page:
    """Rows of one layout; `end` is the position of its last row where more rows follow."""

    layout: ProfileLayout | None
    rows: list[Row]
    end: Position | None


def layouts_of(meter: Meter, logical_name: str) -> list[ProfileLayout]:
    """The layouts that this meter's profile may have rows in, its present one first."""
    profile = MeterProfile.objects.filter(meter=meter, logical_name=logical_name).first()
    present = profile.layout_id if profile else 0
    same_type = ProfileLayout.objects.filter(meter_type_id=meter.meter_type_id, logical_name=logical_name)
    found = same_type | ProfileLayout.objects.filter(pk=present)
    return sorted(
        found.prefetch_related("columns"), key=lambda layout: (layout.pk != present, -layout.version)
    )


def profile_page(
    meter_id: int,
    layouts: Sequence[ProfileLayout],
    start: datetime,
    end: datetime,
    *,
    after: Position | None = None,
    limit: int,
) -> Page:
    """Rows with start <= captured_at < end after a position; a page ends where the layout changes."""
    ids = [layout.pk for layout in layouts]
    text = _PAGE.format(layouts="= %(layouts)s" if len(ids) == 1 else "= ANY(%(layouts)s)")
    with connection.cursor() as cursor:
        cursor.execute(
            text,
            {
                "meter": meter_id,
                "layouts": ids[0] if len(ids) == 1 else ids,
                "start": max(start, after.captured_at) if after else start,
                "end": end,
                "after_at": after.captured_at if after else start,
                "after_layout": after.layout_id if after else 0,
                "after_ordinal": after.ordinal if after else -1,
                "limit": limit + 1,
            },
        )
        found = [Row(*row) for row in cursor.fetchall()]
    if not found:
        return Page(layouts[0] if layouts else None, [], None)
    layout_id = found[0].layout_id
    taken = found[:limit]
    length = next((n for n, row in enumerate(taken) if row.layout_id != layout_id), len(taken))
    rows = taken[:length]
    last = rows[-1]
    end_position = Position(last.captured_at, last.layout_id, last.ordinal)
    layout = next(layout for layout in layouts if layout.pk == layout_id)
    return Page(layout, rows, end_position if len(found) > length else None)


def row_formatter(layout: ProfileLayout) -> Callable[[Row], tuple[JsonValue | int, list[JsonValue]]]:
    """A function from a row to its status and its values as JSON has them."""
    texts = [formatter(column.coding, column.scaler) for column in channel_columns(layout)]

    def plain(row: Row) -> tuple[JsonValue | int, list[JsonValue]]:
        values: list[JsonValue] = [
            None if value is None else text(value) for text, value in zip(texts, row.values, strict=False)
        ]
        status: JsonValue | int = row.status
        if row.extra:
            for number, cell in extra_cells(bytes(row.extra)).items():
                if number < len(values):
                    values[number] = cell
                elif number == STATUS_INDEX:
                    status = cell
        return status, values

    return plain


def gaps(
    times: Iterable[datetime], start: datetime, end: datetime, period_s: int, zone: tzinfo = UTC
) -> list[tuple[datetime, datetime, int]] | None:
    """Times of the capture grid in [start, end) without a row, as [from, to) ranges and how many are missing.

    The grid is the multiples of the period, in UTC where it divides an hour, else on the meter's local
    midnight; rows that all lie off it by the same distance move it. None where there is no grid to compare
    with: rows captured on events, or a period of more than a day.
    """
    if period_s <= 0 or period_s > 86400 or 86400 % period_s:
        return None
    held = {us_of(moment) for moment in times}
    step = timedelta(seconds=period_s)
    if 3600 % period_s == 0:
        grid = _utc_grid(held, us_of(start), us_of(end), period_s * 1_000_000)
    else:
        grid = _local_grid(start, end, step, zone)
    ranges: list[tuple[datetime, datetime, int]] = []
    run: list[int] = []
    for moment in grid:
        if moment not in held:
            run.append(moment)
        elif run:
            ranges.append(_range(run, step))
            run = []
    if run:
        ranges.append(_range(run, step))
    return ranges


def _utc_grid(held: set[int], start: int, end: int, period: int) -> range:
    phases = {moment % period for moment in held}
    phase = phases.pop() if len(phases) == 1 else 0
    first = start + (phase - start) % period
    return range(first, end, period)


def _local_grid(start: datetime, end: datetime, step: timedelta, zone: tzinfo) -> Iterable[int]:
    day = start.astimezone(zone).replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None)
    while True:
        for number in range(timedelta(days=1) // step):
            moment = (day + number * step).replace(tzinfo=zone).astimezone(UTC)
            if moment >= end:
                return
            if moment >= start:
                yield us_of(moment)
        day += timedelta(days=1)


def _range(run: Sequence[int], step: timedelta) -> tuple[datetime, datetime, int]:
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    first, last = (epoch + timedelta(microseconds=us) for us in (run[0], run[-1]))
    return first, last + step, len(run)


def latest_values(cache: Any, meter_id: int) -> tuple[list[Latest], str]:
    """The latest value of each register and channel, and where they are from: "cache" or "store".

    A meter that is in the cache costs no look at the readings tables; one that is not is put there.
    """
    held, full = latest.read(cache, meter_id)
    if full:
        return held, "cache"
    stored = latest_from_store(meter_id)
    latest.write(cache, {meter_id: stored}, ttl_s=settings.HES_LATEST_TTL_S, full=True)
    merged = {value.field: value for value in stored}
    for value in held:
        known = merged.get(value.field)
        if known is None or (value.captured_at_us, value.read_at_us) > (
            known.captured_at_us,
            known.read_at_us,
        ):
            merged[value.field] = value
    return list(merged.values()), "store"


def latest_from_store(meter_id: int) -> list[Latest]:
    """Registers as last read, and the channels of each profile's newest row where they are newer."""
    newest: dict[str, Latest] = {}
    with connection.cursor() as cursor:
        cursor.execute(_REGISTERS, [meter_id])
        found = [_register(row) for row in cursor.fetchall()]
    for profile in MeterProfile.objects.filter(meter_id=meter_id, high_water__isnull=False).select_related(
        "layout"
    ):
        found += _newest_row(profile)
    for value in found:
        known = newest.get(value.field)
        if known is None or value.captured_at_us > known.captured_at_us:
            newest[value.field] = value
    return list(newest.values())


def _register(row: tuple[Any, ...]) -> Latest:
    logical_name, attribute, captured_at, read_at, coding, value, scaler, unit, extra = row
    return Latest(
        logical_name=logical_name,
        attribute=attribute,
        captured_at_us=us_of(captured_at),
        read_at_us=us_of(read_at),
        coding=coding,
        value=value,
        scaler=scaler,
        unit=unit,
        extra=None if extra is None else bytes(extra),
        stored=True,
    )


def _newest_row(profile: MeterProfile) -> list[Latest]:
    with connection.cursor() as cursor:
        cursor.execute(_NEWEST_ROW, [profile.meter_id, profile.layout_id, profile.high_water])
        row = cursor.fetchone()
    if row is None:
        return []
    captured_at, read_at, values = row
    return [
        Latest(
            logical_name=channel.logical_name,
            attribute=channel.attribute,
            captured_at_us=us_of(captured_at),
            read_at_us=us_of(read_at),
            coding=channel.coding,
            value=value,
            scaler=channel.scaler,
            unit=channel.unit,
            stored=True,
        )
        for channel, value in zip(channels(profile.layout), values, strict=False)
        if value is not None
    ]
