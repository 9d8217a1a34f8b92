"""The weeks of the interval table."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.utils import timezone

from readings import partitions

pytestmark = pytest.mark.django_db


def test_bounds_after_migration_cover_the_retention_and_a_day_ahead(settings):
    now = timezone.now()
    low, high = partitions.bounds(now=now)
    assert low <= now - timedelta(days=settings.HES_RETENTION_DAYS)
    assert high == now + partitions.FUTURE


def test_ensure_twice_makes_nothing_the_second_time():
    later = timezone.now() + timedelta(weeks=3)
    assert len(partitions.ensure(now=later)) == 3
    assert partitions.ensure(now=later) == []


def test_drop_expired_drops_whole_weeks_only():
    now = timezone.now() + timedelta(weeks=2)
    before = partitions.existing()
    dropped = partitions.drop_expired(now=now)
    assert len(dropped) == 2
    after = partitions.existing()
    assert after == before[2:]
    assert partitions.start_of(after[0]) + partitions.WEEK > now - timedelta(days=400)


def test_bounds_with_a_hole_begin_after_it():
    weeks = partitions.existing()
    with connection.cursor() as cursor:
        cursor.execute(f"DROP TABLE {partitions.name_of(weeks[10])}")
    low, _ = partitions.bounds()
    assert low == partitions.start_of(weeks[11])


def test_week_of_sunday_night_is_the_monday_before():
    assert partitions.week_of(datetime(2026, 3, 1, 23, 59, tzinfo=UTC)).isoformat() == "2026-02-23"


def test_maintain_deletes_old_revisions_and_rejected_rows():
    from readings.models import RejectedRow

    RejectedRow.objects.create(meter_id=1, code="X", digest="0")
    assert partitions.maintain()["deleted_rows"] == 0
    assert partitions.maintain(now=timezone.now() + timedelta(days=401))["deleted_rows"] == 1
