"""Whatever a meter may put into a profile: buffer -> decode -> stream -> COPY -> API, unchanged."""

from __future__ import annotations

from datetime import UTC, timedelta
from decimal import Decimal

import numpy as np
import pytest
from django.contrib.auth import get_user_model
from django.db import connection
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rest_framework.test import APIClient

from dlms import axdr, obis, profile
from dlms.axdr import BitString, CompactArray, Data, Float, TypeDescription
from dlms.clock import format_datetime
from dlms.enums import DataType
from dlms.xdlms.access import CaptureObject
from events import storing
from meters.models import Meter
from readings import layouts
from readings.entries import ProfileEntry, publish
from readings.ingest import Ingest
from readings.models import IntervalRow, MeterProfile
from readings.values import typed
from tests.readings.conftest import LOAD_PROFILE, READ_AT_US, START

pytestmark = pytest.mark.django_db

NUMBERS = {
    DataType.DOUBLE_LONG: (-(2**31), 2**31 - 1),
    DataType.DOUBLE_LONG_UNSIGNED: (0, 2**32 - 1),
    DataType.BCD: (0, 255),
    DataType.INTEGER: (-128, 127),
    DataType.LONG: (-(2**15), 2**15 - 1),
    DataType.UNSIGNED: (0, 255),
    DataType.LONG_UNSIGNED: (0, 2**16 - 1),
    DataType.LONG64: (-(2**63), 2**63 - 1),
    DataType.LONG64_UNSIGNED: (0, 2**64 - 1),
    DataType.ENUM: (0, 255),
    DataType.DELTA_INTEGER: (-128, 127),
    DataType.DELTA_LONG: (-(2**15), 2**15 - 1),
    DataType.DELTA_DOUBLE_LONG: (-(2**31), 2**31 - 1),
    DataType.DELTA_UNSIGNED: (0, 255),
    DataType.DELTA_LONG_UNSIGNED: (0, 2**16 - 1),
    DataType.DELTA_DOUBLE_LONG_UNSIGNED: (0, 2**32 - 1),
}
NOT_A_COLUMN = {DataType.ARRAY, DataType.STRUCTURE, DataType.COMPACT_ARRAY}


def plain(kind: DataType) -> st.SearchStrategy[Data]:
    """Any value of a type that is not made of others."""
    if kind in NUMBERS:
        low, high = NUMBERS[kind]
        values = st.integers(low, high)
    elif kind in (DataType.FLOAT32, DataType.FLOAT64):
        size = 4 if kind == DataType.FLOAT32 else 8
        values = st.binary(min_size=size, max_size=size).map(Float)
    elif kind in (DataType.DATE_TIME, DataType.DATE, DataType.TIME):
        size = {DataType.DATE_TIME: 12, DataType.DATE: 5, DataType.TIME: 4}[kind]
        values = st.binary(min_size=size, max_size=size)
    elif kind == DataType.OCTET_STRING:
        values = st.binary(max_size=200)
    elif kind == DataType.VISIBLE_STRING:
        values = st.text(st.characters(max_codepoint=255), max_size=40)
    elif kind == DataType.UTF8_STRING:
        values = st.text(max_size=40)
    elif kind == DataType.BIT_STRING:
        values = st.text("01", max_size=100).map(BitString.from_text)
    elif kind == DataType.BOOLEAN:
        values = st.booleans()
    else:
        values = st.none()
    return values.map(lambda value: Data(kind, value))


PLAIN = [kind for kind in DataType if kind not in NOT_A_COLUMN]
SIMPLE = st.sampled_from(PLAIN).flatmap(plain)
COMPACT = st.lists(plain(DataType.LONG), max_size=5).map(
    lambda items: Data(DataType.COMPACT_ARRAY, CompactArray(TypeDescription(DataType.LONG), tuple(items)))
)
ANY = st.recursive(
    SIMPLE | COMPACT,
    lambda inner: st.lists(inner, max_size=3).flatmap(
        lambda items: st.sampled_from((DataType.ARRAY, DataType.STRUCTURE)).map(
            lambda kind: Data(kind, tuple(items))
        )
    ),
    max_leaves=6,
)


def shown(data: Data) -> object:
    """What the API is to say about a cell."""
    kind, value = data.type, data.value
    if kind == DataType.NULL_DATA:
        return None
    if isinstance(value, Float):
        number = Decimal(value.value)
        return "NaN" if number.is_nan() else number
    if isinstance(value, BitString) and value.length <= profile.coding.MAX_BITS:
        return value.text
    if kind in profile.coding.NUMBER_TYPES:
        return Decimal(int(value))
    return typed(data)


def same(told: object, data: Data) -> bool:
    wanted = shown(data)
    if isinstance(wanted, Decimal) and isinstance(told, str):
        return Decimal(told) == wanted
    # a number in a column of another coding keeps its type and value
    return told in (wanted, typed(data))


