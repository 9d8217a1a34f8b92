"""Weekly partitions of the interval rows: made ahead, dropped by retention.

Owns the partitions of `readings_interval`, each a week from Monday 00:00 UTC, named by that Monday. There
is none for all the rest (a DEFAULT partition): rows outside are split off by ingest, with a code. All weeks
of the retention exist from the start, so that a meter's whole memory can be stored.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final

import structlog
from django.conf import settings
from django.db import connection as default_connection
from django.db import transaction

log = structlog.get_logger(__name__)

TABLE: Final = "readings_interval"
WEEK: Final = timedelta(weeks=1)
WEEKS_AHEAD: Final = 4
#: rows up to this far in the future are stored (a meter's clock may be fast)
FUTURE: Final = timedelta(days=1)
#: any constant that no other advisory lock of this database has
_LOCK: Final = 0x48455301
#: dropping waits behind readers of the whole table; rather come back than stop all the others meanwhile
_DROP_LOCK_TIMEOUT: Final = "5s"
#: rows are written once and read in key order: vacuum early, with room for the rare revision
_STORAGE: Final = (
    "fillfactor = 95, autovacuum_vacuum_insert_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.05"
)


def week_of(moment: datetime) -> date:
    """The Monday of the week, in UTC."""
    day = moment.astimezone(UTC).date()
    return day - timedelta(days=day.weekday())


def name_of(week: date) -> str:
    return f"{TABLE}_{week:%Y%m%d}"


def start_of(week: date) -> datetime:
    return datetime.combine(week, time(), UTC)


def existing(connection: Any = default_connection) -> list[date]:
    """The weeks that have a partition, in order."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid"
            " WHERE i.inhparent = to_regclass(%s) ORDER BY c.relname",
            [TABLE],
        )
        names = [row[0] for row in cursor.fetchall()]
    return [datetime.strptime(name[-8:], "%Y%m%d").replace(tzinfo=UTC).date() for name in names]


def bounds(connection: Any = default_connection, now: datetime | None = None) -> tuple[datetime, datetime]:
    """[from, to) of what can be stored now: oldest partition to a day ahead, without a hole in between."""
    now = now or datetime.now(UTC)
    weeks = existing(connection)
    if not weeks:
        return now, now
    newest = len(weeks) - 1
    oldest = newest
    while oldest > 0 and weeks[oldest] - weeks[oldest - 1] == WEEK:
        oldest -= 1
    return start_of(weeks[oldest]), min(start_of(weeks[newest]) + WEEK, now + FUTURE)


def wanted(now: datetime, retention_days: int) -> list[date]:
    """From the week in which the retention ends to some weeks ahead."""
    first, last = week_of(now - timedelta(days=retention_days)), week_of(now + WEEKS_AHEAD * WEEK)
    return [first + n * WEEK for n in range((last - first) // WEEK + 1)]


def ensure(
    connection: Any = default_connection, now: datetime | None = None, retention_days: int | None = None
) -> list[str]:
    """Make the partitions that are missing; the names of those made. May run in many processes at once."""
    now = now or datetime.now(UTC)
    needed = wanted(now, retention_days or settings.HES_RETENTION_DAYS)
    if not set(needed) - set(existing(connection)):
        return []
    with transaction.atomic(using=connection.alias), connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
        missing = sorted(set(needed) - set(existing(connection)))
        for week in missing:
            cursor.execute(
                f"CREATE TABLE {name_of(week)} PARTITION OF {TABLE}"
                f" FOR VALUES FROM (%s) TO (%s) WITH ({_STORAGE})",
                [start_of(week), start_of(week) + WEEK],
            )
    return [name_of(week) for week in missing]


def drop_expired(
    connection: Any = default_connection, now: datetime | None = None, retention_days: int | None = None
) -> list[str]:
    """Drop the partitions whose whole week is older than the retention; the names of those dropped."""
    now = now or datetime.now(UTC)
    first = wanted(now, retention_days or settings.HES_RETENTION_DAYS)[0]
    dropped = []
    for week in existing(connection):
        if week >= first:
            break
        with transaction.atomic(using=connection.alias), connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
            cursor.execute(f"SET LOCAL lock_timeout = '{_DROP_LOCK_TIMEOUT}'")
            cursor.execute(f"DROP TABLE IF EXISTS {name_of(week)}")
        dropped.append(name_of(week))
    return dropped


def drop_old_history(
    connection: Any = default_connection, now: datetime | None = None, retention_days: int | None = None
) -> int:
    """Delete revisions, register values and rejected rows older than the retention; how many."""
    now = now or datetime.now(UTC)
    limit = now - timedelta(days=retention_days or settings.HES_RETENTION_DAYS)
    deleted = 0
    with connection.cursor() as cursor:
        for table, column in (
            ("readings_interval_revision", "replaced_at"),
            ("readings_registervalue", "read_at"),
            ("readings_rejectedrow", "rejected_at"),
        ):
            cursor.execute(f"DELETE FROM {table} WHERE {column} < %s", [limit])  # noqa: S608
            deleted += cursor.rowcount
    return deleted


def maintain(now: datetime | None = None) -> dict[str, Any]:
    """What the daily task does: make ahead, drop by retention. Returns and logs the facts."""
    facts = {
        "made": ensure(now=now),
        "dropped": drop_expired(now=now),
        "deleted_rows": drop_old_history(now=now),
    }
    log.info("partitions_maintained", **facts)
    return facts
