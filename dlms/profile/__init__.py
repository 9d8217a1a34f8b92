"""Profile generic (class 7): from the raw buffer of a meter to columns of numbers.

Two readers, equal on every input: `decode_fast` finds the rows' common shape once and lets NumPy read the
columns (None when there is no such shape), `decode_general` reads value by value. `decode_buffer` picks.
"""

from __future__ import annotations

from dlms.axdr import Buffer
from dlms.profile.coding import Coding, coding_for, value_of
from dlms.profile.fast import decode_fast
from dlms.profile.general import decode_general
from dlms.profile.layout import Column, Layout
from dlms.profile.table import CLOCK_INDEX, NO_TIME, STATUS_INDEX, Table, unpack_extra
from dlms.xdlms.access import CaptureObject


def decode_buffer(raw: Buffer, layout: Layout) -> Table:
    """The rows of a buffer. Raises RemoteProtocolError (PROFILE_..., AXDR_...)."""
    octets = bytes(raw)
    table = decode_fast(octets, layout)
    return decode_general(octets, layout) if table is None else table


__all__ = [
    "CLOCK_INDEX",
    "NO_TIME",
    "STATUS_INDEX",
    "CaptureObject",
    "Coding",
    "Column",
    "Layout",
    "Table",
    "coding_for",
    "decode_buffer",
    "decode_fast",
    "decode_general",
    "unpack_extra",
    "value_of",
]
