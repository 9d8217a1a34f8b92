from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from dlms import axdr, xdlms
from dlms.axdr import CompactArray, Data, TypeDescription
from dlms.clock import format_datetime
from dlms.enums import DataType
from dlms.errors import LocalProtocolError, RemoteProtocolError
from dlms.profile import (
    CLOCK_INDEX,
    NO_TIME,
    STATUS_INDEX,
    CaptureObject,
    Coding,
    Column,
    Layout,
    Table,
    coding_for,
    decode_buffer,
    decode_fast,
    decode_general,
    unpack_extra,
    value_of,
)
from tests.dlms import vectors

BERLIN = ZoneInfo("Europe/Berlin")
START = datetime(2026, 3, 1, tzinfo=UTC)
CLOCK = CaptureObject(8, bytes((0, 0, 1, 0, 0, 255)), 2)
STATUS = CaptureObject(1, bytes((0, 0, 96, 10, 1, 255)), 2)
ENERGY = CaptureObject(3, bytes((1, 0, 1, 8, 0, 255)), 2)
PERIOD_US = 900_000_000


def layout(*codings: Coding, status: bool = False, repeats: bool = False, **kwargs: Any) -> Layout:
    columns = [Column(CLOCK, "clock")]
    if status:
        columns.append(Column(STATUS, "status", null_repeats=repeats))
    columns += [Column(ENERGY, coding=coding, null_repeats=repeats) for coding in codings]
    settings = {"zone": UTC, "capture_period_s": 900} | kwargs
    return Layout(bytes((1, 0, 99, 1, 0, 255)), columns=tuple(columns), **settings)


def clock(moment: datetime, zone: tzinfo = UTC, status: int = 0, bare: bool = False) -> Data:
    """A clock cell; `bare`: no deviation, and no daylight-saving bit but the one given."""
    raw = format_datetime(moment, zone, status)
    if bare:
        raw = raw[:9] + b"\x80\x00" + bytes((status,))
    return axdr.octets(raw)


def buffer(*rows: tuple[Data, ...]) -> bytes:
    return axdr.encode(axdr.array(*(axdr.structure(*row) for row in rows)))


def both(raw: bytes, used: Layout, fast: bool = True) -> Table:
    """The general reading; the fast one must be the same, or None where `fast` is False."""
    table, quick = decode_general(raw, used), decode_fast(raw, used)
    if fast:
        assert quick is not None
        assert quick.same_as(table)
    else:
        assert quick is None
    assert decode_buffer(raw, used).same_as(table)
    return table


def micros(moment: datetime) -> int:
    return int(moment.timestamp()) * 1_000_000


# vectors


def test_vector_of_24_rows_equals_its_facts() -> None:
    vector = vectors.load("data")["load_profile_24_rows"]
    table = both(vectors.octets(vector), layout(Coding.INT, status=True))
    rows = [
        [datetime.fromtimestamp(at / 1e6, UTC).replace(tzinfo=None).isoformat(), int(status), int(value)]
        for at, status, value in zip(table.captured_at, table.status, table.values[:, 0], strict=True)
    ]
    assert rows == vector["expect"]["rows"]
    assert table.status_valid.all()
    assert table.valid.all()


def test_vector_of_compact_array_equals_the_array() -> None:
    data = vectors.load("data")
    used = layout(Coding.INT, status=True)
    compact = both(vectors.octets(data["compact_array_load_profile_rows"]), used, fast=False)
    whole = decode_general(vectors.octets(data["load_profile_24_rows"]), used)
    assert compact.values[:, 0].tolist() == data["compact_array_load_profile_rows"]["expect"]["values"]
    assert compact.captured_at.tolist() == whole.captured_at[:3].tolist()
    assert len(both(vectors.octets(data["compact_array_empty"]), used, fast=False)) == 0


def test_vector_of_three_rows_equals_its_facts() -> None:
    vector = vectors.load("xdlms")["get_response_normal_profile_three_rows"]
    response = xdlms.decode_apdu(vectors.octets(vector))
    table = both(response.data, layout(Coding.INT, Coding.INT))
    times = [
        datetime.fromtimestamp(at / 1e6, UTC).replace(tzinfo=None).isoformat() for at in table.captured_at
    ]
    assert times == vector["expect"]["row_datetimes"]
    assert table.values.tolist() == [[1, 3], [2, 3], [3, 3]]
    assert table.clock_status.tolist() == [0, 0, 0]


