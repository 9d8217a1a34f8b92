"""One batch of entries into the tables, in one transaction: COPY, upsert, revisions, high-water marks.

Owns the SQL. Storing is idempotent: a row is found by its key, of two versions the one read later stays,
the other is kept as a revision, and an entry that comes again changes nothing. Rows beyond a meter's
high-water mark are new for certain, because the mark is locked first and moves with the rows; they go
straight into the partitions, the others through a staging table. PostgreSQL 18 is needed (RETURNING old).
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import numpy as np
from django.db import transaction
from psycopg2.extras import execute_values

from readings import partitions, rejects
from readings.entries import EventEntry, EventRecord, ProfileEntry, RegisterEntry, RegisterReading
from readings.models import ProfileLayout
from readings.rows import COLUMN_LIST, COPY_HEADER, COPY_TRAILER, NO_MARK, Block, copy_bytes, gather

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_NEVER: Final = np.iinfo(np.int64).max

_STAGING: Final = """
CREATE TEMPORARY TABLE IF NOT EXISTS readings_staging (
    meter_id bigint, layout_id bigint, captured_at timestamptz, read_at timestamptz, status bigint,
    ordinal smallint, clock_status smallint, "values" bigint[], extra bytea
) ON COMMIT DELETE ROWS"""
_KEY: Final = "meter_id, layout_id, captured_at, ordinal"
_CONTENT: Final = ("clock_status", "status", '"values"', "extra")

#: sorted by the key: writers that meet wait for one another in one order
_UPSERT: Final = f"""
WITH incoming AS (
    SELECT DISTINCT ON ({_KEY}) * FROM readings_staging ORDER BY {_KEY}, read_at DESC
), written AS (
    INSERT INTO readings_interval AS held ({COLUMN_LIST})
    SELECT {COLUMN_LIST} FROM incoming ORDER BY {_KEY}
    ON CONFLICT ({_KEY}) DO UPDATE SET
        clock_status = EXCLUDED.clock_status, status = EXCLUDED.status, "values" = EXCLUDED."values",
        extra = EXCLUDED.extra, read_at = EXCLUDED.read_at
    WHERE held.read_at < EXCLUDED.read_at
        AND ({", ".join(f"held.{name}" for name in _CONTENT)})
            IS DISTINCT FROM ({", ".join(f"EXCLUDED.{name}" for name in _CONTENT)})
    RETURNING {", ".join(f"old.{name} AS {name}" for name in COLUMN_LIST.split(", "))}
)
INSERT INTO readings_interval_revision ({COLUMN_LIST}, replaced_at)
SELECT {COLUMN_LIST}, %(now)s FROM written WHERE meter_id IS NOT NULL
ON CONFLICT DO NOTHING"""  # noqa: S608

#: versions that came late or lost to another of the same batch
_KEEP_LOSERS: Final = f"""
INSERT INTO readings_interval_revision ({COLUMN_LIST}, replaced_at)
SELECT {", ".join(f"came.{name}" for name in COLUMN_LIST.split(", "))}, %(now)s
FROM readings_staging came JOIN readings_interval held USING ({_KEY})
WHERE held.captured_at BETWEEN %(first)s AND %(last)s AND held.read_at <> came.read_at
    AND ({", ".join(f"held.{name}" for name in _CONTENT)})
        IS DISTINCT FROM ({", ".join(f"came.{name}" for name in _CONTENT)})
ORDER BY {_KEY}
ON CONFLICT DO NOTHING"""  # noqa: S608

_LOCK_MARKS: Final = """
SELECT id, meter_id, logical_name, (extract(epoch FROM high_water) * 1000000)::bigint
FROM readings_meterprofile
WHERE (meter_id, logical_name) IN (SELECT * FROM unnest(%s::bigint[], %s::text[]))
ORDER BY meter_id, logical_name FOR UPDATE"""
_NEW_MARKS: Final = """
INSERT INTO readings_meterprofile (meter_id, logical_name, layout_id, verified_at)
VALUES %s ON CONFLICT DO NOTHING"""
_MOVE_MARKS: Final = """
UPDATE readings_meterprofile held SET high_water = moved.high_water
FROM (VALUES %s) AS moved (id, high_water)
WHERE held.id = moved.id AND (held.high_water IS NULL OR held.high_water < moved.high_water)"""
_REGISTERS: Final = """
INSERT INTO readings_registervalue AS held
    (meter_id, logical_name, attribute, captured_at, coding, value, scaler, unit, extra, read_at)
