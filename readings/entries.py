"""Entries of the stream of readings that are not stored yet: their types and their bytes.

Owns the wire form between the workers, who write, and `readings.ingest`, who reads. Knows neither Django nor
the database. One entry holds what one read of one meter brought: a chunk of profile rows, a set of registers
or a part of an event log. Arrays travel as raw little-endian NumPy buffers inside a msgpack array; flags as
packed bits. Every entry has `read_at_us`, the time at which the meter was asked: of two versions of a row the
one read later wins.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np

if TYPE_CHECKING:
    from dlms.profile import Table

STREAM: Final = "rd:in"
GROUP: Final = "ingest"
DEAD_STREAM: Final = "rd:dead"
#: the one field of a stream entry
FIELD: Final = "e"

#: no profile chunk is larger; a length that does not fit its rows is refused before anything is allocated
MAX_ROWS: Final = 200_000
MAX_CHANNELS: Final = 255


class EntryError(ValueError):
    """Bytes in the stream that are no entry: `code` says how."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code


class RegisterReading(msgspec.Struct, array_like=True, frozen=True):
    """One register: `value` x 10^`scaler` in Blue Book `unit`, or its A-XDR in `extra` (coding "extra")."""

    logical_name: str
    attribute: int
    captured_at_us: int
    coding: str
    value: int | None
    scaler: int = 0
    unit: int = 255
    extra: bytes | None = None


class EventRecord(msgspec.Struct, array_like=True, frozen=True):
    """One entry of a log. `ordinal` tells entries of one time and code apart (`number_events`)."""

    captured_at_us: int
    code: int
    ordinal: int = 0
    clock_status: int = 0
    extra: bytes | None = None


class RegisterEntry(msgspec.Struct, array_like=True, frozen=True, tag=2):
    """Registers of one meter as read in one dialog."""

    meter_id: int
    read_at_us: int
    values: tuple[RegisterReading, ...]
    origin: str = ""


class EventEntry(msgspec.Struct, array_like=True, frozen=True, tag=3):
    """A part of the log `log` of one meter, in the order of the meter's buffer."""

    meter_id: int
    log: str
    read_at_us: int
    events: tuple[EventRecord, ...]
    origin: str = ""


class _ProfileWire(msgspec.Struct, array_like=True, frozen=True, tag=1):
    meter_id: int
    layout_id: int
    read_at_us: int
    rows: int
    channels: int
    captured_at: bytes
    ordinal: bytes
    clock_status: bytes
    status: bytes
    status_valid: bytes
    values: bytes
    valid: bytes
    extra: list[bytes | None] | None
    origin: str = ""


@dataclass(slots=True, eq=False)
class ProfileEntry:
    """A chunk of profile rows of one meter, columns as `dlms.profile.Table` has them.

    `captured_at` int64 UTC microseconds; `values` int64 (rows, channels) by the layout's codings; `valid`
    and `status_valid` bool; `extra` per row the A-XDR of what fits no channel, or None; `ordinal` int16 tells
    rows of one time apart and is found from the order of the rows where it is not given.
    """

    meter_id: int
    layout_id: int
    read_at_us: int
    captured_at: np.ndarray
    clock_status: np.ndarray
    status: np.ndarray
    status_valid: np.ndarray
    values: np.ndarray
    valid: np.ndarray
    extra: list[bytes | None] | None = None
    origin: str = ""
    ordinal: np.ndarray | None = None

    def __post_init__(self) -> None:
        if self.ordinal is None:
            self.ordinal = ordinals(self.captured_at)
        if self.extra is not None and not any(self.extra):
            self.extra = None

    @classmethod
    def from_table(
        cls, table: Table, *, meter_id: int, layout_id: int, read_at_us: int, origin: str = ""
    ) -> ProfileEntry:
        return cls(
            meter_id=meter_id,
            layout_id=layout_id,
            read_at_us=read_at_us,
            captured_at=table.captured_at,
            clock_status=table.clock_status,
            status=table.status,
            status_valid=table.status_valid,
            values=table.values,
            valid=table.valid,
            extra=list(table.extra) if table.extra is not None else None,
            origin=origin,
        )

    @property
    def rows(self) -> int:
        return len(self.captured_at)

    @property
    def channels(self) -> int:
        return int(self.values.shape[1])


Entry = ProfileEntry | RegisterEntry | EventEntry

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(_ProfileWire | RegisterEntry | EventEntry)


def ordinals(captured_at: np.ndarray) -> np.ndarray:
    """int16 per row: how many rows before it in the buffer have the same time (a clock that was set back)."""
    result = np.zeros(len(captured_at), np.int16)
    if len(captured_at) < 2 or np.all(captured_at[1:] > captured_at[:-1]):
        return result
    order = np.argsort(captured_at, kind="stable")
    ranked = captured_at[order]
    starts = np.flatnonzero(np.concatenate(([True], ranked[1:] != ranked[:-1])))
    lengths = np.diff(np.concatenate((starts, [len(ranked)])))
    result[order] = (np.arange(len(ranked)) - np.repeat(starts, lengths)).astype(np.int16)
    return result


def number_events(events: Iterable[EventRecord]) -> tuple[EventRecord, ...]:
    """The records with `ordinal` set by their order among those of the same time and code."""
    seen: dict[tuple[int, int], int] = {}
    numbered = []
    for event in events:
        key = (event.captured_at_us, event.code)
        ordinal = seen.get(key, 0)
        seen[key] = ordinal + 1
        numbered.append(msgspec.structs.replace(event, ordinal=ordinal) if ordinal else event)
    return tuple(numbered)


