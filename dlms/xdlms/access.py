"""Selective access to a profile's buffer: by range and by entry.

Source: vectors range_descriptor and get_request_range_wildcard_weekday.
"""

from __future__ import annotations

from dataclasses import dataclass

from dlms import axdr
from dlms.axdr import Data
from dlms.enums import DataType
from dlms.errors import RemoteProtocolError
from dlms.xdlms.initiate import Cursor

BY_RANGE = 1
BY_ENTRY = 2


@dataclass(frozen=True, slots=True)
class SelectiveAccess:
    """An access selector with its parameters."""

    selector: int
    parameters: Data

    def encode(self) -> bytes:
        return bytes((self.selector,)) + axdr.encode(self.parameters)

    @classmethod
    def read(cls, cursor: Cursor) -> SelectiveAccess:
        selector = cursor.octet()
        parameters, cursor.offset = axdr.decode(cursor.buf, cursor.offset)
        return cls(selector, parameters)


@dataclass(frozen=True, slots=True)
class CaptureObject:
    """A column of a profile: an attribute of an object, or element `data_index` of it (0: all of it)."""

    class_id: int
    logical_name: bytes
    attribute: int
    data_index: int = 0

    def to_data(self) -> Data:
        return axdr.structure(
            axdr.u16(self.class_id),
            axdr.octets(self.logical_name),
            axdr.i8(self.attribute),
            axdr.u16(self.data_index),
        )

    @classmethod
    def from_data(cls, data: Data) -> CaptureObject:
        """Raises RemoteProtocolError (CAPTURE_OBJECT_INVALID)."""
        values = [item.value for item in data.value] if data.type == DataType.STRUCTURE else []
        match values:
            case [int(class_id), bytes(logical_name), int(attribute), int(data_index)] if (
                len(logical_name) == 6
            ):
                return cls(class_id, logical_name, attribute, data_index)
        raise RemoteProtocolError("not a capture object definition", code="CAPTURE_OBJECT_INVALID")


@dataclass(frozen=True, slots=True)
class Range:
    """Rows whose `restricting_object` lies in [start, end]; for a clock both are 12-octet date-times."""

    restricting_object: CaptureObject
    start: Data
    end: Data
    selected: tuple[CaptureObject, ...] = ()

    def to_access(self) -> SelectiveAccess:
        selected = axdr.array(*(item.to_data() for item in self.selected))
        parameters = axdr.structure(self.restricting_object.to_data(), self.start, self.end, selected)
        return SelectiveAccess(BY_RANGE, parameters)

    @classmethod
    def from_access(cls, access: SelectiveAccess) -> Range:
        """Raises RemoteProtocolError (SELECTIVE_ACCESS_INVALID)."""
        items: tuple[Data, ...] = (
            access.parameters.value if access.parameters.type == DataType.STRUCTURE else ()
        )
        if access.selector != BY_RANGE or len(items) != 4 or items[3].type != DataType.ARRAY:
            raise RemoteProtocolError("not a range descriptor", code="SELECTIVE_ACCESS_INVALID")
        selected = tuple(CaptureObject.from_data(item) for item in items[3].value)
        return cls(CaptureObject.from_data(items[0]), items[1], items[2], selected)


@dataclass(frozen=True, slots=True)
class Entries:
    """Rows and columns by number, from 1; 0 as an upper end: up to the last."""

    from_entry: int
    to_entry: int
    from_column: int = 1
    to_column: int = 0

    def to_access(self) -> SelectiveAccess:
        rows = axdr.u32(self.from_entry), axdr.u32(self.to_entry)
        return SelectiveAccess(
            BY_ENTRY, axdr.structure(*rows, axdr.u16(self.from_column), axdr.u16(self.to_column))
        )

    @classmethod
    def from_access(cls, access: SelectiveAccess) -> Entries:
        """Raises RemoteProtocolError (SELECTIVE_ACCESS_INVALID)."""
        items: tuple[Data, ...] = (
            access.parameters.value if access.parameters.type == DataType.STRUCTURE else ()
        )
        match [item.value for item in items]:
            case [int(a), int(b), int(c), int(d)] if access.selector == BY_ENTRY:
                return cls(a, b, c, d)
        raise RemoteProtocolError("not an entry descriptor", code="SELECTIVE_ACCESS_INVALID")