VALUES %s
ON CONFLICT (meter_id, logical_name, attribute, captured_at) DO UPDATE SET
    coding = EXCLUDED.coding, value = EXCLUDED.value, scaler = EXCLUDED.scaler, unit = EXCLUDED.unit,
    extra = EXCLUDED.extra, read_at = EXCLUDED.read_at
WHERE held.read_at < EXCLUDED.read_at"""

#: (cursor, [(meter_id, log, captured_at, code, ordinal, clock_status, extra, read_at)]) -> how many were new
StoreEvents = Callable[[Any, Sequence[tuple[Any, ...]]], int]


@dataclass(slots=True)
class Stored:
    """What one batch brought, for the log line."""

    straight_rows: int = 0
    staged_rows: int = 0
    rejected_rows: int = 0
    registers: int = 0
    events: int = 0
    #: per profile entry (by its place among the batch's profile entries) the newest row that was stored; one
    #: from the future neither moves the mark nor hides the latest value
    newest: dict[int, int] = field(default_factory=dict)


def time_of(us: int) -> datetime:
    """Exact; OverflowError outside the years 1 to 9999."""
    return EPOCH + timedelta(microseconds=us)


def us_of(moment: datetime) -> int:
    return (moment - EPOCH) // timedelta(microseconds=1)


class Store:
    """Stores batches over one Django connection. Layouts are looked up once: they never change."""

    def __init__(
        self, connection: Any, layout_of: Callable[[int], ProfileLayout], store_events: StoreEvents
    ) -> None:
        self._connection = connection
        self._layout_of = layout_of
        self._store_events = store_events

    def store(
        self,
        entries: Iterable[ProfileEntry | RegisterEntry | EventEntry],
        *,
        now: datetime | None = None,
        straight: bool = True,
    ) -> Stored:
        """All or nothing. `straight=False` takes every row through staging."""
        now = now or datetime.now(UTC)
        stored = Stored()
        profiles = [entry for entry in entries if isinstance(entry, ProfileEntry)]
        registers = [entry for entry in entries if isinstance(entry, RegisterEntry)]
        events = [entry for entry in entries if isinstance(entry, EventEntry)]
        with transaction.atomic(using=self._connection.alias), self._connection.cursor() as cursor:
            if profiles:
                self._store_profiles(cursor, profiles, now, straight, stored)
            if registers:
                _store_registers(cursor, registers, now, stored)
            if events:
                self._store_logs(cursor, events, now, stored)
        return stored

    def _store_profiles(
        self, cursor: Any, entries: list[ProfileEntry], now: datetime, straight: bool, stored: Stored
    ) -> None:
        names = [self._layout_of(entry.layout_id).logical_name for entry in entries]
        marks = _lock_marks(cursor, entries, names, now)
        low, high = (us_of(bound) for bound in partitions.bounds(self._connection, now))
        now_us = us_of(now)
        copies: list[bytes] = []
        staged: list[Block] = []
        for block in gather(entries, _certain(entries, names, marks, straight)):
            inside = (block.captured_at >= low) & (block.captured_at < high)
            if not inside.all():
                stored.rejected_rows += rejects.keep_rows(block.take(~inside), low)
                block = block.take(inside)
            _note_newest(stored.newest, block.take(block.captured_at <= now_us))
            # a row from the future never moves the mark, so it is never certain to be new
            new = (block.captured_at > block.mark) & (block.captured_at <= now_us)
            if new.any():
                copies.append(copy_bytes(block if new.all() else block.take(new)))
                stored.straight_rows += int(new.sum())
            if not new.all():
                staged.append(block.take(~new))
        if copies:
            _copy(cursor, "readings_interval", copies)
        if staged:
            stored.staged_rows = _upsert(cursor, staged, now)
        _move_marks(cursor, entries, names, marks, stored.newest, now_us)

    def _store_logs(self, cursor: Any, entries: list[EventEntry], now: datetime, stored: Stored) -> None:
        limit_us = us_of(now + partitions.FUTURE)
        rows: dict[tuple[Any, ...], tuple[Any, ...]] = {}
        late: list[tuple[EventEntry, EventRecord]] = []
        for entry in entries:
            read_at = time_of(entry.read_at_us)
            for event in entry.events:
                if event.captured_at_us >= limit_us:
                    late.append((entry, event))
                    continue
                key = (entry.meter_id, entry.log, time_of(event.captured_at_us), event.code, event.ordinal)
                rows.setdefault(key, (*key, event.clock_status, event.extra, read_at))
        stored.rejected_rows += rejects.keep_events(late)
        stored.events = self._store_events(cursor, [rows[key] for key in sorted(rows)])


def _certain(
    entries: Sequence[ProfileEntry], names: Sequence[str], marks: dict[tuple[int, str], Any], straight: bool
) -> list[int]:
    """Per entry the mark beyond which its rows are new; none is where two entries of a profile meet."""
    seen: dict[tuple[int, str], int] = {}
    for entry, name in zip(entries, names, strict=True):
        seen[entry.meter_id, name] = seen.get((entry.meter_id, name), 0) + 1
    return [
        marks[entry.meter_id, name][1] if straight and seen[entry.meter_id, name] == 1 else _NEVER
        for entry, name in zip(entries, names, strict=True)
    ]


def _lock_marks(
    cursor: Any, entries: Sequence[ProfileEntry], names: Sequence[str], now: datetime
) -> dict[tuple[int, str], tuple[int, int]]:
    """(meter, profile) -> (id, mark in us): the rows are made where missing and locked, in one order."""
    wanted = {(entry.meter_id, name): entry.layout_id for entry, name in zip(entries, names, strict=True)}
    keys = sorted(wanted)
    found = _select_marks(cursor, keys)
    missing = [(*key, wanted[key], now) for key in keys if key not in found]
    if missing:
        execute_values(cursor, _NEW_MARKS, missing, page_size=len(missing))
        found = _select_marks(cursor, keys)
    return found


def _select_marks(cursor: Any, keys: Sequence[tuple[int, str]]) -> dict[tuple[int, str], tuple[int, int]]:
    cursor.execute(_LOCK_MARKS, [[meter_id for meter_id, _ in keys], [name for _, name in keys]])
    return {
        (meter_id, name): (pk, NO_MARK if mark is None else mark)
        for pk, meter_id, name, mark in cursor.fetchall()
    }


def _move_marks(
    cursor: Any,
    entries: Sequence[ProfileEntry],
    names: Sequence[str],
    marks: dict[tuple[int, str], tuple[int, int]],
    newest: dict[int, int],
    now_us: int,
) -> None:
    moved: dict[int, int] = {}
    for place, row_us in newest.items():
        pk, mark = marks[entries[place].meter_id, names[place]]
        if mark < row_us <= now_us:
            moved[pk] = max(row_us, moved.get(pk, row_us))
    if moved:
        values = [(pk, time_of(us)) for pk, us in sorted(moved.items())]
        execute_values(cursor, _MOVE_MARKS, values, page_size=len(values))


def _note_newest(newest: dict[int, int], block: Block) -> None:
    """Per entry the newest time among the block's rows."""
    for place in np.unique(block.entry):
        newest[int(place)] = int(block.captured_at[block.entry == place].max())


