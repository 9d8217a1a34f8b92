"""Batches into the tables: nothing twice, nothing lost, never back."""

from __future__ import annotations

import itertools
from datetime import timedelta

import numpy as np
import pytest
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from meters.models import Meter
from readings import layouts, partitions
from readings.entries import (
    EventEntry,
    EventRecord,
    RegisterEntry,
    RegisterReading,
    decode,
    encode,
    number_events,
)
from readings.models import IntervalRevision, IntervalRow, MeterProfile, RegisterValue, RejectedRow
from readings.store import us_of
from tests.readings.conftest import LOAD_PROFILE, PERIOD_US, START, specs

pytestmark = pytest.mark.django_db


def rows(**filters):
    return list(IntervalRow.objects.filter(**filters).order_by("meter_id", "captured_at", "ordinal"))


def test_store_new_rows_go_straight_and_move_the_mark(store, entry, meter):
    stored = store.store([entry(4)])
    assert (stored.straight_rows, stored.staged_rows) == (4, 0)
    assert [row.values for row in rows()] == [[n, 100 + n, 200 + n] for n in range(4)]
    assert [row.captured_at for row in rows()] == [START + timedelta(minutes=15 * n) for n in range(4)]
    profile = MeterProfile.objects.get(meter=meter, logical_name=LOAD_PROFILE)
    assert profile.high_water == START + timedelta(minutes=45)


def test_store_same_entry_again_changes_nothing(store, entry):
    store.store([entry(4)])
    before = rows()
    again = store.store([entry(4)])
    assert (again.straight_rows, again.staged_rows) == (0, 4)
    assert [(row.pk, row.values, row.read_at) for row in rows()] == [
        (row.pk, row.values, row.read_at) for row in before
    ]
    assert not IntervalRevision.objects.exists()


def test_store_later_read_that_differs_keeps_the_earlier_as_revision(store, entry):
    store.store([entry(2)])
    store.store([entry(2, read_at_s=60, base=7)])
    assert [row.values[0] for row in rows()] == [7, 8]
    revisions = IntervalRevision.objects.order_by("captured_at")
    assert [revision.values[0] for revision in revisions] == [0, 1]
    assert revisions[0].replaced_at is not None


def test_store_older_read_that_comes_late_never_reverts(store, entry):
    store.store([entry(2, read_at_s=60, base=7)])
    store.store([entry(2)])
    assert [row.values[0] for row in rows()] == [7, 8]
    assert [revision.values[0] for revision in IntervalRevision.objects.order_by("captured_at")] == [0, 1]
    store.store([entry(2)])
    assert IntervalRevision.objects.count() == 2


def test_store_two_versions_in_one_batch_keep_the_newer_and_the_older_as_revision(store, entry):
    stored = store.store([entry(2, read_at_s=60, base=7), entry(3)])
    assert (stored.straight_rows, stored.staged_rows) == (0, 5)
    assert [row.values[0] for row in rows()] == [7, 8, 2]
    assert IntervalRevision.objects.count() == 2


def test_store_any_order_of_three_reads_ends_with_the_newest(store, entry, meter_type, layout):
    for number, order in enumerate(itertools.permutations(range(3))):
        meter = Meter.objects.create(serial=f"P{number}", meter_type=meter_type)
        for read in order:
            store.store([entry(2, read_at_s=read, base=10 * read, meter_id=meter.pk)])
        assert [row.values[0] for row in rows(meter=meter)] == [20, 21]
        assert IntervalRevision.objects.filter(meter_id=meter.pk).count() == 4


def test_store_rows_of_one_time_are_both_kept(store, entry):
    times = us_of(START) + np.array([0, 1, 2, 1, 2, 3]) * PERIOD_US
    store.store([entry(6, captured_at=times)])
    assert [(row.ordinal, row.values[0]) for row in rows()] == [
        (0, 0),
        (0, 1),
        (1, 3),
        (0, 2),
        (1, 4),
        (0, 5),
    ]


