"""A meter, a layout and entries to store."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from django.db import connection

from events import storing
from meters.models import Meter, MeterType
from readings import layouts
from readings.entries import ProfileEntry
from readings.layouts import ColumnSpec, LayoutCache
from readings.models import ProfileLayout
from readings.store import Store, us_of

LOAD_PROFILE = "1-0:99.1.0.255"
PERIOD_US = 900_000_000
#: whatever the time of the test, the rows of a day from here are in the past and inside the partitions
START = (datetime.now(UTC) - timedelta(days=2)).replace(hour=0, minute=0, second=0, microsecond=0)
READ_AT_US = us_of(START + timedelta(days=1))


def specs(channels: int, **changes: object) -> list[ColumnSpec]:
    return [
        ColumnSpec("clock", 8, "0-0:1.0.0.255", 2),
        ColumnSpec("status", 1, "0-0:96.10.1.255", 2),
        *(
            ColumnSpec("channel", 3, f"1-0:{n + 1}.8.0.255", 2, **({"scaler": -1, "unit": 30} | changes))
            for n in range(channels)
        ),
    ]


@pytest.fixture
def meter_type(db: None) -> MeterType:
    return MeterType.objects.create(name="T-1")


@pytest.fixture
def meter(meter_type: MeterType) -> Meter:
    return Meter.objects.create(serial="M1", meter_type=meter_type)


@pytest.fixture
def layout(meter_type: MeterType) -> ProfileLayout:
    return layouts.layout_for(meter_type.pk, LOAD_PROFILE, 900, specs(3))


@pytest.fixture
def store(db: None) -> Store:
    return Store(connection, LayoutCache().get, storing.store)


@pytest.fixture
def entry(meter: Meter, layout: ProfileLayout) -> Callable[..., ProfileEntry]:
    """entry(rows, first=0, read_at_s=0, base=0): rows at START + 15 min x (first + n), values base + n."""

    def make(
        rows: int = 4,
        *,
        first: int = 0,
        read_at_s: int = 0,
        base: int = 0,
        meter_id: int | None = None,
        layout_id: int | None = None,
        channels: int = 3,
        **arrays: object,
    ) -> ProfileEntry:
        columns: dict[str, object] = {
            "captured_at": us_of(START) + (first + np.arange(rows)) * PERIOD_US,
            "clock_status": np.zeros(rows, np.uint8),
            "status": np.zeros(rows, np.int64),
            "status_valid": np.ones(rows, bool),
            "values": base + np.arange(rows)[:, None] + 100 * np.arange(channels)[None, :],
            "valid": np.ones((rows, channels), bool),
        }
        return ProfileEntry(
            meter_id=meter_id or meter.pk,
            layout_id=layout_id or layout.pk,
            read_at_us=READ_AT_US + read_at_s * 1_000_000,
            **(columns | arrays),
        )

    return make