# codings


@pytest.mark.parametrize(
    ("coding", "cell", "stored", "meaning"),
    [
        (Coding.INT, axdr.u32(4_000_000_000), 4_000_000_000, 4_000_000_000),
        (Coding.INT, axdr.i64(-(1 << 63)), -(1 << 63), -(1 << 63)),
        (Coding.INT, axdr.u64((1 << 63) - 1), (1 << 63) - 1, (1 << 63) - 1),
        (Coding.INT, axdr.boolean(True), 1, 1),
        (Coding.INT, axdr.enum(3), 3, 3),
        (Coding.INT, axdr.bcd(0x59), 0x59, 0x59),
        (Coding.U64, axdr.u64((1 << 64) - 1), -1, (1 << 64) - 1),
        (Coding.U64, axdr.u8(7), 7, 7),
        (Coding.F32, axdr.f32(230.1), 0x4366199A, Decimal("230.1000061035156250")),
        (Coding.F32, axdr.f32(-0.5), 0xBF000000, Decimal("-0.5")),
        (
            Coding.F64,
            axdr.f64(-0.1),
            int.from_bytes(axdr.f64(-0.1).value.octets, signed=True),
            Decimal.from_float(-0.1),
        ),
        (Coding.F64, axdr.f64(float("inf")), 0x7FF << 52, "Infinity"),
        (Coding.F32, axdr.f32(float("nan")), 0x7FC00000, "NaN"),
        (Coding.BITS, axdr.bits("0101"), 0b10101, "0101"),
        (Coding.BITS, axdr.bits(""), 1, ""),
        (Coding.BITS, axdr.bits("1" * 63), -1, "1" * 63),
        (Coding.BITS, axdr.bits("0" * 63), -(1 << 63), "0" * 63),
    ],
)
def test_cell_of_its_coding_stored_exactly(coding: Coding, cell: Data, stored: int, meaning: object) -> None:
    table = both(buffer((clock(START), cell)), layout(coding))
    assert table.values.tolist() == [[stored]]
    assert table.valid.tolist() == [[True]]
    assert table.extra == [None]
    assert value_of(coding, stored) == meaning


@pytest.mark.parametrize(
    ("coding", "cell"),
    [
        (Coding.INT, axdr.u64(1 << 63)),
        (Coding.INT, axdr.f32(1.0)),
        (Coding.INT, axdr.octets(b"abc")),
        (Coding.INT, axdr.bits("1")),
        (Coding.INT, Data(DataType.DELTA_LONG, -3)),
        (Coding.INT, Data(DataType.DONT_CARE, None)),
        (Coding.U64, axdr.i8(-1)),
        (Coding.F32, axdr.f64(1.0)),
        (Coding.F64, axdr.f32(1.0)),
        (Coding.BITS, axdr.bits("1" * 64)),
        (Coding.BITS, axdr.u8(1)),
        (Coding.EXTRA, axdr.u8(1)),
        (Coding.EXTRA, axdr.structure(axdr.u8(1), axdr.text("x"))),
    ],
)
def test_cell_of_another_type_goes_to_extra_unchanged(coding: Coding, cell: Data) -> None:
    table = both(buffer((clock(START), axdr.u8(1), cell)), layout(Coding.INT, coding), fast=False)
    assert table.valid.tolist() == [[True, False]]
    assert table.values.tolist() == [[1, 0]]
    assert table.extra[0] is not None
    assert unpack_extra(table.extra[0]) == {1: cell}


@pytest.mark.parametrize(
    ("cell", "coding"),
    [
        (axdr.u8(1), Coding.INT),
        (axdr.null(), Coding.INT),
        (axdr.boolean(False), Coding.INT),
        (axdr.u64(1), Coding.U64),
        (axdr.f32(1), Coding.F32),
        (axdr.f64(1), Coding.F64),
        (axdr.bits("1" * 63), Coding.BITS),
        (axdr.bits("1" * 64), Coding.EXTRA),
        (axdr.octets(b""), Coding.EXTRA),
        (axdr.text(""), Coding.EXTRA),
        (axdr.date_time(bytes(12)), Coding.EXTRA),
        (axdr.structure(), Coding.EXTRA),
    ],
)
def test_coding_for_each_type(cell: Data, coding: Coding) -> None:
    assert coding_for(cell) is coding