def test_store_rows_outside_the_partitions_are_split_off_with_a_code(store, entry, meter):
    times = us_of(START) + np.arange(4) * PERIOD_US
    times[0] = 0
    times[3] = us_of(timezone.now() + timedelta(days=30))
    stored = store.store([entry(4, captured_at=times)])
    assert (stored.straight_rows, stored.rejected_rows) == (2, 2)
    codes = (
        RejectedRow.objects.filter(meter_id=meter.pk).order_by("captured_at").values_list("code", flat=True)
    )
    assert list(codes) == ["ROW_TOO_OLD", "ROW_IN_FUTURE"]
    assert RejectedRow.objects.get(code="ROW_TOO_OLD").row["values"] == [0, 100, 200]
    store.store([entry(4, captured_at=times, read_at_s=5)])
    assert RejectedRow.objects.count() == 2


def test_store_times_beyond_any_calendar_are_rejected_not_fatal(store, entry):
    info = np.iinfo(np.int64)
    stored = store.store([entry(2, captured_at=np.array([info.min, info.max]))])
    assert stored.rejected_rows == 2
    found = RejectedRow.objects.filter(captured_at=None).values_list("code", flat=True)
    assert sorted(found) == ["ROW_IN_FUTURE", "ROW_WITHOUT_TIME"]


def test_store_rows_before_one_ahead_of_time_move_the_mark_and_are_shown(store, entry, meter):
    times = us_of(START) + np.arange(4) * PERIOD_US
    times[3] = us_of(timezone.now() + timedelta(hours=5))
    stored = store.store([entry(4, captured_at=times)])
    assert (stored.straight_rows, stored.staged_rows) == (3, 1)
    assert stored.newest == {0: int(times[2])}
    assert MeterProfile.objects.get(meter=meter).high_water == START + timedelta(minutes=30)


def test_store_row_a_little_ahead_of_time_does_not_move_the_mark(store, entry, meter):
    ahead = us_of(timezone.now() + timedelta(hours=5)) // PERIOD_US * PERIOD_US
    for read in range(2):
        stored = store.store([entry(1, captured_at=np.array([ahead]), read_at_s=read)])
        assert (stored.straight_rows, stored.staged_rows) == (0, 1)
    assert len(rows()) == 1
    assert MeterProfile.objects.get(meter=meter).high_water is None


def test_store_straight_path_meeting_a_row_ahead_of_its_time_is_no_loss(store, entry):
    ahead = us_of(timezone.now() + timedelta(hours=5)) // PERIOD_US * PERIOD_US
    store.store([entry(1, captured_at=np.array([ahead]))])
    from django.db import IntegrityError
    from psycopg2.errors import UniqueViolation

    later = timezone.now() + timedelta(hours=6)
    again = entry(1, captured_at=np.array([ahead]), read_at_s=1, base=9)
    with pytest.raises((IntegrityError, UniqueViolation)):
        store.store([again], now=later)
    store.store([again], now=later, straight=False)
    assert [row.values[0] for row in rows()] == [9]


def test_store_nulls_extra_and_status_come_back_as_they_were(store, entry):
    valid = np.array([[True, False, True], [False, False, False], [True, True, True]])
    extra = [b"\x02\x01abc", None, b"\x02\x00"]
    sent = entry(
        3,
        valid=valid,
        extra=extra,
        status=np.array([5, 6, -7]),
        status_valid=np.array([True, False, True]),
        clock_status=np.array([0, 128, 255], np.uint8),
    )
    store.store([decode(encode(sent))])
    found = rows()
    assert [row.values for row in found] == [[0, None, 200], [None, None, None], [2, 102, 202]]
    assert [row.extra and bytes(row.extra) for row in found] == extra
    assert [row.status for row in found] == [5, None, -7]
    assert [row.clock_status for row in found] == [0, 128, 255]


