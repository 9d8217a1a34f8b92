"""The general reader of a profile's buffer: value by value, every type, every odd row. Owns what a row may
look like.

Meters deviate in the clock column: octet-string of 12 octets and date-time are both read.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from dlms import axdr
from dlms.axdr import CompactArray, Data
from dlms.clock import DATE_TIME_OCTETS, LocalTime, parse_local
from dlms.enums import DataType
from dlms.errors import RemoteProtocolError
from dlms.profile import times
from dlms.profile.coding import encode_cell, encode_status
from dlms.profile.layout import Layout
from dlms.profile.table import CLOCK_INDEX, STATUS_INDEX, Table, pack_extra

Cell = tuple[Data, bytes]


def decode_general(raw: bytes, layout: Layout) -> Table:
    """The rows of a buffer: an array, or a compact array, of structures. Raises RemoteProtocolError."""
    rows = list(_rows(raw, len(layout.columns)))
    table = Table.blank(len(rows), layout.channel_count)
    extras: list[list[tuple[int, bytes]]] = [[] for _ in rows]
    for position, column in enumerate(layout.columns):
        cells = [row[position] for row in rows]
        if column.null_repeats and column.role != "clock":
            cells = _repeated(cells)
        if column.role == "clock":
            _read_clock(cells, table, extras, layout)
        elif column.role == "status":
            _read_status(cells, table, extras)
        else:
            number = layout.channel_numbers[position]
            for index, (data, octets) in enumerate(cells):
                value = encode_cell(column.coding, data)
                if value is not None:
                    table.values[index, number] = value
                    table.valid[index, number] = True
                elif data.type != DataType.NULL_DATA:
                    extras[index].append((number, octets))
    table.extra = [pack_extra(cells) for cells in extras]
    return table


def _rows(raw: bytes, columns: int) -> Iterator[list[Cell]]:
    if not raw:
        raise RemoteProtocolError("an empty result", code="AXDR_TRUNCATED")
    tag = raw[0]
    if tag == DataType.NULL_DATA and len(raw) == 1:
        return
    if tag == DataType.COMPACT_ARRAY:
        yield from _compact_rows(raw, columns)
        return
    if tag != DataType.ARRAY:
        raise RemoteProtocolError(f"a buffer of type {tag}", code="PROFILE_BUFFER_TYPE")
    count, offset = axdr.read_length(raw, 1)
    if count > len(raw) - offset:
        raise RemoteProtocolError(f"{count} rows announced in {len(raw)} octets", code="AXDR_TRUNCATED")
    if count * columns > axdr.MAX_ELEMENTS:
        raise RemoteProtocolError(f"{count} rows of {columns} columns", code="AXDR_TOO_MANY_ELEMENTS")
    for _ in range(count):
        if raw[offset : offset + 1] != b"\x02":
            raise RemoteProtocolError("a row that is no structure", code="PROFILE_ROW_TYPE")
        width, offset = axdr.read_length(raw, offset + 1)
        _check_width(width, columns)
        row = []
        for _ in range(width):
            data, end = axdr.decode(raw, offset)
            row.append((data, raw[offset:end]))
            offset = end
        yield row
    if offset != len(raw):
        raise RemoteProtocolError(f"{len(raw) - offset} octets after the rows", code="AXDR_TRAILING")


def _compact_rows(raw: bytes, columns: int) -> Iterator[list[Cell]]:
    array: CompactArray = axdr.decode_all(raw).value
    for element in array.elements:
        if element.type != DataType.STRUCTURE:
            raise RemoteProtocolError("a row that is no structure", code="PROFILE_ROW_TYPE")
        _check_width(len(element.value), columns)
        yield [(cell, axdr.encode(cell)) for cell in element.value]


def _check_width(found: int, expected: int) -> None:
    if found != expected:
        raise RemoteProtocolError(f"{found} columns, {expected} expected", code="PROFILE_COLUMNS")


def _repeated(cells: list[Cell]) -> list[Cell]:
    """Null-data replaced by what stood in the row before."""
    filled: list[Cell] = []
    for cell in cells:
        filled.append(filled[-1] if filled and cell[0].type == DataType.NULL_DATA else cell)
    return filled


def _read_status(cells: list[Cell], table: Table, extras: list[list[tuple[int, bytes]]]) -> None:
    for index, (data, octets) in enumerate(cells):
        value = encode_status(data)
        if value is not None:
            table.status[index] = value
            table.status_valid[index] = True
        elif data.type != DataType.NULL_DATA:
            extras[index].append((STATUS_INDEX, octets))


def _read_clock(
    cells: list[Cell], table: Table, extras: list[list[tuple[int, bytes]]], layout: Layout
) -> None:
    locals_: list[LocalTime | None] = []
    for index, (data, octets) in enumerate(cells):
        local = _local_time(data)
        if local is None and data.type != DataType.NULL_DATA:
            extras[index].append((CLOCK_INDEX, octets))
        locals_.append(local)
    moments = times.resolve(locals_, layout.zone, layout.deviation_inverted)
    statuses = [0 if local is None else local.status for local in locals_]
    step_us = layout.capture_period_s * (-1_000_000 if times.is_descending(locals_) else 1_000_000)
    times.fill_implied(moments, statuses, [data.type == DataType.NULL_DATA for data, _ in cells], step_us)
    table.captured_at[:] = np.array(moments, np.int64)
    table.clock_status[:] = np.array(statuses, np.uint8)


def _local_time(data: Data) -> LocalTime | None:
    """None for null-data and for what cannot be read as a date-time."""
    if data.type not in (DataType.OCTET_STRING, DataType.DATE_TIME) or len(data.value) != DATE_TIME_OCTETS:
        return None
    try:
        return parse_local(data.value)
    except RemoteProtocolError:
        return None
