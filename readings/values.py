"""From a stored number to what a reader sees: exact decimals as text, by the coding of the column.

Owns the way back from the codings of `dlms.profile`: int, u64 (two's complement in a signed 64-bit column),
f32 and f64 (raw IEEE 754 bits), bits (bit-string under a marker bit) and extra (A-XDR of whatever fits none
of them). Value = integer x 10^scaler, done on digits: nothing passes through a float that was none.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final

from dlms import axdr
from dlms.enums import DataType
from dlms.errors import DlmsError
from dlms.profile import unpack_extra

_MASK64: Final = (1 << 64) - 1

#: a value as JSON has it: text for numbers and bits, {"type", "value"} for the rest, None for null-data
JsonValue = str | dict[str, Any] | None


def scaled(number: int, scaler: int) -> str:
    """`number` x 10^`scaler`: (12345, -1) -> "1234.5", (5, 3) -> "5000", (-5, -2) -> "-0.05"."""
    if scaler >= 0:
        return str(number * 10**scaler)
    digits = str(abs(number)).rjust(1 - scaler, "0")
    return f"{'-' if number < 0 else ''}{digits[:scaler]}.{digits[scaler:]}"


def decimal_text(value: float, scaler: int = 0) -> str:
    """The exact decimal expansion of a binary fraction x 10^`scaler`; "NaN", "Infinity", "-Infinity"."""
    exact = Decimal(value)
    if not exact.is_finite():
        return "NaN" if exact.is_nan() else str(exact)
    sign, digits, exponent = exact.as_tuple()
    assert isinstance(exponent, int)
    return format(Decimal((sign, digits, exponent + scaler)), "f")


def float32(raw: int) -> float:
    return float(struct.unpack("<f", (raw & 0xFFFFFFFF).to_bytes(4, "little"))[0])


def float64(raw: int) -> float:
    return float(struct.unpack("<d", (raw & _MASK64).to_bytes(8, "little"))[0])


def bit_text(raw: int) -> str:
    """The bits after the marker: 0b1_0101 -> "0101"; 63 bits and the marker take the sign, too."""
    return f"{raw & _MASK64:b}"[1:]


@lru_cache(maxsize=1024)
def formatter(coding: str, scaler: int) -> Callable[[int], str]:
    """How the cells of a column with this coding and scaler become text."""
    if coding == "u64":
        return lambda raw: scaled(raw & _MASK64, scaler)
    if coding == "f32":
        return lambda raw: decimal_text(float32(raw), scaler)
    if coding == "f64":
        return lambda raw: decimal_text(float64(raw), scaler)
    if coding == "bits":
        return bit_text
    if scaler == 0:
        return str
    return lambda raw: scaled(raw, scaler)


def value_json(coding: str, value: int | None, scaler: int, extra: bytes | None) -> JsonValue:
    """One register's value: the number by its coding, or the typed form of the datum in `extra`."""
    if value is not None:
        return formatter(coding, scaler)(value)
    if not extra:
        return None
    try:
        return typed(axdr.decode_all(extra))
    except DlmsError:
        return {"type": "undecoded", "value": extra.hex()}


def extra_cells(extra: bytes) -> dict[int, JsonValue]:
    """Cells of a row that fit no column, by channel number (`dlms.profile.STATUS_INDEX` is the status)."""
    try:
        return {number: typed(data) for number, data in unpack_extra(extra).items()}
    except DlmsError:
        return {}


def typed(data: axdr.Data) -> dict[str, Any]:
    """{"type": name as the books spell it, "value": ...}. Numbers are text and not scaled; octets are hex."""
    return {"type": data.type.name.lower().replace("_", "-"), "value": _plain(data)}


def _plain(data: axdr.Data) -> Any:
    value = data.value
    if isinstance(value, axdr.Float):
        return decimal_text(value.value)
    if isinstance(value, axdr.BitString):
        return value.text
    if isinstance(value, axdr.CompactArray):
        return [typed(element) for element in value.elements]
    if data.type in (DataType.ARRAY, DataType.STRUCTURE):
        return [typed(element) for element in value]
    if isinstance(value, bytes):
        return value.hex()
    if value is None or isinstance(value, bool | str):
        return value
    return str(value)