def event_records(table: Table, code_channel: int = 0) -> tuple[EventRecord, ...]:
    """The entries of a log that was read as a profile: `code_channel` holds the code.

    Rows without a code are left out: there is nothing to name them by. What the row has besides goes along as
    A-XDR: a structure of structure { unsigned channel, datum }, as in `Table.extra`.
    """
    others = [channel for channel in range(table.values.shape[1]) if channel != code_channel]
    records = []
    for row in range(len(table.captured_at)):
        if not table.valid[row, code_channel]:
            continue
        cells = [(c, int(table.values[row, c])) for c in others if table.valid[row, c]]
        records.append(
            EventRecord(
                captured_at_us=int(table.captured_at[row]),
                code=int(table.values[row, code_channel]),
                clock_status=int(table.clock_status[row]),
                extra=_with_cells(table.extra[row] if table.extra is not None else None, cells),
            )
        )
    return number_events(records)


def _with_cells(extra: bytes | None, cells: list[tuple[int, int]]) -> bytes | None:
    """`extra` (a structure of up to 127 cells) with integer cells added as long64."""
    if not cells:
        return extra
    count, body = (extra[1], extra[2:]) if extra else (0, b"")
    added = b"".join(
        bytes((0x02, 0x02, 0x11, channel, 0x14)) + value.to_bytes(8, "big", signed=True)
        for channel, value in cells
    )
    return bytes((0x02, count + len(cells))) + body + added


def encode(entry: Entry) -> bytes:
    """The bytes of field `e` of a stream entry."""
    return _encoder.encode(_to_wire(entry) if isinstance(entry, ProfileEntry) else entry)


def decode(buf: bytes) -> Entry:
    """Raises `EntryError` (ENTRY_MALFORMED, ENTRY_SHAPE) and nothing else."""
    try:
        wire = _decoder.decode(buf)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise EntryError("ENTRY_MALFORMED", str(error)) from None
    return _from_wire(wire) if isinstance(wire, _ProfileWire) else wire


def stream_fields(entry: Entry) -> dict[str, bytes]:
    """What XADD takes: `pipe.xadd(STREAM, stream_fields(entry))`."""
    return {FIELD: encode(entry)}


def publish(redis: Any, entries: Sequence[Entry]) -> None:
    """Append to the stream in one round trip (sync client)."""
    pipe = redis.pipeline(transaction=False)
    for entry in entries:
        pipe.xadd(STREAM, stream_fields(entry))
    pipe.execute()


def _to_wire(entry: ProfileEntry) -> _ProfileWire:
    assert entry.ordinal is not None
    return _ProfileWire(
        meter_id=entry.meter_id,
        layout_id=entry.layout_id,
        read_at_us=entry.read_at_us,
        rows=entry.rows,
        channels=entry.channels,
        captured_at=_raw(entry.captured_at, "<i8"),
        ordinal=_raw(entry.ordinal, "<i2") if entry.ordinal.any() else b"",
        clock_status=_raw(entry.clock_status, "u1"),
        status=_raw(entry.status, "<i8"),
        status_valid=_bits(entry.status_valid),
        values=_raw(entry.values, "<i8"),
        valid=_bits(entry.valid),
        extra=entry.extra,
        origin=entry.origin,
    )


def _from_wire(wire: _ProfileWire) -> ProfileEntry:
    rows, channels = wire.rows, wire.channels
    if not (0 <= rows <= MAX_ROWS and 0 <= channels <= MAX_CHANNELS):
        raise EntryError("ENTRY_SHAPE", f"{rows} rows of {channels} channels")
    if wire.extra is not None and len(wire.extra) != rows:
        raise EntryError("ENTRY_SHAPE", f"extra has {len(wire.extra)} of {rows} rows")
    return ProfileEntry(
        meter_id=wire.meter_id,
        layout_id=wire.layout_id,
        read_at_us=wire.read_at_us,
        captured_at=_array(wire.captured_at, "<i8", rows, "captured_at"),
        ordinal=_array(wire.ordinal, "<i2", rows, "ordinal") if wire.ordinal else np.zeros(rows, np.int16),
        clock_status=_array(wire.clock_status, "u1", rows, "clock_status"),
        status=_array(wire.status, "<i8", rows, "status"),
        status_valid=_flags(wire.status_valid, rows, "status_valid"),
        values=_array(wire.values, "<i8", rows * channels, "values").reshape(rows, channels),
        valid=_flags(wire.valid, rows * channels, "valid").reshape(rows, channels),
        extra=wire.extra,
        origin=wire.origin,
    )


def _raw(array: np.ndarray, dtype: str) -> bytes:
    return np.ascontiguousarray(array, dtype=dtype).tobytes()


def _bits(flags: np.ndarray) -> bytes:
    """Empty when all are set, the usual case."""
    return b"" if flags.all() else np.packbits(flags.ravel()).tobytes()


def _array(raw: bytes, dtype: str, count: int, name: str) -> np.ndarray:
    if len(raw) != count * np.dtype(dtype).itemsize:
        raise EntryError("ENTRY_SHAPE", f"{name} has {len(raw)} bytes for {count} items")
    return np.frombuffer(raw, dtype=dtype)


def _flags(raw: bytes, count: int, name: str) -> np.ndarray:
    if not raw:
        return np.ones(count, bool)
    if len(raw) != (count + 7) // 8:
        raise EntryError("ENTRY_SHAPE", f"{name} has {len(raw)} bytes for {count} flags")
    return np.unpackbits(np.frombuffer(raw, np.uint8), count=count).astype(bool)
