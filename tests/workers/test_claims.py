"""Due reads: made, claimed once, settled by token, free again after expiry."""

from __future__ import annotations

import datetime as dt
import threading
import uuid
from collections.abc import Callable

import pytest
from django.db import connection, transaction
from django.utils import timezone

from meters import claims
from meters.claims import Outcome
from meters.models import DueRead, Meter, MeterType, ReadingPlan

AddMeter = Callable[..., Meter]


def test_make_due_gives_each_operated_meter_of_the_type_one_row(
    plan: ReadingPlan, add_meter: AddMeter, meter_type: MeterType
) -> None:
    operated = add_meter("A")
    add_meter("B", state=Meter.State.SUSPENDED)
    assert claims.make_due(plan) == 1
    assert claims.make_due(plan) == 1
    assert [row.meter_id for row in DueRead.objects.all()] == [operated.pk]


def test_make_due_spread_keeps_each_meters_offset(plan: ReadingPlan, add_meter: AddMeter) -> None:
    plan.spread_s = 600
    for n in range(40):
        add_meter(f"M{n}")

    def offsets() -> dict[int, float]:
        DueRead.objects.update(next_due_at=None)
        before = timezone.now()
        claims.make_due(plan)
        return {row.meter_id: (row.next_due_at - before).total_seconds() for row in DueRead.objects.all()}

    first, second = offsets(), offsets()
    assert all(0 <= offset <= 601 for offset in first.values())
    assert len({round(offset) for offset in first.values()}) > 20
    assert all(abs(first[m] - second[m]) < 1.0 for m in first)


def test_claim_due_leaves_absent_suspended_and_later_ones(plan: ReadingPlan, add_meter: AddMeter) -> None:
    add_meter("absent", present=False)
    suspended, later, due = add_meter("suspended"), add_meter("later"), add_meter("due")
    claims.make_due(plan)
    Meter.objects.filter(pk=suspended.pk).update(state=Meter.State.SUSPENDED)
    DueRead.objects.filter(meter=later).update(next_due_at=timezone.now() + dt.timedelta(hours=1))
    assert [claim.meter_id for claim in claims.claim_due(10, 30)] == [due.pk]
    assert claims.claim_due(10, 30) == []


def test_claim_due_leaves_a_plan_of_another_type(plan: ReadingPlan, add_meter: AddMeter) -> None:
    add_meter("M")
    claims.make_due(plan)
    plan.meter_type = MeterType.objects.create(name="other")
    plan.save()
    assert claims.claim_due(10, 30) == []


def test_settle_frees_what_was_owed_only_when_it_was_read(plan: ReadingPlan, add_meter: AddMeter) -> None:
    meter = add_meter("M")
    claims.make_due(plan)
    owed = timezone.now() - dt.timedelta(days=3)
    DueRead.objects.update(backfill_from=owed)
    (claim,) = claims.claim_due(10, 30)
    claims.settle([Outcome(claim.due_id, meter.pk, claim.token, "RESPONSE_TIMEOUT", retry_in_s=0)])
    assert DueRead.objects.get().backfill_from == owed
    (claim,) = claims.claim_due(10, 30)
    claims.settle([Outcome(claim.due_id, meter.pk, claim.token)])
    assert DueRead.objects.get().backfill_from is None


def test_claim_due_takes_all_that_is_due_for_a_meter(
    plan: ReadingPlan, add_meter: AddMeter, meter_type: MeterType
) -> None:
    other = ReadingPlan.objects.create(name="events", meter_type=meter_type, kind="events", priority=9)
    meters = [add_meter(f"M{n}") for n in range(3)]
    claims.make_due(plan)
    claims.make_due(other)
    claimed = claims.claim_due(1, 30)
    assert {claim.plan_id for claim in claimed} == {plan.pk, other.pk}
    assert {claim.meter_id for claim in claimed} == {meters[0].pk}


