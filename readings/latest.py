"""The latest value of each register of a meter, in Redis, so that a glance costs no database.

Owns the keys `lv:{meter_id}` of the cache: a hash, field `logical name:attribute`, value a header of fixed
size and a msgpack body. Workers write at decode (not stored yet), ingest writes after COMMIT (stored), a
miss is refilled from PostgreSQL (`readings.queries`). All go through one script that compares times, so an
old range never overwrites a newer value, whatever the order. Knows neither Django nor the database.

Two fields are no registers: `_full` says that the hash was filled from the store and so has all there is.
The hash lives `ttl_s` from its creation or refill, not from the last write: no mistake outlives that.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import msgspec

if TYPE_CHECKING:
    from readings.entries import ProfileEntry, RegisterEntry

FULL: Final = "_full"
_HEADER = struct.Struct(">qqB")
_body: msgspec.msgpack.Decoder[tuple[str, int | None, int, int, bytes | None]] = msgspec.msgpack.Decoder(
    tuple[str, int | None, int, int, bytes | None]
)

#: KEYS[1] hash; ARGV: ttl_s, "1" when this is all the store has, then field, value, field, value ...
#: A value wins by (captured_at, read_at, stored), the header's three numbers in this order.
SCRIPT: Final = """
local function newer(a, b)
  local ac, ar, as = struct.unpack('>i8i8B', a)
  local bc, br, bs = struct.unpack('>i8i8B', b)
  if ac ~= bc then return ac > bc end
  if ar ~= br then return ar > br end
  return as > bs
end
local fresh = redis.call('EXISTS', KEYS[1]) == 0
local written = 0
for i = 3, #ARGV, 2 do
  local held = redis.call('HGET', KEYS[1], ARGV[i])
  if not held or newer(ARGV[i + 1], held) then
    redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
    written = written + 1
  end
end
if ARGV[2] == '1' then redis.call('HSET', KEYS[1], '_full', '1') end
if fresh or ARGV[2] == '1' then redis.call('EXPIRE', KEYS[1], ARGV[1]) end
return written
"""


@dataclass(frozen=True, slots=True)
class Latest:
    """One register at its latest time: `value` by `coding`, x 10^`scaler` in Blue Book `unit`."""

    logical_name: str
    attribute: int
    captured_at_us: int
    read_at_us: int
    coding: str
    value: int | None
    scaler: int
    unit: int
    extra: bytes | None = None
    stored: bool = False

    @property
    def field(self) -> str:
        return f"{self.logical_name}:{self.attribute}"


@dataclass(frozen=True, slots=True)
class Channel:
    """What names a profile's channel in the cache; `readings.layouts.channels` makes them."""

    logical_name: str
    attribute: int
    coding: str
    scaler: int
    unit: int


def key(meter_id: int) -> str:
    return f"lv:{meter_id}"


def from_registers(entry: RegisterEntry, *, stored: bool = False) -> list[Latest]:
    return [
        Latest(
            logical_name=reading.logical_name,
            attribute=reading.attribute,
            captured_at_us=reading.captured_at_us,
            read_at_us=entry.read_at_us,
            coding=reading.coding,
            value=reading.value,
            scaler=reading.scaler,
            unit=reading.unit,
            extra=reading.extra,
            stored=stored,
        )
        for reading in entry.values
    ]


def from_profile(
    entry: ProfileEntry, channels: Sequence[Channel], *, at_us: int | None = None, stored: bool = False
) -> list[Latest]:
    """The row of `at_us`, else the newest; cells that are null or fit no channel are left out."""
    if not entry.rows:
        return []
    if at_us is None:
        at_us = int(entry.captured_at.max())
    row = int((entry.captured_at == at_us).nonzero()[0][-1])
    return [
        Latest(
            logical_name=channel.logical_name,
            attribute=channel.attribute,
            captured_at_us=int(entry.captured_at[row]),
            read_at_us=entry.read_at_us,
            coding=channel.coding,
            value=int(entry.values[row, index]),
            scaler=channel.scaler,
            unit=channel.unit,
            stored=stored,
        )
        for index, channel in enumerate(channels)
        if index < entry.channels and entry.valid[row, index]
    ]


def pack(latest: Latest) -> bytes:
    header = _HEADER.pack(latest.captured_at_us, latest.read_at_us, latest.stored)
    body = (latest.coding, latest.value, latest.scaler, latest.unit, latest.extra)
    return header + msgspec.msgpack.encode(body)


def unpack(field: str, raw: bytes) -> Latest | None:
    """None for bytes that this version did not write: they count as a miss."""
    logical_name, _, attribute = field.rpartition(":")
    try:
        captured_at_us, read_at_us, stored = _HEADER.unpack_from(raw)
        coding, value, scaler, unit, extra = _body.decode(raw[_HEADER.size :])
        return Latest(
            logical_name=logical_name,
            attribute=int(attribute),
            captured_at_us=captured_at_us,
            read_at_us=read_at_us,
            coding=coding,
            value=value,
            scaler=scaler,
            unit=unit,
            extra=extra,
            stored=bool(stored),
        )
    except (struct.error, msgspec.DecodeError, ValueError):
        return None


def eval_args(
    meter_id: int, values: Iterable[Latest], *, ttl_s: int, full: bool = False
) -> tuple[str, int, str, list[bytes | str | int]]:
    """What `eval` of any client or pipeline takes: `pipe.eval(script, count, key, *args)`."""
    args: list[bytes | str | int] = [ttl_s, "1" if full else "0"]
    for latest in values:
        args += (latest.field, pack(latest))
    return SCRIPT, 1, key(meter_id), args


def queue_write(
    pipe: Any, meter_id: int, values: Iterable[Latest], *, ttl_s: int, full: bool = False
) -> None:
    """Put the write on a pipeline, sync or asyncio: both only queue here, the caller executes."""
    script, count, name, args = eval_args(meter_id, values, ttl_s=ttl_s, full=full)
    pipe.eval(script, count, name, *args)


def write(redis: Any, by_meter: Mapping[int, Iterable[Latest]], *, ttl_s: int, full: bool = False) -> None:
    """Write for many meters in one round trip (sync client)."""
    pipe = redis.pipeline(transaction=False)
    for meter_id, values in by_meter.items():
        queue_write(pipe, meter_id, values, ttl_s=ttl_s, full=full)
    pipe.execute()


def read(redis: Any, meter_id: int) -> tuple[list[Latest], bool]:
    """What the cache has, and whether that is all (else the store is to be asked)."""
    held = redis.hgetall(key(meter_id))
    full = held.pop(FULL.encode(), None) is not None
    values = [unpack(field.decode(), raw) for field, raw in held.items()]
    return [latest for latest in values if latest is not None], full and None not in values