def test_unpack_extra_of_something_else_raises() -> None:
    for raw in (b"\x00", b"\x02\x01\x11\x05", b"\x02\x01\x02\x01\x00"):
        with pytest.raises(RemoteProtocolError):
            unpack_extra(raw)


# null-data, status, clock


def test_null_data_is_no_value_unless_it_repeats() -> None:
    cells = [axdr.u8(5), axdr.null(), axdr.null(), axdr.u8(6), axdr.null()]
    rows = [(clock(START), cell) for cell in [axdr.null(), *cells]]
    single = both(buffer(*rows), layout(Coding.INT))
    assert single.valid[:, 0].tolist() == [False, True, False, False, True, False]
    assert single.values[:, 0].tolist() == [0, 5, 0, 0, 6, 0]
    repeated = both(buffer(*rows), layout(Coding.INT, repeats=True))
    assert repeated.valid[:, 0].tolist() == [False, True, True, True, True, True]
    assert repeated.values[:, 0].tolist() == [0, 5, 5, 5, 6, 6]


def test_null_data_repeats_what_stands_in_extra() -> None:
    rows = [(clock(START), axdr.octets(b"x")), (clock(START), axdr.null())]
    table = both(buffer(*rows), layout(Coding.INT, repeats=True), fast=False)
    assert table.extra[0] == table.extra[1] != None  # noqa: E711


def test_null_column_does_not_shift_the_row() -> None:
    rows = [(clock(START), axdr.null(), axdr.u8(1), axdr.null(), axdr.u16(2))] * 3
    table = both(buffer(*rows), layout(*[Coding.INT] * 3, status=True))
    assert table.values.tolist() == [[1, 0, 2]] * 3
    assert table.valid.tolist() == [[True, False, True]] * 3
    assert not table.status_valid.any()


@pytest.mark.parametrize(
    ("cell", "status", "fast"),
    [
        (axdr.u8(0x80), 0x80, True),
        (axdr.u32(0x80000000), 0x80000000, True),
        (axdr.bits("00000101"), 5, True),
        (axdr.octets(b"\x01"), None, False),
        (axdr.u64(1 << 63), None, False),
    ],
)
def test_status_of_each_type(cell: Data, status: int | None, fast: bool) -> None:
    table = both(buffer((clock(START), cell)), layout(status=True), fast)
    if status is None:
        assert not table.status_valid[0]
        assert unpack_extra(table.extra[0] or b"") == {STATUS_INDEX: cell}
    else:
        assert (table.status[0], table.status_valid[0]) == (status, True)


def test_clock_null_data_is_the_row_before_plus_the_period() -> None:
    rows = [(clock(START, status=1), axdr.u8(0))] + [(axdr.null(), axdr.u8(index)) for index in range(1, 40)]
    rows.insert(20, (clock(START + timedelta(hours=9), status=2), axdr.u8(99)))
    table = both(buffer(*rows), layout(Coding.INT))
    first, second = micros(START), micros(START + timedelta(hours=9))
    expected = [first + index * PERIOD_US for index in range(20)] + [
        second + index * PERIOD_US for index in range(21)
    ]
    assert table.captured_at.tolist() == expected
    assert table.clock_status.tolist() == [1] * 20 + [2] * 21


def test_clock_null_data_in_a_buffer_newest_first_counts_down() -> None:
    rows = [
        (clock(START), axdr.u8(0)),
        (axdr.null(), axdr.u8(1)),
        (clock(START - timedelta(hours=2)), axdr.u8(2)),
    ]
    table = both(buffer(*rows), layout(Coding.INT))
    assert table.captured_at[1] == micros(START) - PERIOD_US


def test_clock_null_data_first_has_no_time() -> None:
    table = both(
        buffer((axdr.null(), axdr.u8(1)), (clock(START), axdr.u8(2))), layout(Coding.INT), fast=False
    )
    assert table.captured_at.tolist() == [NO_TIME, micros(START)]


