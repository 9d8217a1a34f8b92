"""Property: the fast reader and the general one agree on every buffer that the fast one takes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo

from hypothesis import given, settings
from hypothesis import strategies as st

from dlms import axdr
from dlms.axdr import Data
from dlms.clock import format_datetime
from dlms.enums import DataType
from dlms.errors import RemoteProtocolError
from dlms.profile import CaptureObject, Coding, Column, Layout, decode_buffer, decode_fast, decode_general
from tests.dlms import strategies

ZONES = [
    UTC,
    timezone(timedelta(hours=5, minutes=45)),
    *map(ZoneInfo, ("Europe/Berlin", "Australia/Lord_Howe", "Africa/Casablanca", "America/St_Johns")),
]
OBJECT = CaptureObject(3, bytes(6), 2)
NUMBERS = [
    kind for kind in strategies.SIMPLE_TYPES if kind not in (DataType.UTF8_STRING, DataType.VISIBLE_STRING)
]
#: moments around changes of the clock, too
CHANGES = [
    datetime(2026, month, day, hour, tzinfo=UTC) for month, day, hour in ((10, 25, 1), (3, 29, 1), (4, 4, 15))
]
STARTS = st.one_of(
    st.integers(10_000, 33_000).map(lambda day: datetime.fromtimestamp(day * 86_401, UTC)),
    st.builds(
        lambda change, minutes: change + timedelta(minutes=minutes),
        st.sampled_from(CHANGES),
        st.integers(-200, 200),
    ),
)


@st.composite
def columns(draw: st.DrawFn) -> tuple[Column, ...]:
    made = [
        Column(OBJECT, "channel", draw(st.sampled_from(Coding)), draw(st.booleans()))
        for _ in range(draw(st.integers(0, 5)))
    ]
    if draw(st.booleans()):
        made.insert(
            draw(st.integers(0, len(made))), Column(OBJECT, "status", null_repeats=draw(st.booleans()))
        )
    if draw(st.integers(0, 9)):
        made.insert(draw(st.integers(0, len(made))), Column(OBJECT, "clock"))
    return tuple(made)


@st.composite
def layouts(draw: st.DrawFn) -> Layout:
    period = draw(st.sampled_from([0, 60, 900, 3600, 86400]))
    return Layout(bytes(6), period, draw(columns()), draw(st.sampled_from(ZONES)), draw(st.booleans()))


def fitting(coding: Coding) -> st.SearchStrategy[DataType]:
    by_coding = {
        Coding.F32: [DataType.FLOAT32],
        Coding.F64: [DataType.FLOAT64],
        Coding.BITS: [DataType.BIT_STRING],
        Coding.EXTRA: [DataType.OCTET_STRING],
    }
    return st.sampled_from(by_coding.get(coding, NUMBERS))


@st.composite
def clocks(draw: st.DrawFn, rows: int, zone: tzinfo, period_s: int, noise: bool) -> list[Data]:
    """Clock cells as meters write them: either order; with and without deviation; null-data; damaged."""
    start, step = (
        draw(STARTS),
        timedelta(seconds=draw(st.sampled_from([period_s or 1, -(period_s or 1), 97]))),
    )
    bare, sets_bit = draw(st.booleans()), draw(st.booleans())
    kind = draw(st.sampled_from([DataType.OCTET_STRING, DataType.DATE_TIME]))
    nulls = draw(st.sampled_from([0, 0, 0, 1, 2]))  # none, all but the first, anywhere
    cells = []
    for index in range(rows):
        raw = bytearray(format_datetime(start + step * index, zone))
        if bare:
            raw[9:11] = b"\x80\x00"
            if not sets_bit:
                raw[11] = 0
        if noise and draw(st.integers(0, 40)) == 0:
            raw[draw(st.integers(0, 11))] = draw(st.integers(0, 255))
        null = (nulls == 1 and index > 0) or (nulls == 2 and draw(st.booleans()))
        cells.append(axdr.null() if null else Data(kind, bytes(raw)))
    return cells


@st.composite
def buffers(draw: st.DrawFn) -> tuple[Layout, bytes]:
    layout, rows, noise = draw(layouts()), draw(st.integers(0, 30)), draw(st.booleans())
    cells: list[list[Data]] = []
    for column in layout.columns:
        if column.role == "clock":
            cells.append(draw(clocks(rows, layout.zone, layout.capture_period_s, noise)))
            continue
        kind = draw(fitting(column.coding))
        if kind in (DataType.OCTET_STRING, DataType.BIT_STRING):
            sample = draw(strategies.simple(kind))
            values = [sample] * rows
        else:
            values = [draw(strategies.simple(kind)) for _ in range(rows)]
        for index in range(rows):
            if noise and draw(st.integers(0, 12)) == 0:
                values[index] = draw(
                    st.one_of(st.just(axdr.null()), strategies.simple(draw(st.sampled_from(NUMBERS))))
                )
        cells.append(values)
    array = axdr.array(*(axdr.structure(*(column[index] for column in cells)) for index in range(rows)))
    return layout, axdr.encode(array)


def check(layout: Layout, raw: bytes) -> bool:
    """Whether the fast reader took it; then both must agree, and what one refuses the other never takes."""
    fast = decode_fast(raw, layout)
    try:
        general = decode_general(raw, layout)
    except RemoteProtocolError:
        assert fast is None
        return False
    assert fast is None or fast.same_as(general)
    assert decode_buffer(raw, layout).same_as(general)
    return fast is not None


@given(buffers())
@settings(max_examples=200, deadline=None)
def test_fast_equals_general_on_every_buffer(case: tuple[Layout, bytes]) -> None:
    check(*case)


@given(buffers(), st.data())
@settings(max_examples=100, deadline=None)
def test_fast_equals_general_on_altered_buffers(case: tuple[Layout, bytes], data: st.DataObject) -> None:
    layout, raw = case
    altered = bytearray(raw)
    for _ in range(data.draw(st.integers(1, 3))):
        altered[data.draw(st.integers(0, len(altered) - 1))] = data.draw(st.integers(0, 255))
    check(layout, bytes(altered))
    check(layout, raw[: data.draw(st.integers(0, len(raw)))])
    check(layout, raw)  # with the shapes that the altered ones left behind


@given(layouts(), st.binary(max_size=80))
def test_fast_equals_general_on_hostile_octets(layout: Layout, raw: bytes) -> None:
    check(layout, raw)
    check(layout, b"\x01" + raw)


@given(layouts(), st.lists(strategies.data, max_size=4))
def test_fast_equals_general_on_arrays_of_anything(layout: Layout, rows: list[Data]) -> None:
    check(layout, axdr.encode(axdr.array(*rows)))
    width = len(layout.columns)
    check(layout, axdr.encode(axdr.array(*(axdr.structure(*[row] * width) for row in rows))))


def test_fast_takes_a_usual_day_in_every_zone() -> None:
    """The property says nothing if the fast reader never takes anything."""
    columns = Column(OBJECT, "clock"), Column(OBJECT, "status"), Column(OBJECT), Column(OBJECT)
    for zone in ZONES:
        for bare in (False, True):
            rows = []
            for index in range(96):
                raw = format_datetime(
                    datetime(2026, 10, 25, tzinfo=UTC) + timedelta(minutes=15 * index), zone
                )
                raw = raw[:9] + b"\x80\x00" + raw[11:] if bare else raw
                rows.append(axdr.structure(axdr.octets(raw), axdr.u8(0), axdr.u32(index), axdr.i16(-index)))
            assert check(Layout(bytes(6), 900, columns, zone), axdr.encode(axdr.array(*rows)))
