"""A-XDR of COSEM Data: octets to typed values and back. Owns the types' coding and its limits; knows no APDU.

A value's meaning (a clock, a register) is the reader's business: date-time, date and time keep their raw
octets. Hostile octets raise RemoteProtocolError only: depth, element count and length have ceilings.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from struct import Struct
from struct import error as struct_error
from typing import Any, Never

from dlms.enums import DataType
from dlms.errors import LocalProtocolError, RemoteProtocolError

MAX_DEPTH = 16
#: A year of quarter hours with 25 columns stays below it; compact arrays may announce more than they carry.
MAX_ELEMENTS = 1_000_000

Buffer = bytes | memoryview


@dataclass(frozen=True, slots=True)
class BitString:
    """`length` bits, the first in the highest bit of the first octet; unused bits are kept as they came."""

    length: int
    octets: bytes

    @classmethod
    def from_text(cls, text: str) -> BitString:
        """From `"0101"`."""
        count = (len(text) + 7) // 8
        return cls(len(text), int(text.ljust(count * 8, "0") or "0", 2).to_bytes(count))

    @property
    def text(self) -> str:
        """`"0101"`."""
        return "".join(f"{octet:08b}" for octet in self.octets)[: self.length]

    @property
    def as_int(self) -> int:
        """The bits as a number, the last bit lowest."""
        return int.from_bytes(self.octets) >> (len(self.octets) * 8 - self.length)


@dataclass(frozen=True, slots=True)
class Float:
    """IEEE 754 in its 4 or 8 octets: equality is that of the octets, so a NaN keeps its payload."""

    octets: bytes

    @property
    def value(self) -> float:
        return float((_FLOAT32 if len(self.octets) == 4 else _FLOAT64).unpack(self.octets)[0])


@dataclass(frozen=True, slots=True)
class TypeDescription:
    """What each element of a compact array is. An array has `count` and one inner, a structure its inners."""

    type: DataType
    count: int = 0
    inner: tuple[TypeDescription, ...] = ()


@dataclass(frozen=True, slots=True)
class CompactArray:
    """Elements of one description, coded without tags."""

    description: TypeDescription
    elements: tuple[Data, ...]


@dataclass(frozen=True, slots=True)
class Data:
    """One typed value.

    null-data, dont-care: None. boolean: bool. Numbers, enum, bcd (its octet): int. float32/64: Float.
    octet-string, date-time, date, time: bytes. visible-string: str, each octet one character. utf8-string:
    str (bytes where the octets are not UTF-8). bit-string: BitString. array, structure: tuple of Data.
    compact-array: CompactArray.
    """

    type: DataType
    value: Any


_FLOAT32 = Struct(">f")
_FLOAT64 = Struct(">d")
_NUMBERS: dict[int, Struct] = {
    DataType.DOUBLE_LONG: Struct(">i"),
    DataType.DOUBLE_LONG_UNSIGNED: Struct(">I"),
    DataType.BCD: Struct(">B"),
    DataType.INTEGER: Struct(">b"),
    DataType.LONG: Struct(">h"),
    DataType.UNSIGNED: Struct(">B"),
    DataType.LONG_UNSIGNED: Struct(">H"),
    DataType.LONG64: Struct(">q"),
    DataType.LONG64_UNSIGNED: Struct(">Q"),
    DataType.ENUM: Struct(">B"),
    DataType.DELTA_INTEGER: Struct(">b"),
    DataType.DELTA_LONG: Struct(">h"),
    DataType.DELTA_DOUBLE_LONG: Struct(">i"),
    DataType.DELTA_UNSIGNED: Struct(">B"),
    DataType.DELTA_LONG_UNSIGNED: Struct(">H"),
    DataType.DELTA_DOUBLE_LONG_UNSIGNED: Struct(">I"),
}
_RAW: dict[int, int] = {
    DataType.FLOAT32: 4,
    DataType.FLOAT64: 8,
    DataType.DATE_TIME: 12,
    DataType.DATE: 5,
    DataType.TIME: 4,
}
_FLOATS = frozenset({int(DataType.FLOAT32), int(DataType.FLOAT64)})
_NESTED = frozenset({int(DataType.ARRAY), int(DataType.STRUCTURE), int(DataType.COMPACT_ARRAY)})
_TYPES: dict[int, DataType] = {int(member): member for member in DataType}
_NULL = Data(DataType.NULL_DATA, None)


def _truncated(detail: str) -> Never:
    raise RemoteProtocolError(detail, code="AXDR_TRUNCATED")


def read_length(buf: Buffer, offset: int) -> tuple[int, int]:
    """A length (or count) at `offset`, and the offset after it."""
    try:
        first = buf[offset]
        if first < 0x80:
            return first, offset + 1
        count = first & 0x7F
        if not 1 <= count <= 4:
            raise RemoteProtocolError(f"length octet {first:#04x}", code="AXDR_LENGTH")
        end = offset + 1 + count
        if end > len(buf):
            _truncated(f"a length of {count} octets stops short")
        return int.from_bytes(buf[offset + 1 : end]), end
    except IndexError:
        _truncated("a length is missing")


def write_length(length: int) -> bytes:
    """The shortest coding of a length or count."""
    if length < 0x80:
        return bytes((length,))
    octets = length.to_bytes((length.bit_length() + 7) // 8)
    return bytes((0x80 | len(octets),)) + octets


class _Reader:
    """One decode: the buffer and what is left of the element budget."""

    __slots__ = ("budget", "buf")

    def __init__(self, buf: Buffer) -> None:
        self.buf = buf
        self.budget = MAX_ELEMENTS

    def spend(self, elements: int) -> None:
        self.budget -= elements
        if self.budget < 0:
            raise RemoteProtocolError(f"more than {MAX_ELEMENTS} elements", code="AXDR_TOO_MANY_ELEMENTS")

    def take(self, offset: int, size: int) -> bytes:
        end = offset + size
        if end > len(self.buf):
            _truncated(f"{size} octets expected, {len(self.buf) - offset} follow")
        return bytes(self.buf[offset:end])

    def tagged(self, offset: int, depth: int) -> tuple[Data, int]:
        if offset >= len(self.buf):
            _truncated("a type tag is missing")
        tag = self.buf[offset]
        if tag not in _NESTED:
            return self.content(tag, offset + 1)
        if tag == DataType.COMPACT_ARRAY:
            return self._compact_array(offset + 1, depth)
        return self._sequence(_TYPES[tag], offset + 1, depth)

    def _sequence(self, kind: DataType, offset: int, depth: int) -> tuple[Data, int]:
        if depth >= MAX_DEPTH:
            raise RemoteProtocolError(f"nested deeper than {MAX_DEPTH}", code="AXDR_DEPTH")
        count, offset = read_length(self.buf, offset)
        if count > len(self.buf) - offset:
            _truncated(f"{kind.name} announces {count} elements, {len(self.buf) - offset} octets follow")
        self.spend(count)
        items = []
        for _ in range(count):
            item, offset = self.tagged(offset, depth + 1)
            items.append(item)
        return Data(kind, tuple(items)), offset

    def content(self, tag: int, offset: int) -> tuple[Data, int]:
        """A value of a simple type without its tag."""
        number = _NUMBERS.get(tag)
        if number is not None:
            try:
                return Data(_TYPES[tag], number.unpack_from(self.buf, offset)[0]), offset + number.size
            except struct_error:
                _truncated(f"{_TYPES[tag].name} stops short")
        size = _RAW.get(tag)
        if size is not None:
            octets = self.take(offset, size)
            return Data(_TYPES[tag], Float(octets) if tag in _FLOATS else octets), offset + size
        if tag == DataType.NULL_DATA:
            return _NULL, offset
        if tag == DataType.BOOLEAN:
            return Data(DataType.BOOLEAN, self.take(offset, 1) != b"\x00"), offset + 1
        if tag == DataType.DONT_CARE:
            return Data(DataType.DONT_CARE, None), offset
        return self._string(tag, offset)

    def _string(self, tag: int, offset: int) -> tuple[Data, int]:
        if tag not in (
            DataType.OCTET_STRING,
            DataType.VISIBLE_STRING,
            DataType.UTF8_STRING,
            DataType.BIT_STRING,
        ):
            raise RemoteProtocolError(f"type tag {tag} cannot stand here", code="AXDR_TYPE")
        length, offset = read_length(self.buf, offset)
        size = (length + 7) // 8 if tag == DataType.BIT_STRING else length
        octets = self.take(offset, size)
        value: Any = octets
        if tag == DataType.VISIBLE_STRING:
            value = octets.decode("latin-1")
        elif tag == DataType.UTF8_STRING:
            try:
                value = octets.decode("utf-8")
            except UnicodeDecodeError:
                value = octets
        elif tag == DataType.BIT_STRING:
            value = BitString(length, octets)
        return Data(_TYPES[tag], value), offset + size

    def _compact_array(self, offset: int, depth: int) -> tuple[Data, int]:
        description, offset = self._description(offset, depth)
        size, offset = read_length(self.buf, offset)
        end = offset + size
        if end > len(self.buf):
            _truncated(f"compact-array announces {size} octets, {len(self.buf) - offset} follow")
        items = []
        inner = _Reader(self.buf[:end])
        inner.budget = self.budget
        while offset < end:
            inner.spend(1)
            start = offset
            item, offset = inner._described(description, offset)
            if offset == start:
                raise RemoteProtocolError("compact-array of elements without octets", code="AXDR_LENGTH")
            items.append(item)
        self.budget = inner.budget
        return Data(DataType.COMPACT_ARRAY, CompactArray(description, tuple(items))), offset

    def _description(self, offset: int, depth: int) -> tuple[TypeDescription, int]:
        if depth >= MAX_DEPTH:
            raise RemoteProtocolError(f"nested deeper than {MAX_DEPTH}", code="AXDR_DEPTH")
        tag = self.take(offset, 1)[0]
        offset += 1
        if tag == DataType.ARRAY:
            count = int.from_bytes(self.take(offset, 2))
            inner, offset = self._description(offset + 2, depth + 1)
            return TypeDescription(DataType.ARRAY, count, (inner,)), offset
        if tag == DataType.STRUCTURE:
            count, offset = read_length(self.buf, offset)
            if count > len(self.buf) - offset:
                _truncated(f"a description announces {count} elements")
            self.spend(count)
            inners = []
            for _ in range(count):
                inner, offset = self._description(offset, depth + 1)
                inners.append(inner)
            return TypeDescription(DataType.STRUCTURE, 0, tuple(inners)), offset
        if tag not in _TYPES or tag == DataType.COMPACT_ARRAY:
            raise RemoteProtocolError(f"type tag {tag} cannot stand here", code="AXDR_TYPE")
        return TypeDescription(_TYPES[tag]), offset

    def _described(self, description: TypeDescription, offset: int) -> tuple[Data, int]:
        kind = description.type
        if kind == DataType.ARRAY:
            parts = description.inner * description.count
        elif kind == DataType.STRUCTURE:
            parts = description.inner
        else:
            return self.content(kind, offset)
        self.spend(len(parts))
        items = []
        for part in parts:
            item, offset = self._described(part, offset)
            items.append(item)
        return Data(kind, tuple(items)), offset


def decode(buf: Buffer, offset: int = 0) -> tuple[Data, int]:
    """The value at `offset`, and the offset after it. Raises RemoteProtocolError (AXDR_...)."""
    return _Reader(buf).tagged(offset, 0)


def decode_all(buf: Buffer) -> Data:
    """The one value that `buf` is. Raises RemoteProtocolError, also when octets follow it."""
    data, end = _Reader(buf).tagged(0, 0)
    if end != len(buf):
        raise RemoteProtocolError(f"{len(buf) - end} octets after the value", code="AXDR_TRAILING")
    return data


def encode(data: Data) -> bytes:
    """A-XDR of the value. Raises LocalProtocolError when the value does not fit its type."""
    try:
        return _encode_tagged(data)
    except (struct_error, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise LocalProtocolError(f"{data.type!r}: {error}", code="AXDR_VALUE") from error


def _encode_tagged(data: Data) -> bytes:
    kind = data.type
    if kind in (DataType.ARRAY, DataType.STRUCTURE):
        return bytes((kind,)) + write_length(len(data.value)) + b"".join(map(_encode_tagged, data.value))
    if kind == DataType.COMPACT_ARRAY:
        array: CompactArray = data.value
        content = b"".join(_encode_content(element) for element in array.elements)
        return bytes((kind,)) + _encode_description(array.description) + write_length(len(content)) + content
    return bytes((kind,)) + _encode_content(data)


def _encode_content(data: Data) -> bytes:
    kind, value = data.type, data.value
    number = _NUMBERS.get(kind)
    if number is not None:
        packed: bytes = number.pack(value)
        return packed
    if kind in _RAW:
        raw = value.octets if isinstance(value, Float) else bytes(value)
        if len(raw) != _RAW[kind]:
            raise ValueError(f"{len(raw)} octets instead of {_RAW[kind]}")
        return raw
    if kind in (DataType.NULL_DATA, DataType.DONT_CARE):
        return b""
    if kind == DataType.BOOLEAN:
        return b"\x01" if value else b"\x00"
    return _encode_string(kind, value)


def _encode_string(kind: DataType, value: Any) -> bytes:
    if isinstance(value, BitString):
        if len(value.octets) != (value.length + 7) // 8:
            raise ValueError(f"{value.length} bits in {len(value.octets)} octets")
        return write_length(value.length) + value.octets
    if kind in (DataType.ARRAY, DataType.STRUCTURE):
        return b"".join(map(_encode_content, value))
    if isinstance(value, str):
        value = value.encode("latin-1" if kind == DataType.VISIBLE_STRING else "utf-8")
    return write_length(len(value)) + bytes(value)


def _encode_description(description: TypeDescription) -> bytes:
    inner = b"".join(map(_encode_description, description.inner))
    if description.type == DataType.ARRAY:
        return bytes((description.type,)) + description.count.to_bytes(2) + inner
    if description.type == DataType.STRUCTURE:
        return bytes((description.type,)) + write_length(len(description.inner)) + inner
    return bytes((description.type,))


def _maker(kind: DataType) -> Callable[[Any], Data]:
    def make(value: Any) -> Data:
        return Data(kind, value)

    return make


def null() -> Data:
    return _NULL


def array(*items: Data) -> Data:
    return Data(DataType.ARRAY, items)


def structure(*items: Data) -> Data:
    return Data(DataType.STRUCTURE, items)


def f32(value: float) -> Data:
    return Data(DataType.FLOAT32, Float(_FLOAT32.pack(value)))


def f64(value: float) -> Data:
    return Data(DataType.FLOAT64, Float(_FLOAT64.pack(value)))


def bits(text: str) -> Data:
    return Data(DataType.BIT_STRING, BitString.from_text(text))


boolean = _maker(DataType.BOOLEAN)
i8 = _maker(DataType.INTEGER)
i16 = _maker(DataType.LONG)
i32 = _maker(DataType.DOUBLE_LONG)
i64 = _maker(DataType.LONG64)
u8 = _maker(DataType.UNSIGNED)
u16 = _maker(DataType.LONG_UNSIGNED)
u32 = _maker(DataType.DOUBLE_LONG_UNSIGNED)
u64 = _maker(DataType.LONG64_UNSIGNED)
enum = _maker(DataType.ENUM)
bcd = _maker(DataType.BCD)
octets = _maker(DataType.OCTET_STRING)
text = _maker(DataType.VISIBLE_STRING)
utf8 = _maker(DataType.UTF8_STRING)
date_time = _maker(DataType.DATE_TIME)
