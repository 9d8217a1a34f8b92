"""How a column's values become 64-bit integers, exactly and back. Owns the codings; knows no buffer and no
table.
"""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum
from struct import pack, unpack

from dlms.axdr import BitString, Data
from dlms.enums import DataType

_INT64_MAX = (1 << 63) - 1
_TWO_64 = 1 << 64
#: A bit-string and the marker bit before it share 64 bits.
MAX_BITS = 63

#: Types whose value is a number; the delta types are not (they add to the row before), they go to `extra`.
NUMBER_TYPES = frozenset(
    {
        DataType.BOOLEAN,
        DataType.DOUBLE_LONG,
        DataType.DOUBLE_LONG_UNSIGNED,
        DataType.BCD,
        DataType.INTEGER,
        DataType.LONG,
        DataType.UNSIGNED,
        DataType.LONG_UNSIGNED,
        DataType.LONG64,
        DataType.LONG64_UNSIGNED,
        DataType.ENUM,
    }
)


class Coding(StrEnum):
    """int: integers, enum, boolean, bcd. u64: two's complement. f32, f64: raw IEEE bits. bits: bit-string up
    to 63 bits after a leading 1 that keeps its length. extra: everything else, as A-XDR beside the row.
    """

    INT = "int"
    U64 = "u64"
    F32 = "f32"
    F64 = "f64"
    BITS = "bits"
    EXTRA = "extra"


def _signed(number: int) -> int:
    return number - _TWO_64 if number > _INT64_MAX else number


def coding_for(data: Data) -> Coding:
    """The coding that a column with such values needs; int for null-data, which says nothing."""
    if data.type == DataType.LONG64_UNSIGNED:
        return Coding.U64
    if data.type in NUMBER_TYPES or data.type == DataType.NULL_DATA:
        return Coding.INT
    if data.type == DataType.FLOAT32:
        return Coding.F32
    if data.type == DataType.FLOAT64:
        return Coding.F64
    if isinstance(data.value, BitString) and data.value.length <= MAX_BITS:
        return Coding.BITS
    return Coding.EXTRA


def encode_cell(coding: Coding, data: Data) -> int | None:
    """The 64-bit signed integer of a value; None when the value does not fit the coding."""
    kind = data.type
    if kind in NUMBER_TYPES:
        number = int(data.value)
        if coding is Coding.INT:
            return number if number <= _INT64_MAX else None
        return _signed(number) if coding is Coding.U64 and number >= 0 else None
    if kind == DataType.FLOAT32 and coding is Coding.F32:
        return int.from_bytes(data.value.octets)
    if kind == DataType.FLOAT64 and coding is Coding.F64:
        return int.from_bytes(data.value.octets, signed=True)
    if kind == DataType.BIT_STRING and coding is Coding.BITS and data.value.length <= MAX_BITS:
        return _signed(1 << data.value.length | data.value.as_int)
    return None


def encode_status(data: Data) -> int | None:
    """The status word of a value: a number, or the bits of a bit-string as a number, the last bit lowest."""
    if data.type == DataType.BIT_STRING:
        return int(data.value.as_int) if data.value.length <= MAX_BITS else None
    return encode_cell(Coding.INT, data)


def value_of(coding: Coding, number: int) -> int | Decimal | str:
    """What a stored integer means: int; for floats the exact Decimal ("NaN", "Infinity" as text); bits as
    "0101".
    """
    if coding is Coding.U64:
        return number % _TWO_64
    if coding is Coding.F32 or coding is Coding.F64:
        wide = coding is Coding.F64
        octets = pack(">q", number) if wide else pack(">I", number)
        decimal = Decimal(unpack(">d" if wide else ">f", octets)[0])
        return decimal if decimal.is_finite() else str(decimal)
    if coding is Coding.BITS:
        return f"{number % _TWO_64:b}"[1:]
    return number
