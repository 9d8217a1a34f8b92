"""Interval rows as arrays, and as the bytes of PostgreSQL's binary COPY.

Owns the record layout of `COPY readings_interval ... (FORMAT binary)`: all rows of a batch are laid out by
NumPy at their greatest size, then the bytes of what is null are cut out. Knows no connection.

Source: PostgreSQL documentation, COPY, "Binary Format"; the array's own form is what array_send of
PostgreSQL 18 gives (dimensions, has-null flag, element type, then size and lower bound of each dimension,
then the elements).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any, Final

import numpy as np

from readings.entries import ProfileEntry

COLUMNS: Final = (
    "meter_id",
    "layout_id",
    "captured_at",
    "read_at",
    "status",
    "ordinal",
    "clock_status",
    "values",
    "extra",
)
COLUMN_LIST: Final = ", ".join(f'"{name}"' for name in COLUMNS)
COPY_HEADER: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)
COPY_TRAILER: Final = b"\xff\xff"

#: microseconds from 1970 to PostgreSQL's epoch, 2000-01-01
_PG_EPOCH_US: Final = 946_684_800_000_000
_OID_INT8: Final = 20
#: ndim, flags, element type, dimension, lower bound
_ARRAY_HEAD: Final = 20
NO_MARK: Final = np.iinfo(np.int64).min


@dataclass(slots=True)
class Block:
    """Rows with the same number of channels. Beyond `mark` a row is known to be new; `entry` is its place."""

    meter_id: np.ndarray
    layout_id: np.ndarray
    read_at: np.ndarray
    captured_at: np.ndarray
    ordinal: np.ndarray
    clock_status: np.ndarray
    status: np.ndarray
    status_valid: np.ndarray
    values: np.ndarray
    valid: np.ndarray
    extra: np.ndarray | None
    mark: np.ndarray
    entry: np.ndarray

    def __len__(self) -> int:
        return len(self.captured_at)

    def take(self, chosen: np.ndarray) -> Block:
        """The rows of a mask or of indices."""
        columns = (getattr(self, field.name) for field in fields(self))
        return Block(*(None if column is None else column[chosen] for column in columns))


def gather(entries: Sequence[ProfileEntry], marks: Sequence[int]) -> list[Block]:
    """One block per number of channels, rows in the order of the entries."""
    by_width: dict[int, list[int]] = {}
    for place, entry in enumerate(entries):
        if entry.rows:
            by_width.setdefault(entry.channels, []).append(place)
    return [
        _block([(place, entries[place], marks[place]) for place in places]) for places in by_width.values()
    ]


def _block(placed: list[tuple[int, ProfileEntry, int]]) -> Block:
    entries = [entry for _, entry, _ in placed]
    counts = [entry.rows for entry in entries]

    def repeated(numbers: Iterable[int]) -> np.ndarray:
        return np.repeat(np.fromiter(numbers, np.int64, len(entries)), counts)

    def joined(name: str) -> np.ndarray:
        return np.concatenate([getattr(entry, name) for entry in entries])

    extra = None
    if any(entry.extra for entry in entries):
        extra = np.empty(sum(counts), object)
        extra[:] = [cell for entry in entries for cell in (entry.extra or [None] * entry.rows)]
    return Block(
        meter_id=repeated(entry.meter_id for entry in entries),
        layout_id=repeated(entry.layout_id for entry in entries),
        read_at=repeated(entry.read_at_us for entry in entries),
        captured_at=joined("captured_at"),
        ordinal=joined("ordinal"),
        clock_status=joined("clock_status"),
        status=joined("status"),
        status_valid=joined("status_valid"),
        values=joined("values"),
        valid=joined("valid"),
        extra=extra,
        mark=repeated(mark for _, _, mark in placed),
        entry=repeated(place for place, _, _ in placed),
    )


@lru_cache(maxsize=256)
def _record(channels: int) -> np.dtype[Any]:
    """A row without nulls and with a null `extra`, as COPY has it."""
    cell = np.dtype([("size", ">i4"), ("value", ">i8")])
    return np.dtype(
        [
            ("columns", ">i2"),
            ("meter_id_size", ">i4"),
            ("meter_id", ">i8"),
            ("layout_id_size", ">i4"),
            ("layout_id", ">i8"),
            ("captured_at_size", ">i4"),
            ("captured_at", ">i8"),
            ("read_at_size", ">i4"),
            ("read_at", ">i8"),
            ("status_size", ">i4"),
            ("status", ">i8"),
            ("ordinal_size", ">i4"),
            ("ordinal", ">i2"),
            ("clock_status_size", ">i4"),
            ("clock_status", ">i2"),
            ("values_size", ">i4"),
            ("dimensions", ">i4"),
            ("has_null", ">i4"),
            ("element_type", ">i4"),
            ("dimension", ">i4"),
            ("lower_bound", ">i4"),
            ("cells", cell, (channels,)),
            ("extra_size", ">i4"),
        ]
    )


def copy_bytes(block: Block) -> bytes:
    """The rows of the block for COPY ... (FORMAT binary), without header and trailer."""
    channels = block.values.shape[1]
    record = np.zeros(len(block), _record(channels))
    record["columns"] = len(COLUMNS)
    for name in ("meter_id", "layout_id", "captured_at", "read_at", "status"):
        record[f"{name}_size"] = 8
        record[name] = getattr(block, name)
    for name in ("captured_at", "read_at"):
        record[name] -= _PG_EPOCH_US
    for name in ("ordinal", "clock_status"):
        record[f"{name}_size"] = 2
        record[name] = getattr(block, name)
    record["dimensions"] = 1
    record["element_type"] = _OID_INT8
    record["dimension"] = channels
    record["lower_bound"] = 1
    record["values_size"] = _ARRAY_HEAD + 12 * channels
    record["cells"]["size"] = 8
    record["cells"]["value"] = block.values
    record["extra_size"] = -1
    if block.extra is None and block.status_valid.all() and block.valid.all():
        return record.tobytes()
    return _cut(record, block)


def _cut(record: np.ndarray, block: Block) -> bytes:
    """Cut out the bytes of nulls, put in those of `extra`."""
    valid = block.valid
    record["status_size"][~block.status_valid] = -1
    record["has_null"] = ~valid.all(axis=1)
    record["values_size"] = _ARRAY_HEAD + 4 * valid.shape[1] + 8 * valid.sum(axis=1)
    record["cells"]["size"][~valid] = -1
    shape = (len(record), record.dtype.itemsize)
    kept_octets = np.ones(shape, np.uint8)
    kept_record = kept_octets.view(record.dtype).reshape(len(record))
    kept_record["status"][~block.status_valid] = 0
    kept_record["cells"]["value"][~valid] = 0
    kept = kept_octets.astype(bool)
    octets = record.view(np.uint8).reshape(shape)
    if block.extra is None:
        return octets[kept].tobytes()
    return _with_extra(record, octets, kept, block.extra)


def _with_extra(record: np.ndarray, octets: np.ndarray, kept: np.ndarray, extra: np.ndarray) -> bytes:
    places = [place for place, cell in enumerate(extra) if cell]
    record["extra_size"][places] = [len(extra[place]) for place in places]
    flat = octets[kept].tobytes()
    ends = np.cumsum(kept.sum(axis=1))
    pieces: list[bytes] = []
    start = 0
    for place in places:
        end = int(ends[place])
        pieces += (flat[start:end], extra[place])
        start = end
    pieces.append(flat[start:])
    return b"".join(pieces)
