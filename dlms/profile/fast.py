"""The fast reader of a profile's buffer: rows of one shape are read by NumPy, column by column.

A shape is everything in a row that is not a value: tags, counts, lengths. Rows whose every such octet is that
of the first one parse alike, so one comparison of the whole run replaces the parsing of each row. Gives None,
never a guess, where there is no common shape or where a cell would have to go to `extra`: the general reader
does those.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from dlms import axdr
from dlms.clock import DATE_TIME_OCTETS, DEVIATION_NOT_SPECIFIED, MAX_DEVIATION_MIN, LocalTime
from dlms.enums import DataType
from dlms.errors import RemoteProtocolError
from dlms.profile import times
from dlms.profile.coding import MAX_BITS, Coding
from dlms.profile.layout import Layout
from dlms.profile.table import Table

_MAX_SHAPES = 8
#: A run costs about as much as reading two rows one by one; above this many runs the general reader is no
#: slower.
_MAX_RUNS = 8
_ROWS_PER_RUN = 4
_INT64_MAX = (1 << 63) - 1

_DTYPES: dict[int, str] = {
    DataType.BOOLEAN: "u1",
    DataType.DOUBLE_LONG: ">i4",
    DataType.DOUBLE_LONG_UNSIGNED: ">u4",
    DataType.BCD: "u1",
    DataType.INTEGER: "i1",
    DataType.LONG: ">i2",
    DataType.UNSIGNED: "u1",
    DataType.LONG_UNSIGNED: ">u2",
    DataType.LONG64: ">i8",
    DataType.LONG64_UNSIGNED: ">u8",
    DataType.ENUM: "u1",
}
#: month, day, (day of week), hour, minute, second, hundredths: octets 2..8 of a date-time.
_CLOCK_LOW = np.array([[1], [1], [0], [0], [0], [0], [0]], np.int64)
_CLOCK_HIGH = np.array([[12], [31], [255], [23], [59], [59], [99]], np.int64)

How = Literal["plain", "flag", "below_2_63", "not_negative", "wrapped", "bits"]


@dataclass(frozen=True, slots=True)
class _Cells:
    """Neighbouring columns of one type: where their octets stand in a row and how they become integers."""

    how: How
    dtype: str
    first: int  # channel number, or -1 for the status column
    count: int
    offset: int
    step: int
    bits: int = 0
    mark: bool = True


@dataclass(frozen=True, slots=True, eq=False)
class _Shape:
    """A row's shape: its size, where which octets must not differ, and the cells."""

    size: int
    fixed: NDArray[np.intp]
    expected: NDArray[np.uint8]
    clock: int  # offset of the 12 octets; -1: null-data; -2: no clock column
    cells: tuple[_Cells, ...]
    nulls: tuple[int, ...]


