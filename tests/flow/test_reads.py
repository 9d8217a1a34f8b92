"""Scheduled reads: nothing is skipped by what else was read, nothing spins, nothing is held for ever."""

from __future__ import annotations

import asyncio
import datetime as dt
import uuid
from collections.abc import Callable

import pytest
import redis
from django.conf import settings
from django.db import connection
from django.utils import timezone

from events import storing
from events.models import Event
from gateway import wire
from hes import redis as hes_redis
from meters import claims
from meters.models import Command, DueRead, Meter, ReadingPlan
from readings.ingest import Ingest
from readings.models import MeterProfile
from simulator.fleet import Fleet
from workers import plans, reads
from workers.reads import Collector
from workers.runner import Runner

Carry = Callable[..., Command]
StartFleet = Callable[..., Fleet]
SERIAL = "SIM00000001"
PROFILE = "1-0:99.1.0.255"


def store_all(client: redis.Redis) -> None:
    ingest = Ingest(
        bus=client,
        cache=hes_redis.cache(),
        connection=connection,
        store_events=storing.store,
        consumer="test",
        batch=100,
        claim_s=30,
        latest_ttl_s=60,
    )
    while ingest.run_once(block_ms=10):
        pass


def make_due(kind: str) -> ReadingPlan:
    plan = ReadingPlan.objects.filter(kind=kind).earliest("pk")
    claims.make_due(plan)
    DueRead.objects.update(next_due_at=None)
    DueRead.objects.filter(plan=plan).update(next_due_at=timezone.now())
    return plan


def first_start() -> dt.datetime:
    first = timezone.now() - dt.timedelta(days=settings.HES_FIRST_READ_DAYS)
    return first.replace(hour=0, minute=0, second=0, microsecond=0)


def test_read_now_of_the_last_hours_leaves_what_lies_before_to_the_plan(
    start_fleet: StartFleet,
    active_runner: Runner,
    carry: Carry,
    live_redis: redis.Redis,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("workers.commands.STORE_WAIT_S", 0.0)
    start_fleet()
    now = timezone.now()
    times = {"from": (now - dt.timedelta(hours=3)).isoformat(), "to": now.isoformat()}
    command = carry(SERIAL, "profile_read", {"logical_name": PROFILE, **times})
    assert command.state == "confirmed", command.error_detail
    store_all(live_redis)
    assert MeterProfile.objects.get().high_water is not None
    plan = make_due("profile")
    (item,) = plans.items_of([(command.meter_id, plan.pk)], timezone.now())
    assert item.start == first_start()
    active_runner.submit(Collector(active_runner).collect()).result(60)
    store_all(live_redis)
    days = (timezone.now() - first_start()) / dt.timedelta(minutes=15)
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM readings_interval")
        assert cursor.fetchone()[0] >= int(days) - 1
    (item,) = plans.items_of([(command.meter_id, plan.pk)], timezone.now())
    assert item.start > timezone.now() - dt.timedelta(minutes=31)


def test_event_from_the_future_hides_none_before_it(start_fleet: StartFleet) -> None:
    start_fleet()
    meter = Meter.objects.get()
    plan = ReadingPlan.objects.filter(kind="events").earliest("pk")
    now = timezone.now()
    for at in (now - dt.timedelta(hours=1), now + dt.timedelta(hours=20)):
        Event.objects.create(
            meter=meter, log="0-0:99.98.0.255", captured_at=at, code=1, ordinal=0, read_at=now
        )
    (item,) = plans.items_of([(meter.pk, plan.pk)], now)
    assert item.start == now - dt.timedelta(hours=1)


def test_meter_whose_link_entry_is_gone_is_not_tried_without_a_pause(
    start_fleet: StartFleet, active_runner: Runner, live_redis: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    start_fleet()
    live_redis.delete(wire.link_key(SERIAL))
    make_due("registers")
    tried: list[int] = []
    load = reads.load_jobs

    def counted(claimed: list[claims.Claim]) -> list[reads.Job]:
        tried.append(len(claimed))
        return load(claimed)

    monkeypatch.setattr(reads, "load_jobs", counted)
    active_runner.submit(Collector(active_runner).collect()).result(20)
    assert len(tried) == 1
    row = DueRead.objects.get(last_tried_at__isnull=False)
    assert (row.last_error, row.attempts, row.claim_token) == ("METER_OFFLINE", 0, None)
    assert timezone.now() < row.next_due_at < timezone.now() + dt.timedelta(seconds=10)


def test_claim_whose_dialog_was_cancelled_is_not_renewed_for_ever(active_runner: Runner) -> None:
    collector = Collector(active_runner)
    claim = claims.Claim(1, 1, 1, uuid.uuid4(), 0)
    collector._tokens.add(claim.token)

    async def cancelled() -> None:
        job = reads.Job(None, [(claim, None)])  # type: ignore[arg-type,list-item]
        task = asyncio.get_running_loop().create_task(collector._read(job))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    active_runner.submit(cancelled()).result(5)
    assert not collector._tokens
