"""The ingest loop against a real stream and a real database."""

from __future__ import annotations

import threading

import msgspec
import psycopg2
import pytest
import redis
from django.core.management import call_command
from django.db import connection

from events import storing
from events.models import Event
from meters.models import Meter
from readings import ingest as ingest_module
from readings import latest
from readings.backlog import backlog_bytes
from readings.entries import (
    DEAD_STREAM,
    FIELD,
    GROUP,
    STREAM,
    EventEntry,
    EventRecord,
    RegisterEntry,
    RegisterReading,
    encode,
    publish,
)
from readings.ingest import Ingest, is_away, sqlstate
from readings.models import IntervalRow, RegisterValue
from readings.store import us_of
from tests.readings.conftest import READ_AT_US, START


@pytest.fixture
def make_ingest(db, live_redis):
    def make(consumer="test", claim_s=0.05, batch=100, **changes):
        made = Ingest(
            **{
                "bus": live_redis,
                "cache": live_redis,
                "connection": connection,
                "store_events": storing.store,
                "consumer": consumer,
                "batch": batch,
                "claim_s": claim_s,
                "latest_ttl_s": 60,
            }
            | changes
        )
        made.stream.ensure_group()
        return made

    return make


def dead(client: redis.Redis) -> list[bytes]:
    return [fields[b"code"] for _, fields in client.xrange(DEAD_STREAM)]


def run_dry(ingest: Ingest) -> int:
    total = 0
    while done := ingest.run_once(block_ms=1):
        total += done
    return total


def test_run_once_stores_acknowledges_deletes_and_shows(make_ingest, live_redis, entry, meter):
    reading = RegisterReading("1-0:32.7.0.255", 2, us_of(START), "int", 2301, -1, 35)
    publish(
        live_redis,
        [
            entry(4),
            RegisterEntry(meter.pk, READ_AT_US, (reading,)),
            EventEntry(meter.pk, "0-0:99.98.0.255", READ_AT_US, (EventRecord(us_of(START), 1),)),
        ],
    )
    assert backlog_bytes(live_redis) > 200
    assert make_ingest().run_once() == 3
    assert (IntervalRow.objects.count(), RegisterValue.objects.count(), Event.objects.count()) == (4, 1, 1)
    assert live_redis.xlen(STREAM) == 0
    assert live_redis.xpending(STREAM, GROUP)["pending"] == 0
    shown, full = latest.read(live_redis, meter.pk)
    assert not full
    assert {(value.logical_name, value.value, value.stored) for value in shown} == {
        ("1-0:1.8.0.255", 3, True),
        ("1-0:2.8.0.255", 103, True),
        ("1-0:3.8.0.255", 203, True),
        ("1-0:32.7.0.255", 2301, True),
    }


def test_run_once_query_budget_does_not_grow_with_entries(
    make_ingest, live_redis, entry, meter_type, django_assert_max_num_queries
):
    meters = [Meter.objects.create(serial=f"Q{n}", meter_type=meter_type) for n in range(40)]
    ingest = make_ingest()
    ingest.run_once(block_ms=1)
    publish(live_redis, [entry(2, meter_id=meter.pk) for meter in meters])
    with django_assert_max_num_queries(14):
        assert ingest.run_once() == 40
    assert IntervalRow.objects.count() == 80


def test_poison_goes_to_the_dead_letters_and_the_rest_is_stored(make_ingest, live_redis, entry, meter):
    bad_name = RegisterReading("x" * 40, 2, us_of(START), "int", 1)
    good_name = RegisterReading("1-0:1.8.0.255", 2, us_of(START), "int", 1)
    publish(live_redis, [entry(2)])
    live_redis.xadd(STREAM, {FIELD: b"junk"})
    live_redis.xadd(STREAM, {"other": b"field"})
    publish(
        live_redis,
        [
            RegisterEntry(meter.pk, READ_AT_US, (bad_name,)),
            RegisterEntry(meter.pk, READ_AT_US, (good_name,)),
            entry(2, meter_id=meter.pk + 999),
            entry(2, layout_id=10**6),
            entry(2, channels=5),
            RegisterEntry(meter.pk, 2**62, (good_name,)),
            entry(2, first=2),
        ],
    )
    run_dry(make_ingest())
    assert sorted(dead(live_redis)) == sorted(
        [
            b"ENTRY_MALFORMED",
            b"ENTRY_MALFORMED",
            b"ENTRY_REFUSED",
            b"ENTRY_REFUSED",
            b"METER_UNKNOWN",
            b"LAYOUT_UNKNOWN",
            b"ENTRY_SHAPE",
        ]
    )
    assert (IntervalRow.objects.count(), RegisterValue.objects.count()) == (4, 1)
    assert live_redis.xlen(STREAM) == 0
    assert live_redis.xpending(STREAM, GROUP)["pending"] == 0