def test_store_layouts_of_different_width_in_one_batch(store, entry, meter_type):
    wide = layouts.layout_for(meter_type.pk, "1-0:99.2.0.255", 900, specs(8))
    none = layouts.layout_for(meter_type.pk, "1-0:99.3.0.255", 900, specs(0))
    stored = store.store(
        [entry(2), entry(3, layout_id=wide.pk, channels=8), entry(2, layout_id=none.pk, channels=0)]
    )
    assert stored.straight_rows == 7
    assert len(rows(layout=wide)[0].values) == 8
    assert [row.values for row in rows(layout=none)] == [[], []]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_store_any_cells_by_both_paths_come_back_unchanged(store, entry, meter, layout, data):
    count = data.draw(st.integers(1, 6))
    int64 = st.integers(-(2**63), 2**63 - 1)
    values = np.array([data.draw(st.lists(int64, min_size=3, max_size=3)) for _ in range(count)], np.int64)
    valid = np.array([data.draw(st.lists(st.booleans(), min_size=3, max_size=3)) for _ in range(count)])
    extra = [data.draw(st.none() | st.binary(min_size=1, max_size=300)) for _ in range(count)]
    status = np.array(data.draw(st.lists(int64, min_size=count, max_size=count)), np.int64)
    status_valid = np.array(data.draw(st.lists(st.booleans(), min_size=count, max_size=count)))
    sent = entry(count, values=values, valid=valid, extra=extra, status=status, status_valid=status_valid)
    IntervalRow.objects.all().delete()
    MeterProfile.objects.all().delete()
    store.store([decode(encode(sent))], straight=data.draw(st.booleans()))
    found = rows()
    assert [row.values for row in found] == [
        [int(v) if ok else None for v, ok in zip(*pair, strict=True)]
        for pair in zip(values, valid, strict=True)
    ]
    assert [row.extra and bytes(row.extra) for row in found] == extra
    assert [row.status for row in found] == [
        int(s) if ok else None for s, ok in zip(status, status_valid, strict=True)
    ]


def register(value, at_s=0, **changes):
    fields = {"logical_name": "1-0:1.8.0.255", "attribute": 2, "coding": "int", "scaler": -1, "unit": 30}
    return RegisterReading(captured_at_us=us_of(START) + at_s * 1_000_000, value=value, **(fields | changes))


def test_store_registers_newest_read_of_a_time_stays(store, meter):
    early = RegisterEntry(meter.pk, us_of(START), (register(5), register(6, at_s=1)))
    late = RegisterEntry(meter.pk, us_of(START) + 1, (register(7),))
    store.store([late, early])
    store.store([early])
    found = RegisterValue.objects.order_by("captured_at").values_list("value", "scaler", "unit")
    assert list(found) == [(7, -1, 30), (6, -1, 30)]


def test_store_register_from_the_future_is_rejected(store, meter):
    stored = store.store([RegisterEntry(meter.pk, us_of(START), (register(5, at_s=10 * 86400),))])
    assert (stored.registers, stored.rejected_rows) == (0, 1)


def test_store_events_same_time_and_code_are_both_kept_and_none_twice(store, meter):
    from events.models import Event

    at = us_of(START)
    records = number_events([EventRecord(at, 1), EventRecord(at, 1), EventRecord(at, 2, clock_status=4)])
    log = EventEntry(meter.pk, "0-0:99.98.0.255", us_of(START), records)
    assert store.store([log]).events == 3
    assert store.store([log]).events == 0
    found = Event.objects.order_by("code", "ordinal").values_list("code", "ordinal", "clock_status")
    assert list(found) == [(1, 0, 0), (1, 1, 0), (2, 0, 4)]


def test_store_event_from_the_future_is_rejected(store, meter):
    far = us_of(timezone.now() + partitions.FUTURE + timedelta(hours=1))
    stored = store.store([EventEntry(meter.pk, "0-0:99.98.0.255", us_of(START), (EventRecord(far, 1),))])
    assert (stored.events, stored.rejected_rows) == (0, 1)
