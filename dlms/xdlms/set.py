"""SET: normal. Source: tests/vectors/xdlms.toml. Values are raw A-XDR octets."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from dlms.enums import ApduTag
from dlms.errors import RemoteProtocolError
from dlms.xdlms.access import SelectiveAccess
from dlms.xdlms.initiate import Cursor


@dataclass(frozen=True, slots=True)
class SetRequestNormal:
    """One attribute gets `data` (raw A-XDR)."""

    TAG: ClassVar[int] = ApduTag.SET_REQUEST

    invoke: int
    class_id: int
    logical_name: bytes
    attribute: int
    data: bytes = field(repr=False)
    access: SelectiveAccess | None = None

    def encode(self) -> bytes:
        head = bytes((self.TAG, 1, self.invoke)) + self.class_id.to_bytes(2)
        access = b"\x00" if self.access is None else b"\x01" + self.access.encode()
        return head + self.logical_name + self.attribute.to_bytes(1) + access + self.data


@dataclass(frozen=True, slots=True)
class SetResponseNormal:
    """The data-access-result; 0 is success."""

    TAG: ClassVar[int] = ApduTag.SET_RESPONSE

    invoke: int
    data_access_result: int

    def encode(self) -> bytes:
        return bytes((self.TAG, 1, self.invoke, self.data_access_result))


def decode_set_request(apdu: bytes) -> SetRequestNormal:
    cursor = Cursor(apdu, 1)
    kind, invoke = cursor.octet(), cursor.octet()
    if kind != 1:
        raise RemoteProtocolError(f"set-request type {kind}", code="APDU_TYPE")
    class_id, logical_name, attribute = cursor.number(2), cursor.take(6), cursor.octet()
    access = SelectiveAccess.read(cursor) if cursor.flag() else None
    if cursor.at_end:
        raise RemoteProtocolError("a set-request without data", code="APDU_TRUNCATED")
    return SetRequestNormal(invoke, class_id, logical_name, attribute, cursor.rest(), access)


def decode_set_response(apdu: bytes) -> SetResponseNormal:
    cursor = Cursor(apdu, 1)
    kind, invoke = cursor.octet(), cursor.octet()
    if kind != 1:
        raise RemoteProtocolError(f"set-response type {kind}", code="APDU_TYPE")
    response = SetResponseNormal(invoke, cursor.octet())
    cursor.finish()
    return response