def test_requeue_dead_puts_back_what_can_be_stored_now(make_ingest, live_redis, entry, meter):
    missing = meter.pk + 1
    publish(live_redis, [entry(2, meter_id=missing)])
    live_redis.xadd(STREAM, {FIELD: b"junk"})
    run_dry(make_ingest())
    assert sorted(dead(live_redis)) == [b"ENTRY_MALFORMED", b"METER_UNKNOWN"]
    Meter.objects.create(pk=missing, serial="late", meter_type=meter.meter_type)
    call_command("requeue_dead_readings", code="METER_UNKNOWN")
    run_dry(make_ingest())
    assert dead(live_redis) == [b"ENTRY_MALFORMED"]
    assert IntervalRow.objects.filter(meter_id=missing).count() == 2


def test_take_over_stores_what_a_dead_consumer_left(make_ingest, live_redis, entry):
    gone = make_ingest("gone")
    publish(live_redis, [entry(2), entry(2, first=2)])
    assert len(gone.stream.read_new(10, 1)) == 2
    heir = make_ingest("heir")
    threading.Event().wait(0.06)
    assert run_dry(heir) == 2
    assert IntervalRow.objects.count() == 4
    assert live_redis.xlen(STREAM) == 0


def test_take_over_after_commit_without_acknowledgement_changes_nothing(make_ingest, live_redis, entry):
    gone = make_ingest("gone")
    publish(live_redis, [entry(2)])
    deliveries = gone.stream.read_new(10, 1)
    gone.stream.done = lambda deliveries: None
    gone._ingest(deliveries)
    threading.Event().wait(0.06)
    assert run_dry(make_ingest("heir")) == 1
    assert IntervalRow.objects.count() == 2
    assert live_redis.xpending(STREAM, GROUP)["pending"] == 0


def test_take_over_of_deleted_entries_forgets_them(make_ingest, live_redis, entry):
    gone = make_ingest("gone")
    publish(live_redis, [entry(2), entry(2, first=2)])
    first, _ = gone.stream.read_new(10, 1)
    live_redis.xdel(STREAM, first.id)
    threading.Event().wait(0.06)
    assert run_dry(make_ingest("heir")) == 1
    assert live_redis.xpending(STREAM, GROUP)["pending"] == 0


def test_entry_that_kills_its_consumers_is_buried_in_the_end(make_ingest, live_redis, entry):
    publish(live_redis, [entry(2)])
    consumer = make_ingest("0")
    consumer.stream.read_new(10, 1)
    for number in range(1, ingest_module.DELIVERIES_MAX):
        threading.Event().wait(0.055)
        assert len(make_ingest(str(number)).stream.take_over(10, 50)) == 1
    threading.Event().wait(0.055)
    run_dry(make_ingest("last"))
    assert dead(live_redis) == [b"DELIVERIES_EXCEEDED"]
    [(_, fields)] = live_redis.xrange(DEAD_STREAM)
    assert fields[FIELD.encode()] == encode(entry(2))


def test_interrupted_batch_is_resumed_by_the_same_consumer_at_once(make_ingest, live_redis, entry):
    ingest = make_ingest(claim_s=60)
    publish(live_redis, [entry(2)])
    assert len(ingest.stream.read_new(10, 1)) == 1
    ingest._interrupted = True
    assert ingest.run_once(block_ms=1) == 1
    assert IntervalRow.objects.count() == 2
    assert ingest.run_once(block_ms=1) == 0


def test_run_makes_the_group_anew_when_redis_lost_it(make_ingest, live_redis, entry):
    ingest = make_ingest()
    ingest.run_once(block_ms=1)
    live_redis.delete(STREAM)
    publish(live_redis, [entry(2)])
    with pytest.raises(redis.ResponseError):
        ingest.run_once(block_ms=1)
    ingest._next_housekeeping = 0.0
    assert ingest.run_once(block_ms=1) == 1


def test_cache_that_is_away_does_not_keep_rows_from_being_stored(make_ingest, live_redis, entry, free_port):
    publish(live_redis, [entry(2)])
    ingest = make_ingest(cache=redis.Redis(port=free_port))
    assert ingest.run_once() == 1
    assert IntervalRow.objects.count() == 2
    assert live_redis.xlen(STREAM) == 0


@pytest.mark.parametrize(
    ("sql", "code", "away"),
    [
        ("SELECT 1/0", "22012", False),
        ("SELECT * FROM no_such_table", "42P01", True),
        ("DO $$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = '40P01'; END $$", "40P01", False),
        ("DO $$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = '53100'; END $$", "53100", True),
    ],
)
def test_is_away_by_sqlstate(db, sql, code, away):
    with pytest.raises(Exception) as caught, connection.cursor() as cursor:  # noqa: PT011
        cursor.execute(sql)
    assert sqlstate(caught.value) == code
    assert is_away(caught.value) is away
    connection.set_rollback(True)


def test_is_away_without_a_server(free_port):
    with pytest.raises(psycopg2.OperationalError) as caught:
        psycopg2.connect(host="127.0.0.1", port=free_port, user="x", dbname="x")
    assert is_away(caught.value)


def test_entries_of_an_other_version_are_malformed_not_fatal():
    with pytest.raises(ingest_module.EntryError):
        ingest_module.decode(msgspec.msgpack.encode([99, 1, 2]))