@pytest.mark.parametrize("cell", [axdr.octets(b"\xff" * 12), axdr.octets(b"\x07"), axdr.u32(1_700_000_000)])
def test_clock_that_cannot_be_read_loses_no_row(cell: Data) -> None:
    rows = [(clock(START), axdr.u8(1)), (cell, axdr.u8(2)), (axdr.null(), axdr.u8(3))]
    table = both(buffer(*rows), layout(Coding.INT), fast=False)
    assert table.captured_at.tolist() == [micros(START), NO_TIME, NO_TIME]
    assert table.values[:, 0].tolist() == [1, 2, 3]
    assert unpack_extra(table.extra[1] or b"") == {CLOCK_INDEX: cell}


def test_clock_as_date_time_type_read_as_octet_string() -> None:
    typed = buffer(*[(Data(DataType.DATE_TIME, clock(START).value), axdr.u8(1))] * 2)
    bare = buffer(*[(clock(START), axdr.u8(1))] * 2)
    assert both(typed, layout(Coding.INT)).same_as(both(bare, layout(Coding.INT)))


def test_clock_inverted_deviation_of_the_type() -> None:
    raw = axdr.octets(format_datetime(START, BERLIN, inverted=True))
    table = both(buffer((raw, axdr.u8(1))), layout(Coding.INT, deviation_inverted=True))
    assert table.captured_at.tolist() == [micros(START)]


def test_layout_without_clock_has_no_times() -> None:
    used = Layout(bytes(6), 0, (Column(ENERGY),), UTC)
    assert both(buffer((axdr.u8(1),)), used).captured_at.tolist() == [NO_TIME]


# local days: 92, 96 and 100 quarter hours, with every way a clock may speak of them


def local_day(year: int, month: int, day: int) -> list[datetime]:
    start = datetime(year, month, day, tzinfo=BERLIN).astimezone(UTC)
    end = (datetime(year, month, day, tzinfo=BERLIN) + timedelta(days=1)).astimezone(UTC)
    return [
        start + timedelta(minutes=15 * index) for index in range(int((end - start) / timedelta(minutes=15)))
    ]


DAYS = {92: (2026, 3, 29), 96: (2026, 3, 28), 100: (2026, 10, 25)}


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("speech", ["deviation", "bit", "order"])
@pytest.mark.parametrize("rows", DAYS)
def test_local_day_rows_all_kept_and_in_order(rows: int, speech: str, reverse: bool) -> None:
    moments = local_day(*DAYS[rows])
    assert len(moments) == rows
    cells = []
    for moment in moments:
        status = 0x80 if speech == "bit" and moment.astimezone(BERLIN).dst() else 0
        cells.append((clock(moment, BERLIN, status, bare=speech != "deviation"), axdr.u8(1)))
    if reverse:
        cells.reverse()
        moments.reverse()
    table = both(buffer(*cells), layout(Coding.INT, zone=BERLIN))
    assert table.captured_at.tolist() == [micros(moment) for moment in moments]


def test_doubled_hour_alone_by_order_of_rows() -> None:
    second = [datetime(2026, 10, 25, 1, minute, tzinfo=UTC) for minute in (0, 15, 30, 45)]
    first = [moment - timedelta(hours=1) for moment in second]

    def times(moments: list[datetime]) -> list[int]:
        rows = [(clock(moment, BERLIN, bare=True), axdr.u8(1)) for moment in moments]
        return both(buffer(*rows), layout(Coding.INT, zone=BERLIN)).captured_at.tolist()

    assert times(first + second) == [micros(moment) for moment in first + second]
    assert times(first[2:] + second) == [micros(moment) for moment in first[2:] + second]
    assert times(second) == [micros(moment) for moment in second]  # the bit is clear: winter
    before = first[0] - timedelta(minutes=15)
    assert times([before, *first]) == [micros(moment) for moment in [before, *first]]


def test_event_log_over_two_years_read_in_a_zone() -> None:
    moments = [START + timedelta(days=40 * index, minutes=7 * index) for index in range(20)]
    rows = [(clock(moment, BERLIN, bare=True), axdr.u8(index)) for index, moment in enumerate(moments)]
    table = both(buffer(*rows), layout(Coding.INT, zone=BERLIN, capture_period_s=0))
    assert table.captured_at.tolist() == [micros(moment) for moment in moments]


# shapes and malformed buffers