def _copy(cursor: Any, table: str, pieces: Sequence[bytes]) -> None:
    data = io.BytesIO(b"".join((COPY_HEADER, *pieces, COPY_TRAILER)))
    cursor.copy_expert(f"COPY {table} ({COLUMN_LIST}) FROM STDIN (FORMAT binary)", data)


def _upsert(cursor: Any, blocks: Sequence[Block], now: datetime) -> int:
    cursor.execute(_STAGING)
    # empty but inside a transaction of the caller's that stored before
    cursor.execute("DELETE FROM readings_staging")
    _copy(cursor, "readings_staging", [copy_bytes(block) for block in blocks])
    cursor.execute(_UPSERT, {"now": now})
    first = min(int(block.captured_at.min()) for block in blocks)
    last = max(int(block.captured_at.max()) for block in blocks)
    cursor.execute(_KEEP_LOSERS, {"now": now, "first": time_of(first), "last": time_of(last)})
    return sum(len(block) for block in blocks)


def _store_registers(cursor: Any, entries: Sequence[RegisterEntry], now: datetime, stored: Stored) -> None:
    limit_us = us_of(now + partitions.FUTURE)
    rows: dict[tuple[Any, ...], tuple[Any, ...]] = {}
    late: list[tuple[RegisterEntry, RegisterReading]] = []
    for entry in sorted(entries, key=lambda entry: entry.read_at_us):
        read_at = time_of(entry.read_at_us)
        for value in entry.values:
            if value.captured_at_us >= limit_us:
                late.append((entry, value))
                continue
            key = (entry.meter_id, value.logical_name, value.attribute, time_of(value.captured_at_us))
            rows[key] = (*key, value.coding, value.value, value.scaler, value.unit, value.extra, read_at)
    stored.rejected_rows += rejects.keep_registers(late)
    stored.registers = len(rows)
    if rows:
        execute_values(cursor, _REGISTERS, [rows[key] for key in sorted(rows)], page_size=1000)
