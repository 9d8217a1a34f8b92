"""Events into their table. Owns the SQL; one that comes again changes nothing: its key is all it says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from psycopg2.extras import execute_values

_INSERT: Final = """
INSERT INTO events_event (meter_id, log, captured_at, code, ordinal, clock_status, extra, read_at)
VALUES %s ON CONFLICT (meter_id, log, captured_at, code, ordinal) DO NOTHING"""


def store(cursor: Any, rows: Sequence[tuple[Any, ...]]) -> int:
    """Store in the caller's transaction; returns how many were new.

    Rows are (meter_id, log, captured_at, code, ordinal, clock_status, extra, read_at), sorted by their first
    five, so that writers who meet wait for one another in one order.
    """
    new = 0
    for start in range(0, len(rows), 1000):
        execute_values(cursor, _INSERT, rows[start : start + 1000], page_size=1000)
        new += cursor.rowcount
    return new