@pytest.fixture
def api(db):
    made = APIClient()
    made.force_authenticate(get_user_model().objects.create(username="root", is_superuser=True))
    return made


@pytest.fixture
def ingest(db, live_redis):
    made = Ingest(
        bus=live_redis,
        cache=live_redis,
        connection=connection,
        store_events=storing.store,
        consumer="test",
        batch=10,
        claim_s=60,
        latest_ttl_s=60,
    )
    made.stream.ensure_group()
    return made


def buffer_of(rows: list[list[Data]]) -> bytes:
    cells = [
        axdr.structure(axdr.octets(format_datetime(START + timedelta(minutes=15 * n), UTC)), axdr.u8(n), *row)
        for n, row in enumerate(rows)
    ]
    return axdr.encode(axdr.array(*cells))


def layout_of(meter: Meter, codings: list[str]):
    captured = [
        CaptureObject(8, obis.parse("0-0:1.0.0"), 2, 0),
        CaptureObject(1, obis.parse("0-0:96.10.1"), 2, 0),
        *(CaptureObject(3, bytes((1, 0, n, 8, 0, 255)), 2, 0) for n in range(len(codings))),
    ]
    columns = layouts.columns_from(captured, {}, {n + 2: coding for n, coding in enumerate(codings)})
    return layouts.layout_for(meter.meter_type_id, LOAD_PROFILE, 900, columns)


def through(rows, codings, *, meter, live_redis, ingest, api):
    """The rows of the API's answer for rows that a meter sent."""
    IntervalRow.objects.all().delete()
    MeterProfile.objects.all().delete()
    layout = layout_of(meter, codings)
    table = profile.decode_buffer(buffer_of(rows), layouts.to_dlms(layout, UTC))
    entry = ProfileEntry.from_table(table, meter_id=meter.pk, layout_id=layout.pk, read_at_us=READ_AT_US)
    publish(live_redis, [entry])
    assert ingest.run_once() == 1
    query = {
        "meter": meter.serial,
        "profile": LOAD_PROFILE,
        "from": START.isoformat(),
        "to": (START + timedelta(days=1)).isoformat(),
    }
    answer = api.get("/api/profile/read", query)
    assert answer.status_code == 200, answer.content
    return answer.json()["rows"]


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_cells_reach_the_api_unchanged(meter, live_redis, ingest, api, data):
    width = data.draw(st.integers(1, 4))
    rows = data.draw(st.lists(st.lists(ANY, min_size=width, max_size=width), min_size=1, max_size=5))
    codings = [str(profile.coding_for(rows[0][n])) for n in range(width)]
    told = through(rows, codings, meter=meter, live_redis=live_redis, ingest=ingest, api=api)
    assert len(told) == len(rows)
    for number, (row, sent) in enumerate(zip(told, rows, strict=True)):
        assert row[0] == (START + timedelta(minutes=15 * number)).isoformat().replace("+00:00", "Z")
        assert row[1] == number
        assert all(same(cell, value) for cell, value in zip(row[2:], sent, strict=True)), (row, sent)


@pytest.mark.parametrize("kind", PLAIN, ids=lambda kind: kind.name)
def test_each_type_as_a_uniform_column_reaches_the_api_unchanged(meter, live_redis, ingest, api, kind):
    values = samples(kind)
    rows = [[value] for value in values]
    codings = [str(profile.coding_for(values[0]))]
    told = through(rows, codings, meter=meter, live_redis=live_redis, ingest=ingest, api=api)
    assert all(same(row[2], value) for row, value in zip(told, values, strict=True)), told


def samples(kind: DataType) -> list[Data]:
    """The edges of a type."""
    if kind in NUMBERS:
        low, high = NUMBERS[kind]
        return [Data(kind, value) for value in (low, high, (low + high) // 2)]
    if kind == DataType.FLOAT32:
        return [axdr.f32(value) for value in (0.1, -0.0, np.inf)]
    if kind == DataType.FLOAT64:
        return [axdr.f64(value) for value in (5e-324, 1.7976931348623157e308, np.nan)]
    if kind in (DataType.DATE_TIME, DataType.DATE, DataType.TIME):
        size = {DataType.DATE_TIME: 12, DataType.DATE: 5, DataType.TIME: 4}[kind]
        return [Data(kind, bytes(size)), Data(kind, b"\xff" * size)]
    if kind == DataType.OCTET_STRING:
        return [axdr.octets(b""), axdr.octets(b"\x00" * 200)]
    if kind == DataType.VISIBLE_STRING:
        return [axdr.text(""), axdr.text("kWh \x00 é")]
    if kind == DataType.UTF8_STRING:
        return [axdr.utf8("₂"), Data(kind, b"\xff\xfe")]
    if kind == DataType.BIT_STRING:
        return [axdr.bits(text) for text in ("0", "0101", "1" * 63, "0" * 63, "", "1" * 64)]
    if kind == DataType.BOOLEAN:
        return [axdr.boolean(True), axdr.boolean(False)]
    return [Data(kind, None)] * 2
