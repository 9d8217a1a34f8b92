"""A small fleet in the database, without links or sockets."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable

import pytest
from django.utils import timezone

from meters.models import Link, Meter, MeterType, ReadingPlan


@pytest.fixture
def meter_type(db: None) -> MeterType:
    return MeterType.objects.create(name="T1")


@pytest.fixture
def plan(meter_type: MeterType) -> ReadingPlan:
    return ReadingPlan.objects.create(name="load", meter_type=meter_type, logical_name="1-0:99.1.0.255")


@pytest.fixture
def add_meter(meter_type: MeterType) -> Callable[..., Meter]:
    """add_meter(serial, present=True, **fields) -> Meter"""

    def add(serial: str, present: bool = True, **fields: object) -> Meter:
        meter = Meter.objects.create(serial=serial, meter_type=meter_type, **fields)
        now = timezone.now() - dt.timedelta(minutes=1)
        state = Link.State.PRESENT if present else Link.State.ABSENT
        Link.objects.create(meter=meter, state=state, since=now, last_seen=now)
        return meter

    return add
