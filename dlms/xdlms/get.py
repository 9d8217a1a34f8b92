"""GET: normal and with block transfer. Results stay raw A-XDR octets: a profile is decoded once, by its
reader.

Source: tests/vectors/xdlms.toml. `invoke` is the whole invoke-id-and-priority octet.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from dlms.axdr import write_length
from dlms.enums import ApduTag
from dlms.errors import RemoteProtocolError
from dlms.xdlms.access import SelectiveAccess
from dlms.xdlms.initiate import Cursor


@dataclass(frozen=True, slots=True)
class GetRequestNormal:
    """One attribute, whole or the part that `access` selects."""

    TAG: ClassVar[int] = ApduTag.GET_REQUEST

    invoke: int
    class_id: int
    logical_name: bytes
    attribute: int
    access: SelectiveAccess | None = None

    def encode(self) -> bytes:
        head = bytes((self.TAG, 1, self.invoke)) + self.class_id.to_bytes(2)
        access = b"\x00" if self.access is None else b"\x01" + self.access.encode()
        return head + self.logical_name + self.attribute.to_bytes(1) + access


@dataclass(frozen=True, slots=True)
class GetRequestNext:
    """Acknowledges block `block_number` and asks for the one after it."""

    TAG: ClassVar[int] = ApduTag.GET_REQUEST

    invoke: int
    block_number: int

    def encode(self) -> bytes:
        return bytes((self.TAG, 2, self.invoke)) + self.block_number.to_bytes(4)


@dataclass(frozen=True, slots=True)
class GetResponseNormal:
    """`data` (raw A-XDR), or None and the data-access-result."""

    TAG: ClassVar[int] = ApduTag.GET_RESPONSE

    invoke: int
    data: bytes | None
    data_access_result: int = 0

    def encode(self) -> bytes:
        head = bytes((self.TAG, 1, self.invoke))
        return head + (bytes((1, self.data_access_result)) if self.data is None else b"\x00" + self.data)


@dataclass(frozen=True, slots=True)
class GetResponseBlock:
    """One block of a long result: `raw_data`, or None and the data-access-result."""

    TAG: ClassVar[int] = ApduTag.GET_RESPONSE

    invoke: int
    last_block: bool
    block_number: int
    raw_data: bytes | None
    data_access_result: int = 0

    def encode(self) -> bytes:
        head = bytes((self.TAG, 2, self.invoke, self.last_block)) + self.block_number.to_bytes(4)
        if self.raw_data is None:
            return head + bytes((1, self.data_access_result))
        return head + b"\x00" + write_length(len(self.raw_data)) + self.raw_data


def decode_get_request(apdu: bytes) -> GetRequestNormal | GetRequestNext:
    cursor = Cursor(apdu, 1)
    kind, invoke = cursor.octet(), cursor.octet()
    request: GetRequestNormal | GetRequestNext
    if kind == 1:
        class_id, logical_name, attribute = cursor.number(2), cursor.take(6), cursor.octet()
        access = SelectiveAccess.read(cursor) if cursor.flag() else None
        request = GetRequestNormal(invoke, class_id, logical_name, attribute, access)
    elif kind == 2:
        request = GetRequestNext(invoke, cursor.number(4))
    else:
        raise RemoteProtocolError(f"get-request type {kind}", code="APDU_TYPE")
    cursor.finish()
    return request


def decode_get_response(apdu: bytes) -> GetResponseNormal | GetResponseBlock:
    cursor = Cursor(apdu, 1)
    kind, invoke = cursor.octet(), cursor.octet()
    if kind == 1:
        if cursor.flag():
            result = cursor.octet()
            cursor.finish()
            return GetResponseNormal(invoke, None, result)
        if cursor.at_end:
            raise RemoteProtocolError("a result without data", code="APDU_TRUNCATED")
        return GetResponseNormal(invoke, cursor.rest())
    if kind != 2:
        raise RemoteProtocolError(f"get-response type {kind}", code="APDU_TYPE")
    last_block, block_number = cursor.flag(), cursor.number(4)
    block: GetResponseBlock
    if cursor.flag():
        block = GetResponseBlock(invoke, last_block, block_number, None, cursor.octet())
    else:
        block = GetResponseBlock(invoke, last_block, block_number, cursor.octet_string())
    cursor.finish()
    return block
