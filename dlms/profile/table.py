"""The rows of a profile as columns. Owns the arrays' shape and the form of `extra`; knows no A-XDR buffer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dlms import axdr
from dlms.axdr import Data
from dlms.enums import DataType
from dlms.errors import RemoteProtocolError

#: captured_at of a row whose clock cannot be read: outside every window, so that storing splits it off by
#: itself.
NO_TIME = int(np.iinfo(np.int64).min)
#: Channel numbers in `extra` of cells that are no channel.
STATUS_INDEX = 255
CLOCK_INDEX = 254
MAX_CHANNELS = 254

Int64s = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(slots=True, eq=False)
class Table:
    """`n` rows. `values` are coded as the layout says; where `valid` is False, null-data (value 0) or an
    extra cell.

    captured_at: UTC microseconds, [n]. clock_status: [n]. status, status_valid: [n]. values, valid: [n,
    channels]. extra: for each row None, or the A-XDR of a structure of structures {unsigned channel number,
    value}.
    """

    captured_at: Int64s
    clock_status: NDArray[np.uint8]
    status: Int64s
    status_valid: Bools
    values: Int64s
    valid: Bools
    extra: list[bytes | None]

    @classmethod
    def blank(cls, rows: int, channels: int) -> Table:
        """All rows without time and without values."""
        return cls(
            np.full(rows, NO_TIME, np.int64),
            np.zeros(rows, np.uint8),
            np.zeros(rows, np.int64),
            np.zeros(rows, np.bool_),
            np.zeros((rows, channels), np.int64),
            np.zeros((rows, channels), np.bool_),
            [None] * rows,
        )

    def __len__(self) -> int:
        return len(self.captured_at)

    def same_as(self, other: Table) -> bool:
        """Equal in every row and every field."""
        names = ("captured_at", "clock_status", "status", "status_valid", "values", "valid")
        arrays = all(np.array_equal(getattr(self, name), getattr(other, name)) for name in names)
        return arrays and self.extra == other.extra


def pack_extra(cells: list[tuple[int, bytes]]) -> bytes | None:
    """`cells`: channel number and the value's A-XDR octets."""
    if not cells:
        return None
    parts = [b"\x02\x02\x11" + bytes((number,)) + octets for number, octets in cells]
    return b"\x02" + axdr.write_length(len(parts)) + b"".join(parts)


def unpack_extra(extra: bytes) -> dict[int, Data]:
    """Channel number -> value. Raises RemoteProtocolError (EXTRA_INVALID)."""
    data = axdr.decode_all(extra)
    cells: dict[int, Data] = {}
    for item in data.value if data.type == DataType.STRUCTURE else (data,):
        if item.type != DataType.STRUCTURE or len(item.value) != 2 or item.value[0].type != DataType.UNSIGNED:
            raise RemoteProtocolError("not the cells of a row", code="EXTRA_INVALID")
        cells[item.value[0].value] = item.value[1]
    return cells