def test_row_of_another_width_raises() -> None:
    for width in (1, 3):
        raw = buffer((clock(START), axdr.u8(1)), (clock(START), *[axdr.u8(1)] * (width - 1)))
        assert decode_fast(raw, layout(Coding.INT)) is None
        with pytest.raises(RemoteProtocolError) as caught:
            decode_buffer(raw, layout(Coding.INT))
        assert caught.value.code == "PROFILE_COLUMNS"


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"", "AXDR_TRUNCATED"),
        (b"\x11\x05", "PROFILE_BUFFER_TYPE"),
        (b"\x01\x01\x11\x05", "PROFILE_ROW_TYPE"),
        (b"\x01\x01\x01\x02\x00\x00", "PROFILE_ROW_TYPE"),
        (b"\x01\x84\xff\xff\xff\xff", "AXDR_TRUNCATED"),
        (b"\x01\x01\x02\x02\x00", "AXDR_TRUNCATED"),
        (b"\x01\x01\x02\x02\x00\x00\x00", "AXDR_TRAILING"),
        (b"\x13\x12\x02\x00\x01", "PROFILE_ROW_TYPE"),
    ],
)
def test_buffer_that_is_none_raises_its_code(raw: bytes, code: str) -> None:
    assert decode_fast(raw, layout(Coding.INT)) is None
    with pytest.raises(RemoteProtocolError) as caught:
        decode_general(raw, layout(Coding.INT))
    assert caught.value.code == code


@pytest.mark.parametrize("raw", [b"\x01\x00", b"\x00", b"\x13\x00\x00"])
def test_buffer_without_rows_is_an_empty_table(raw: bytes) -> None:
    table = both(raw, layout(Coding.INT), fast=False)
    assert len(table) == 0
    assert table.values.shape == (0, 1)


def test_buffer_with_too_many_cells_refused() -> None:
    raw = b"\x01\x83\x10\x00\x00" + bytes(0x100000)
    with pytest.raises(RemoteProtocolError) as caught:
        decode_general(raw, layout(Coding.INT))
    assert caught.value.code == "AXDR_TOO_MANY_ELEMENTS"


def test_shapes_that_change_are_followed() -> None:
    """A meter that widens a register's type, and one that leaves columns out for a while."""
    kinds = [axdr.u16] * 30 + [axdr.u32] * 30 + [lambda _: axdr.null()] * 5 + [axdr.u16] * 31
    rows = [(clock(START + timedelta(minutes=15 * index)), kinds[index](index)) for index in range(96)]
    used = layout(Coding.INT)
    table = both(buffer(*rows), used)
    assert table.values[:, 0].tolist() == [index if not 60 <= index < 65 else 0 for index in range(96)]
    assert 0 < len(used.shapes) <= 8
    assert both(buffer(*rows), used).same_as(table)


def test_shapes_that_never_settle_are_left_to_the_general_reader() -> None:
    rows = [(clock(START), axdr.octets(bytes(index % 7)), axdr.u8(index)) for index in range(96)]
    used = layout(Coding.EXTRA, Coding.INT)
    assert both(buffer(*rows), used, fast=False).values[:, 1].tolist() == list(range(96))


def test_compact_array_of_rows_with_strings_keeps_them() -> None:
    kinds = (DataType.OCTET_STRING, DataType.VISIBLE_STRING)
    description = TypeDescription(DataType.STRUCTURE, 0, tuple(TypeDescription(kind) for kind in kinds))
    rows = tuple(axdr.structure(clock(START), axdr.text(text)) for text in ("a", "bc"))
    raw = axdr.encode(Data(DataType.COMPACT_ARRAY, CompactArray(description, rows)))
    table = both(raw, layout(Coding.EXTRA), fast=False)
    assert [unpack_extra(extra or b"")[0].value for extra in table.extra] == ["a", "bc"]


def test_layout_with_two_clocks_refused() -> None:
    with pytest.raises(LocalProtocolError):
        Layout(bytes(6), 0, (Column(CLOCK, "clock"), Column(CLOCK, "clock")), UTC)


def test_table_same_as_sees_each_field() -> None:
    raw, used = buffer((clock(START), axdr.u8(1), axdr.u8(2))), layout(Coding.INT, status=True)
    for change in ("captured_at", "clock_status", "status", "status_valid", "values", "valid"):
        table = decode_general(raw, used)
        array = getattr(table, change)
        array[0] = ~array[0] if array.dtype == np.bool_ else array[0] + 1
        assert not table.same_as(decode_general(raw, used))
    table = decode_general(raw, used)
    table.extra[0] = b""
    assert not table.same_as(decode_general(raw, used))