def test_claim_that_expired_is_free_and_its_late_outcome_is_dropped(
    plan: ReadingPlan, add_meter: AddMeter
) -> None:
    meter = add_meter("M")
    claims.make_due(plan)
    (stale,) = claims.claim_due(10, 30)
    DueRead.objects.update(claimed_until=timezone.now() - dt.timedelta(seconds=1))
    (fresh,) = claims.claim_due(10, 30)
    assert fresh.token != stale.token
    assert claims.settle([Outcome(stale.due_id, meter.pk, stale.token, "LATE")]) == set()
    assert claims.renew([stale.token], 30) == 0
    assert claims.settle([Outcome(fresh.due_id, meter.pk, fresh.token)]) == {fresh.token}
    row = DueRead.objects.get()
    assert (row.next_due_at, row.last_error, row.claim_token) == (None, "", None)
    assert row.last_ok_at is not None


def test_settle_error_moves_the_due_time_and_marks_the_meter(plan: ReadingPlan, add_meter: AddMeter) -> None:
    meter = add_meter("M")
    claims.make_due(plan)
    (claim,) = claims.claim_due(10, 30)
    claims.settle(
        [Outcome(claim.due_id, meter.pk, claim.token, "RESPONSE_TIMEOUT", "no reply in 20 s", retry_in_s=60)]
    )
    row = DueRead.objects.get()
    meter.refresh_from_db()
    assert row.attempts == 1
    assert 55 < (row.next_due_at - timezone.now()).total_seconds() < 61
    assert (meter.last_error_code, meter.last_error_detail) == ("RESPONSE_TIMEOUT", "no reply in 20 s")
    assert meter.last_error_at is not None


@pytest.mark.django_db(transaction=True)
def test_claim_due_by_many_at_once_gives_each_row_once() -> None:
    meter_type = MeterType.objects.create(name="T2")
    plan = ReadingPlan.objects.create(name="p", meter_type=meter_type, logical_name="1-0:99.1.0.255")
    Meter.objects.bulk_create(Meter(serial=f"N{n}", meter_type=meter_type) for n in range(200))
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO meters_link (meter_id, state, node, incarnation, connection, peer, since, last_seen,"
            " reason, clashes) SELECT id, 'present', '', '', 0, '', now(), now(), '', 0 FROM meters_meter"
        )
    claims.make_due(plan)
    got: list[uuid.UUID] = []
    meters: list[int] = []

    def claim() -> None:
        try:
            while batch := claims.claim_due(7, 30):
                got.extend(c.token for c in batch)
                meters.extend(c.meter_id for c in batch)
        finally:
            connection.close()

    threads = [threading.Thread(target=claim) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(meters) == len(set(meters)) == 200
    assert len(set(got)) == 200


@pytest.mark.django_db(transaction=True)
def test_make_due_while_a_row_is_claimed_is_not_lost(plan: ReadingPlan, add_meter: AddMeter) -> None:
    meter = add_meter("M")
    claims.make_due(plan)
    (claim,) = claims.claim_due(10, 30)
    claims.make_due(plan)
    assert claims.claim_due(10, 30) == []
    claims.settle([Outcome(claim.due_id, meter.pk, claim.token)])
    (claim,) = claims.claim_due(10, 30)
    claims.settle([Outcome(claim.due_id, meter.pk, claim.token)])
    assert claims.claim_due(10, 30) == []


@pytest.mark.django_db(transaction=True)
def test_make_due_while_a_row_is_written_is_not_lost() -> None:
    meter_type = MeterType.objects.create(name="T2")
    plan = ReadingPlan.objects.create(name="p", meter_type=meter_type, logical_name="1-0:99.1.0.255")
    Meter.objects.create(serial="N", meter_type=meter_type)
    claims.make_due(plan)
    DueRead.objects.update(next_due_at=None)
    locked, done = threading.Event(), threading.Event()

    def settle_slowly() -> None:
        try:
            with transaction.atomic():
                DueRead.objects.select_for_update().get()
                locked.set()
                done.wait(0.5)
        finally:
            connection.close()

    writer = threading.Thread(target=settle_slowly)
    writer.start()
    assert locked.wait(10)
    assert claims.make_due(plan) == 1
    writer.join(10)
    assert DueRead.objects.get().next_due_at is not None
