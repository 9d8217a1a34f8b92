"""ACTION: normal. Source: tests/vectors/xdlms.toml. Parameters are raw A-XDR octets."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from dlms.enums import ApduTag
from dlms.errors import RemoteProtocolError
from dlms.xdlms.initiate import Cursor


@dataclass(frozen=True, slots=True)
class ActionRequestNormal:
    """Invokes one method, with `parameters` (raw A-XDR) or without."""

    TAG: ClassVar[int] = ApduTag.ACTION_REQUEST

    invoke: int
    class_id: int
    logical_name: bytes
    method: int
    parameters: bytes | None = field(default=None, repr=False)

    def encode(self) -> bytes:
        head = bytes((self.TAG, 1, self.invoke)) + self.class_id.to_bytes(2)
        parameters = b"\x00" if self.parameters is None else b"\x01" + self.parameters
        return head + self.logical_name + self.method.to_bytes(1) + parameters


@dataclass(frozen=True, slots=True)
class ActionResponseNormal:
    """The action-result, and what was returned: `data` (raw A-XDR), a data-access-result, or nothing."""

    TAG: ClassVar[int] = ApduTag.ACTION_RESPONSE

    invoke: int
    action_result: int
    data: bytes | None = None
    data_access_result: int | None = None

    def encode(self) -> bytes:
        head = bytes((self.TAG, 1, self.invoke, self.action_result))
        if self.data is not None:
            return head + b"\x01\x00" + self.data
        if self.data_access_result is not None:
            return head + bytes((1, 1, self.data_access_result))
        return head + b"\x00"


def decode_action_request(apdu: bytes) -> ActionRequestNormal:
    cursor = Cursor(apdu, 1)
    kind, invoke = cursor.octet(), cursor.octet()
    if kind != 1:
        raise RemoteProtocolError(f"action-request type {kind}", code="APDU_TYPE")
    class_id, logical_name, method = cursor.number(2), cursor.take(6), cursor.octet()
    parameters: bytes | None = None
    if cursor.flag():
        if cursor.at_end:
            raise RemoteProtocolError("parameters announced, none follow", code="APDU_TRUNCATED")
        parameters = cursor.rest()
    cursor.finish()
    return ActionRequestNormal(invoke, class_id, logical_name, method, parameters)


def decode_action_response(apdu: bytes) -> ActionResponseNormal:
    cursor = Cursor(apdu, 1)
    kind, invoke = cursor.octet(), cursor.octet()
    if kind != 1:
        raise RemoteProtocolError(f"action-response type {kind}", code="APDU_TYPE")
    result = cursor.octet()
    # A meter that leaves out the presence octet of the return parameters returned none: nothing else can be
    # meant.
    if cursor.at_end or not cursor.flag():
        cursor.finish()
        return ActionResponseNormal(invoke, result)
    if cursor.flag():
        response = ActionResponseNormal(invoke, result, None, cursor.octet())
        cursor.finish()
        return response
    if cursor.at_end:
        raise RemoteProtocolError("return parameters announced, none follow", code="APDU_TRUNCATED")
    return ActionResponseNormal(invoke, result, cursor.rest())
