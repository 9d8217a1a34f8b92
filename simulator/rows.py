"""Profile buffers as octets: rows of one fixed shape, written by one NumPy structured array.

Owns the A-XDR octets of rows (tags, lengths, byte order); must not know meters or what the values mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlms.axdr import write_length
from dlms.enums import DataType
from dlms.xdlms.access import CaptureObject

#: The width of each integer type in a row (A-XDR, big-endian).
_NUMBERS = {DataType.UNSIGNED: ">u1", DataType.LONG_UNSIGNED: ">u2", DataType.DOUBLE_LONG_UNSIGNED: ">u4"}
_CLOCK = np.dtype(
    [
        ("year", ">u2"),
        ("month", "u1"),
        ("day", "u1"),
        ("day_of_week", "u1"),
        ("hour", "u1"),
        ("minute", "u1"),
        ("second", "u1"),
        ("hundredths", "u1"),
        ("deviation", ">i2"),
        ("clock_status", "u1"),
    ]
)
CLOCK_OCTETS = _CLOCK.itemsize


@dataclass(frozen=True, slots=True)
class Column:
    """A column and the type of its cells; `OCTET_STRING` is the 12-octet date-time of the row."""

    capture_object: CaptureObject
    data_type: DataType


def clock_octets(stamps_s: NDArray[np.int64]) -> bytes:
    """12 octets a stamp: UTC, deviation 0, status 0. Whole ranges recur over a fleet, so they are kept."""
    if (
        len(stamps_s) > 1
        and (step := int(stamps_s[1] - stamps_s[0])) * (len(stamps_s) - 1) == stamps_s[-1] - stamps_s[0]
    ):
        return _even_clock_octets(int(stamps_s[0]), step, len(stamps_s))
    return _clock_octets(stamps_s)


@lru_cache(maxsize=64)
def _even_clock_octets(first_s: int, step_s: int, count: int) -> bytes:
    return _clock_octets(first_s + step_s * np.arange(count, dtype=np.int64))


def _clock_octets(stamps_s: NDArray[np.int64]) -> bytes:
    days, second_of_day = np.divmod(stamps_s, 86_400)
    dates = days.astype("datetime64[D]")
    months = dates.astype("datetime64[M]")
    month_numbers = months.astype(np.int64)
    clock = np.zeros(len(stamps_s), _CLOCK)
    clock["year"] = 1970 + month_numbers // 12
    clock["month"] = month_numbers % 12 + 1
    clock["day"] = (dates - months).astype(np.int64) + 1
    clock["day_of_week"] = (days + 3) % 7 + 1  # 1970-01-01 was a Thursday, 4
    clock["hour"] = second_of_day // 3600
    clock["minute"] = second_of_day // 60 % 60
    clock["second"] = second_of_day % 60
    return clock.tobytes()


@lru_cache(maxsize=256)
def _template(data_types: tuple[DataType, ...]) -> NDArray[np.void]:
    """One row with its constant octets set: structure tag and count, the cells' tags and lengths."""
    fields: list[tuple[str, Any]] = [("head", "V2")]
    constants: dict[str, bytes] = {"head": bytes((DataType.STRUCTURE, len(data_types)))}
    for index, data_type in enumerate(data_types):
        is_clock = data_type is DataType.OCTET_STRING
        constants[f"tag{index}"] = bytes((data_type, CLOCK_OCTETS)) if is_clock else bytes((data_type,))
        fields.append((f"tag{index}", f"V{len(constants[f'tag{index}'])}"))
        fields.append((f"cell{index}", f"V{CLOCK_OCTETS}" if is_clock else _NUMBERS[data_type]))
    row = np.zeros(1, np.dtype(fields))
    for name, octets in constants.items():
        row[name] = np.void(octets)
    return row


def encode_rows(data_types: tuple[DataType, ...], cells: Sequence[NDArray[Any]]) -> bytes:
    """The buffer, an array of structures. `cells` are the columns; a clock column is given as UTC seconds."""
    count = len(cells[0]) if cells else 0
    rows = np.repeat(_template(data_types), count)
    for index, (data_type, column) in enumerate(zip(data_types, cells, strict=True)):
        is_clock = data_type is DataType.OCTET_STRING
        rows[f"cell{index}"] = np.frombuffer(clock_octets(column), f"V{CLOCK_OCTETS}") if is_clock else column
    return bytes((DataType.ARRAY,)) + write_length(count) + rows.tobytes()
