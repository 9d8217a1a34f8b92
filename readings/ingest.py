"""From the stream into the tables: the loop of the ingest process.

At least once and idempotent: an entry is acknowledged and deleted after the COMMIT that stored it, so a
process that dies at any point leaves its entries pending, and another takes them over once they have been
idle. An entry that cannot be stored goes to the dead letters with a code and keeps none of its neighbours
from being stored. While PostgreSQL is away nothing is acknowledged and nothing new is read.

| code of a dead letter | cause |
|---|---|
| ENTRY_MALFORMED, ENTRY_SHAPE | the bytes are no entry |
| METER_UNKNOWN, LAYOUT_UNKNOWN | it names a meter or layout that does not exist |
| ENTRY_REFUSED | the database refuses its content |
| DELIVERIES_EXCEEDED | whoever worked on it died, several times |
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import psycopg2
import redis
import structlog
from django.db import InterfaceError, OperationalError
from django.db.utils import DatabaseError

from meters.models import Meter
from readings import latest, partitions
from readings.entries import Entry, EntryError, ProfileEntry, RegisterEntry, decode
from readings.layouts import LayoutCache, channels
from readings.models import ProfileLayout
from readings.store import Store, Stored, StoreEvents
from readings.stream import Delivery, Stream

log = structlog.get_logger(__name__)

BLOCK_MS: Final = 1000
BACKOFF_S: Final = (0.2, 0.5, 1.0, 2.0, 5.0)
#: an entry that was delivered this often is stored alone, one delivered more often than the second is buried
SUSPECT_DELIVERIES: Final = 3
DELIVERIES_MAX: Final = 6
CONFLICT_ATTEMPTS: Final = 8
HOUSEKEEPING_S: Final = 3600.0
CACHE_AWAY_S: Final = 10.0
PG_VERSION_MIN: Final = 180_000
#: deadlock, serialization failure, lock timeout, no partition for a row (it was dropped meanwhile)
_CONFLICTS: Final = frozenset({"40P01", "40001", "55P03", "23514"})
#: rows that were thought new are there: the mark was moved by hand, or a row was ahead of its time
_UNIQUE_VIOLATION: Final = "23505"
#: classes of SQLSTATE that blame the row: data exception, integrity constraint violation
_BLAMES_ROW: Final = ("22", "23")


class DatabaseAwayError(Exception):
    """PostgreSQL cannot be used now; nothing says that the batch is at fault."""


@dataclass(frozen=True, slots=True)
class Item:
    """A delivery and what it holds."""

    delivery: Delivery
    entry: Entry


class Ingest:
    """One consumer. `run` returns when `stop` is set, after the batch in hand."""

    def __init__(
        self,
        *,
        bus: redis.Redis,
        cache: redis.Redis,
        connection: Any,
        store_events: StoreEvents,
        consumer: str,
        batch: int,
        claim_s: float,
        latest_ttl_s: int,
    ) -> None:
        self.stream = Stream(bus, consumer)
        self.stop = threading.Event()
        self._cache = cache
        self._connection = connection
        self._layouts = LayoutCache()
        self._store = Store(connection, self._layouts.get, store_events)
        self._meters: set[int] = set()
        self._channels: dict[int, tuple[latest.Channel, ...]] = {}
        self._batch = batch
        self._claim_ms = int(claim_s * 1000)
        self._latest_ttl_s = latest_ttl_s
        self._interrupted = False
        self._cache_away_until = 0.0
        self._next_takeover = 0.0
        self._next_housekeeping = 0.0

    def run(self) -> None:
        """Until `stop`: Redis and PostgreSQL may come and go."""
        failures = 0
        while not self.stop.is_set():
            try:
                self.run_once()
                failures = 0
            except (redis.ConnectionError, redis.TimeoutError, DatabaseAwayError) as error:
                log.warning("ingest_waits", error=str(error).strip(), failures=failures)
                self._interrupted = True
                self._reconnect()
                self.stop.wait(_backoff_s(failures))
                failures += 1
            except redis.ResponseError as error:
                # the stream or its group is gone (NOGROUP), or Redis is loading or out of memory
                log.warning("ingest_waits", error=str(error), failures=failures)
                self._interrupted = True
                self._next_housekeeping = 0.0
                self.stop.wait(_backoff_s(failures))
                failures += 1

    def run_once(self, block_ms: int = BLOCK_MS) -> int:
        """One batch; how many entries were dealt with.

        The database is asked first: no entry is taken from the stream, and its deliveries counted, that could
        not be stored anyway.
        """
        self._check_database()
        self._keep_house()
        deliveries = self._resume() or self._take_over() or self.stream.read_new(self._batch, block_ms)
        if deliveries:
            self._ingest(deliveries)
        return len(deliveries)

    def _resume(self) -> list[Delivery]:
        """After a failure: what this consumer holds and has not acknowledged."""
        if not self._interrupted:
            return []
        held = self.stream.read_held(self._batch)
        self._interrupted = bool(held)
        return held

    def _take_over(self) -> list[Delivery]:
        """What the dead left, looked for now and then; at once again while there is more."""
        if time.monotonic() < self._next_takeover:
            return []
        taken = self.stream.take_over(self._batch, self._claim_ms)
        if taken:
            log.warning("entries_taken_over", entries=len(taken))
        else:
            self._next_takeover = time.monotonic() + self._claim_ms / 4000 * random.uniform(0.8, 1.2)
        return taken

    def _keep_house(self) -> None:
        if time.monotonic() < self._next_housekeeping:
            return
        self.stream.ensure_group()
        self.stream.forget_dead_consumers()
        with _database_errors():
            if self._connection.pg_version < PG_VERSION_MIN:
                raise DatabaseAwayError("PostgreSQL 18 or newer is needed (RETURNING old)")
            made = partitions.ensure(self._connection)
        if made:
            log.info("partitions_made", made=made)
        self._next_housekeeping = time.monotonic() + HOUSEKEEPING_S

    def _ingest(self, deliveries: Sequence[Delivery]) -> None:
        started = time.monotonic()
        items = self._vetted(deliveries)
        suspects = [item for item in items if item.delivery.deliveries >= SUSPECT_DELIVERIES]
        for item in suspects:
            self._store_items([item])
        self._store_items([item for item in items if item.delivery.deliveries < SUSPECT_DELIVERIES])
        log.debug("batch_done", entries=len(deliveries), seconds=round(time.monotonic() - started, 3))

    def _vetted(self, deliveries: Sequence[Delivery]) -> list[Item]:
        """Those that can be tried; the others are buried."""
        decoded: list[Item] = []
        for delivery in deliveries:
            if delivery.deliveries > DELIVERIES_MAX:
                self._bury(delivery, "DELIVERIES_EXCEEDED", f"delivered {delivery.deliveries} times")
                continue
            try:
                decoded.append(Item(delivery, decode(delivery.payload)))
            except EntryError as error:
                self._bury(delivery, error.code, str(error))
        with _database_errors():
            self._learn_meters({item.entry.meter_id for item in decoded} - self._meters)
            checked = [(item, self._objection(item.entry)) for item in decoded]
        for item, objection in checked:
            if objection is not None:
                self._bury(item.delivery, *objection)
        return [item for item, objection in checked if objection is None]

    def _learn_meters(self, unknown: set[int]) -> None:
        """Meters are never deleted, so those once seen need not be looked up again."""
        in_range = [meter_id for meter_id in unknown if 0 < meter_id < 1 << 63]
        if in_range:
            self._meters.update(Meter.objects.filter(pk__in=in_range).values_list("pk", flat=True))

    def _objection(self, entry: Entry) -> tuple[str, str] | None:
        if entry.meter_id not in self._meters:
            return "METER_UNKNOWN", f"there is no meter {entry.meter_id}"
        if not isinstance(entry, ProfileEntry):
            return None
        if not 0 < entry.layout_id < 1 << 63:
            return "LAYOUT_UNKNOWN", f"there is no layout {entry.layout_id}"
        try:
            width = len(self._channels_of(entry.layout_id))
        except ProfileLayout.DoesNotExist:
            return "LAYOUT_UNKNOWN", f"there is no layout {entry.layout_id}"
        if width != entry.channels:
            return "ENTRY_SHAPE", f"{entry.channels} channels, layout {entry.layout_id} has {width}"
        return None

    def _channels_of(self, layout_id: int) -> tuple[latest.Channel, ...]:
        if layout_id not in self._channels:
            self._channels[layout_id] = channels(self._layouts.get(layout_id))
        return self._channels[layout_id]

    def _store_items(self, items: Sequence[Item]) -> None:
        """Store together; where the database blames a row, halve until the entry that has it is alone."""
        if not items:
            return
        try:
            stored = self._transaction(items)
        except (DatabaseAwayError, redis.RedisError):
            raise
        except Exception as error:
            if len(items) == 1:
                self._bury(items[0].delivery, "ENTRY_REFUSED", f"{type(error).__name__}: {error}")
                return
            half = len(items) // 2
            self._store_items(items[:half])
            self._store_items(items[half:])
            return
        self._show(items, stored)
        self.stream.done([item.delivery for item in items])
        log.info(
            "batch_stored",
            entries=len(items),
            straight_rows=stored.straight_rows,
            staged_rows=stored.staged_rows,
            rejected_rows=stored.rejected_rows,
            registers=stored.registers,
            events=stored.events,
        )

    def _transaction(self, items: Sequence[Item]) -> Stored:
        """One commit. Conflicts with other writers are tried again; raises DatabaseAwayError."""
        straight = True
        for attempt in range(CONFLICT_ATTEMPTS):
            try:
                with _database_errors():
                    return self._store.store([item.entry for item in items], straight=straight)
            except (DatabaseError, psycopg2.Error) as error:
                code = sqlstate(error)
                if code == _UNIQUE_VIOLATION and straight:
                    straight = False
                elif code not in _CONFLICTS or attempt == CONFLICT_ATTEMPTS - 1:
                    raise
                else:
                    self.stop.wait(random.uniform(0.01, 0.05) * 2**attempt)
        raise AssertionError("unreachable")

    def _show(self, items: Sequence[Item], stored: Stored) -> None:
        """The latest values, now marked stored. A cache that is away costs freshness, never a reading."""
        profiles = [item.entry for item in items if isinstance(item.entry, ProfileEntry)]
        by_meter: dict[int, list[latest.Latest]] = {}
        for place, newest_us in stored.newest.items():
            entry = profiles[place]
            columns = self._channels_of(entry.layout_id)
            values = latest.from_profile(entry, columns, at_us=newest_us, stored=True)
            by_meter.setdefault(entry.meter_id, []).extend(values)
        for item in items:
            if isinstance(item.entry, RegisterEntry):
                values = latest.from_registers(item.entry, stored=True)
                by_meter.setdefault(item.entry.meter_id, []).extend(values)
        if time.monotonic() < self._cache_away_until:
            return
        try:
            latest.write(self._cache, by_meter, ttl_s=self._latest_ttl_s)
        except redis.RedisError as error:
            # the client tries for seconds: not with each batch
            self._cache_away_until = time.monotonic() + CACHE_AWAY_S
            log.warning("latest_not_cached", error=str(error))

    def _bury(self, delivery: Delivery, code: str, detail: str) -> None:
        log.error("entry_buried", id=delivery.id.decode(), code=code, detail=detail.strip()[:300])
        self.stream.bury(delivery, code, detail)

    def _check_database(self) -> None:
        with _database_errors(), self._connection.cursor() as cursor:
            cursor.execute("SELECT 1")

    def _reconnect(self) -> None:
        """Drop the connection, the next use makes a new one."""
        if self._connection.in_atomic_block:
            return
        try:
            self._connection.close()
        except (DatabaseError, InterfaceError, psycopg2.Error):
            self._connection.connection = None


class _database_errors:  # noqa: N801 - reads as a word of the language
    """Context: errors that say that PostgreSQL is away become DatabaseAwayError."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, DatabaseError | InterfaceError | psycopg2.Error) and is_away(error):
            raise DatabaseAwayError(str(error)) from error


def sqlstate(error: BaseException) -> str | None:
    """The five characters, through Django's wrapping."""
    for candidate in (error, error.__cause__):
        if isinstance(candidate, psycopg2.Error) and candidate.pgcode:
            return str(candidate.pgcode)
    return None


def is_away(error: BaseException) -> bool:
    """Whether the server, and not the row, is the reason: all but conflicts and what blames the row."""
    code = sqlstate(error)
    if code is None:
        causes = (InterfaceError, OperationalError, psycopg2.InterfaceError, psycopg2.OperationalError)
        return isinstance(error, causes) or isinstance(error.__cause__, causes)
    return code not in _CONFLICTS and not code.startswith(_BLAMES_ROW)


def _backoff_s(failures: int) -> float:
    return BACKOFF_S[min(failures, len(BACKOFF_S) - 1)] * random.uniform(0.7, 1.3)