def decode_fast(raw: bytes, layout: Layout) -> Table | None:
    """The rows of a buffer, or None when they have no common shape. Never raises for what a meter sent."""
    if len(raw) < 2 or raw[0] != DataType.ARRAY:
        return None
    try:
        count, offset = axdr.read_length(raw, 1)
    except RemoteProtocolError:
        return None
    if not 0 < count <= (len(raw) - offset) // (2 + len(layout.columns)):
        return None
    table = Table.blank(count, layout.channel_count)
    clocks = _Clocks(count)
    row = 0
    for _ in range(_MAX_RUNS + count // _ROWS_PER_RUN):
        found = _find_shape(raw, offset, count - row, layout)
        if found is None:
            return None
        shape, rows, octets = found
        if not _read_cells(raw, offset, shape, row, rows, table):
            return None
        clocks.add(octets[:rows], shape.clock, row)
        row += rows
        offset += rows * shape.size
        if row == count:
            break
    else:
        return None
    if offset != len(raw) or not clocks.into(table, layout):
        return None
    _repeat_nulls(table, layout)
    return table


def _find_shape(
    raw: bytes, offset: int, remaining: int, layout: Layout
) -> tuple[_Shape, int, NDArray[np.uint8]] | None:
    """The shape of the row at `offset`, known or new; how many rows from there have it; their octets."""
    for shape in layout.shapes:
        found = _match(raw, offset, remaining, shape)
        if found is not None:
            if shape is not layout.shapes[0]:
                layout.shapes.remove(shape)
                layout.shapes.insert(0, shape)
            return found
    try:
        new = _scan(raw, offset, layout)
    except RemoteProtocolError:
        return None
    if new is None:
        return None
    layout.shapes.insert(0, new)
    del layout.shapes[_MAX_SHAPES:]
    return _match(raw, offset, remaining, new)


def _match(
    raw: bytes, offset: int, remaining: int, shape: _Shape
) -> tuple[_Shape, int, NDArray[np.uint8]] | None:
    rows = min(remaining, (len(raw) - offset) // shape.size)
    if rows == 0:
        return None
    octets = np.frombuffer(raw, np.uint8, rows * shape.size, offset).reshape(rows, shape.size)
    same = octets.take(shape.fixed, axis=1) == shape.expected
    if not same.all():
        rows = int(same.all(axis=1).argmin())
    return (shape, rows, octets) if rows else None


def _scan(raw: bytes, start: int, layout: Layout) -> _Shape | None:
    """The shape of the row at `start`; None when the fast reader cannot do such a row."""
    if raw[start : start + 1] != b"\x02":
        return None
    width, offset = axdr.read_length(raw, start + 1)
    if width != len(layout.columns):
        return None
    fixed = list(range(offset - start))
    clock, cells, nulls = -2, [], []
    for number, column in zip(layout.channel_numbers, layout.columns, strict=True):
        _, end = axdr.decode(raw, offset)
        tag, body, bits = raw[offset], offset + 1, 0
        if tag in (DataType.OCTET_STRING, DataType.BIT_STRING):
            bits, body = axdr.read_length(raw, body)
        fixed.extend(range(offset - start, body - start))
        offset = end
        if column.role == "clock":
            if tag != DataType.NULL_DATA and end - body != DATE_TIME_OCTETS:
                return None
            if tag not in (DataType.NULL_DATA, DataType.OCTET_STRING, DataType.DATE_TIME):
                return None
            clock = -1 if tag == DataType.NULL_DATA else body - start
        elif tag == DataType.NULL_DATA:
            nulls.append(number)
        else:
            status = column.role == "status"
            cell = _cell(tag, Coding.INT if status else column.coding, number, body - start, bits, status)
            if cell is None:
                return None
            cells.append(cell)
    positions = np.array(fixed, np.intp)
    expected = np.frombuffer(raw, np.uint8, offset - start, start)[positions]
    return _Shape(offset - start, positions, expected, clock, _grouped(cells), tuple(nulls))


def _cell(tag: int, coding: Coding, number: int, offset: int, bits: int, status: bool) -> _Cells | None:
    if tag == DataType.BIT_STRING:
        if (coding is Coding.BITS or status) and bits <= MAX_BITS:
            return _Cells("bits", "u1", number, 1, offset, 0, bits, not status)
        return None
    dtype = _DTYPES.get(tag)
    if dtype is None:
        floats = {(DataType.FLOAT32, Coding.F32): ">u4", (DataType.FLOAT64, Coding.F64): ">i8"}
        dtype = next((kind for (of, by), kind in floats.items() if of == tag and by is coding), None)
        return None if dtype is None else _Cells("plain", dtype, number, 1, offset, 0)
    how: How = "plain"
    if coding not in (Coding.INT, Coding.U64):
        return None
    if tag == DataType.BOOLEAN:
        how = "flag"
    elif tag == DataType.LONG64_UNSIGNED:
        how = "below_2_63" if coding is Coding.INT else "wrapped"
    elif coding is Coding.U64 and "i" in dtype:
        how = "not_negative"
    return _Cells(how, dtype, number, 1, offset, 0)


def _grouped(cells: list[_Cells]) -> tuple[_Cells, ...]:
    """Neighbouring channels of one kind at one distance as one group, read by a single assignment."""
    groups: list[_Cells] = []
    for cell in cells:
        last = groups[-1] if groups else None
        if last is not None and last.first >= 0 and cell.how != "bits" and last.how == cell.how:
            step = cell.offset - last.offset - last.step * (last.count - 1)
            follows = last.dtype == cell.dtype and last.first + last.count == cell.first
            if follows and (last.count == 1 or step == last.step):
                groups[-1] = _Cells(last.how, last.dtype, last.first, last.count + 1, last.offset, step)
                continue
        groups.append(cell)
    return tuple(groups)


def _read_cells(raw: bytes, offset: int, shape: _Shape, row: int, rows: int, table: Table) -> bool:
    """Put the values of a run into the table; False when one of them belongs into `extra`."""
    end = row + rows
    for cells in shape.cells:
        numbers: NDArray[Any]
        if cells.how == "bits":
            numbers = _bits(raw, offset, shape.size, rows, cells)
        else:
            extent, strides = (rows, cells.count), (shape.size, cells.step)
            numbers = np.ndarray(extent, cells.dtype, raw, offset + cells.offset, strides)
        if cells.how == "flag":
            numbers = numbers != 0
        elif cells.how == "wrapped":
            numbers = numbers.astype(np.uint64).view(np.int64)
        elif _out_of_bounds(cells.how, numbers):
            return False
        if cells.first < 0:
            table.status[row:end] = numbers[:, 0]
            table.status_valid[row:end] = True
        else:
            last = cells.first + cells.count
            table.values[row:end, cells.first : last] = numbers
            table.valid[row:end, cells.first : last] = True
    return True


def _out_of_bounds(how: How, numbers: NDArray[Any]) -> bool:
    if how == "below_2_63":
        return bool((numbers > _INT64_MAX).any())
    return how == "not_negative" and bool((numbers < 0).any())


def _bits(raw: bytes, offset: int, size: int, rows: int, cells: _Cells) -> NDArray[np.int64]:
    width = (cells.bits + 7) // 8
    octets = np.ndarray((rows, width), "u1", raw, offset + cells.offset, (size, 1))
    numbers = np.zeros((rows, 1), np.uint64)
    for index in range(width):
        numbers = numbers << np.uint64(8) | octets[:, index : index + 1].astype(np.uint64)
    numbers = numbers >> np.uint64(width * 8 - cells.bits)
    if cells.mark:
        numbers = numbers | np.uint64(1 << cells.bits)
    return numbers.view(np.int64)


class _Clocks:
    """Gathers the clock octets of all runs, then turns them into UTC at once."""

    __slots__ = ("any", "implied", "octets")

    def __init__(self, rows: int) -> None:
        self.octets = np.zeros((rows, DATE_TIME_OCTETS), np.uint8)
        self.implied: NDArray[np.bool_] | None = None
        self.any = True

    def add(self, octets: NDArray[np.uint8], position: int, row: int) -> None:
        end = row + len(octets)
        if position >= 0:
            self.octets[row:end] = octets[:, position : position + DATE_TIME_OCTETS]
        elif position == -1:
            if self.implied is None:
                self.implied = np.zeros(len(self.octets), np.bool_)
            self.implied[row:end] = True
        else:
            self.any = False

    def into(self, table: Table, layout: Layout) -> bool:
        """Fill captured_at and clock_status; False when a clock cannot be read or the first is implied."""
        if not self.any:
            return True
        implied = self.implied
        if implied is None:
            return _read_clocks(self.octets, layout, table.captured_at, table.clock_status) is not None
        if implied[0]:
            return False
        known = np.flatnonzero(~implied)
        moments, statuses = np.empty(len(known), np.int64), np.empty(len(known), np.uint8)
        descending = _read_clocks(self.octets[known], layout, moments, statuses)
        if descending is None:
            return False
        before = np.cumsum(~implied) - 1
        step_us = layout.capture_period_s * (-1_000_000 if descending else 1_000_000)
        table.captured_at[:] = moments[before] + step_us * (np.arange(len(implied)) - known[before])
        table.clock_status[:] = statuses[before]
        return True


def _read_clocks(
    octets: NDArray[np.uint8], layout: Layout, moments: NDArray[np.int64], statuses: NDArray[np.uint8]
) -> bool | None:
    """Fill UTC and status of each date-time; whether the newest stands first, None when one is unreadable."""
    fields = octets.T.astype(np.int64, order="C")
    parts = fields[2:9]
    for optional in (7, 8):
        if fields[optional].max() == 0xFF:
            fields[optional][fields[optional] == 0xFF] = 0
    if (parts < _CLOCK_LOW).any() or (parts > _CLOCK_HIGH).any():
        return None
    years = fields[0] * 256 + fields[1]
    if years.min() < 1900 or years.max() > 9990:
        return None
    months = years * 12 + (fields[2] - (1970 * 12 + 1))
    days = _month_starts(months)
    if fields[3].max() > 28 and (fields[3] > _month_starts(months + 1) - days).any():
        return None
    seconds = (((days + (fields[3] - 1)) * 24 + fields[5]) * 60 + fields[6]) * 60 + fields[7]
    local = seconds * 1_000_000 + fields[8] * 10_000
    deviations = (fields[9] * 256 + fields[10]).astype(np.uint16).view(np.int16).astype(np.int64)
    statuses[:] = octets[:, 11]
    if not _to_utc(local, deviations, statuses, layout, moments):
        return None
    return bool(len(local) > 1 and local[0] > local[-1])


def _month_starts(months: NDArray[np.int64]) -> NDArray[np.int64]:
    """Days since 1970 of the first day of each month, months counted from January 1970."""
    return months.astype("M8[M]").astype("M8[D]").astype(np.int64)


def _to_utc(
    local: NDArray[np.int64],
    deviations: NDArray[np.int64],
    statuses: NDArray[np.uint8],
    layout: Layout,
    moments: NDArray[np.int64],
) -> bool:
    sign = -1 if layout.deviation_inverted else 1
    low, high = int(deviations.min()), int(deviations.max())
    if low != DEVIATION_NOT_SPECIFIED:
        if low < -MAX_DEVIATION_MIN or high > MAX_DEVIATION_MIN:
            return False
        moments[:] = local + deviations * (sign * 60_000_000)
        return True
    known = deviations != DEVIATION_NOT_SPECIFIED
    if (np.abs(deviations[known]) > MAX_DEVIATION_MIN).any():
        return False
    offset = None
    if not known.any():
        offset = times.constant_offset(_naive(int(local.min())), _naive(int(local.max())), layout.zone)
    if offset is not None:
        moments[:] = local - offset // timedelta(microseconds=1)
        return True
    rows = zip(local.tolist(), deviations.tolist(), statuses.tolist(), strict=True)
    locals_ = [
        LocalTime(_naive(moment), status, None if deviation == DEVIATION_NOT_SPECIFIED else deviation)
        for moment, deviation, status in rows
    ]
    moments[:] = np.array(times.resolve(locals_, layout.zone, layout.deviation_inverted), np.int64)
    return True


def _naive(local_us: int) -> datetime:
    return datetime(1970, 1, 1) + timedelta(microseconds=local_us)  # noqa: DTZ001


def _repeat_nulls(table: Table, layout: Layout) -> None:
    """Expand null-data that repeats: the last value before it in its column."""
    for number, column in zip(layout.channel_numbers, layout.columns, strict=True):
        if not column.null_repeats or column.role == "clock":
            continue
        values = table.status if number < 0 else table.values[:, number]
        valid = table.status_valid if number < 0 else table.valid[:, number]
        if valid.all():
            continue
        before = np.maximum.accumulate(np.where(valid, np.arange(len(valid)), -1))
        values[:] = np.where(before >= 0, values[before], 0)
        valid[:] = before >= 0
