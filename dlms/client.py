"""Dialogs of a client as generators over `dlms.effects`: associate, get, set, action, read_profile, release.

The same dialog runs under asyncio, in a plain loop and against a peer in memory. Knows no socket and no
clock.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from dlms import axdr
from dlms.axdr import Data
from dlms.clock import format_datetime
from dlms.connection import Connection, State, fail
from dlms.effects import Dialog, Receive, Send
from dlms.enums import AcseServiceUserDiagnostic, ActionResult, AssociationResult, DataAccessResult, DataType
from dlms.errors import AssociationRejected, LocalProtocolError, RemoteProtocolError, ServiceError
from dlms.profile import Layout, Table, decode_buffer
from dlms.xdlms.access import CaptureObject, Range, SelectiveAccess
from dlms.xdlms.action import ActionRequestNormal, decode_action_response
from dlms.xdlms.get import GetRequestNext, GetRequestNormal, GetResponseNormal, decode_get_response
from dlms.xdlms.set import SetRequestNormal, decode_set_response

R = TypeVar("R")

#: A ceiling for one long result: 40 days of quarter hours with 25 columns are about 0.6 MB.
MAX_RESULT_BYTES = 4 * 1024 * 1024
#: Blocks of one long result; at the smallest PDU in use (some 60 octets of data) this is above the ceiling.
MAX_BLOCKS = 100_000
#: Pushes that may come between a request and its reply.
MAX_UNSOLICITED = 8

#: From the tag of a GET, SET or ACTION request to that of its response.
_RESPONSE = 4
CURRENT_ASSOCIATION = bytes((0, 0, 40, 0, 0, 255))
CLOCK = CaptureObject(8, bytes((0, 0, 1, 0, 0, 255)), 2)
_REPLY_TO_HLS_AUTHENTICATION = 1
_PROFILE_BUFFER = 2
_PROFILE_CAPTURE_OBJECTS = 3
#: class_id -> attribute of scaler_unit: register, extended register, demand register.
_SCALER_UNIT = {3: 3, 4: 3, 5: 4}


@dataclass(frozen=True, slots=True)
class AssociationInfo:
    """What the association agreed to. `server_max_receive_pdu_size` 0: no limit."""

    meter_system_title: bytes | None
    conformance: int
    server_max_receive_pdu_size: int


@dataclass(frozen=True, slots=True)
class ScalerUnit:
    """value = integer x 10^scaler, in the unit of the Blue Book's table."""

    scaler: int
    unit: int


def _receive(conn: Connection) -> Dialog[bytes]:
    frame = yield Receive(conn.settings.response_timeout_s)
    if frame is None:
        raise LocalProtocolError("the carrier answered Receive with nothing", code="CARRIER")
    return frame


def _call(conn: Connection, apdu: bytes) -> Dialog[bytes]:
    """One request and its plain reply; pushes in between are kept by the connection."""
    yield Send(conn.request(apdu))
    for _ in range(MAX_UNSOLICITED + 1):
        reply = conn.reply((yield from _receive(conn)))
        if reply is not None:
            if reply[0] != apdu[0] + _RESPONSE:
                fail(conn, f"tag {reply[0]:#04x} answers {apdu[0]:#04x}", "REPLY_UNEXPECTED")
            return reply
    fail(conn, "pushes instead of a reply", "REPLY_MISSING")


def associate(conn: Connection) -> Dialog[AssociationInfo]:
    """AARQ/AARE, and passes 3 and 4 where the authentication is HLS-GMAC.

    Raises AssociationRejected, SecurityError, InvocationCounterError, RemoteProtocolError.
    """
    yield Send(conn.open())
    for _ in range(MAX_UNSOLICITED + 1):
        if conn.accept((yield from _receive(conn))) is not None:
            break
    else:
        fail(conn, "pushes instead of an AARE", "REPLY_MISSING")
    if conn.state is State.AUTHENTICATING:
        yield from _authenticate(conn)
    agreed = conn.negotiated
    assert agreed is not None
    return AssociationInfo(conn.meter_system_title, agreed.conformance, agreed.server_max_receive_pdu_size)


def _authenticate(conn: Connection) -> Dialog[None]:
    """Passes 3 and 4. A refusal of pass 3 is an authentication failure."""
    answer = axdr.octets(conn.challenge_answer())
    try:
        returned = yield from action(conn, 15, CURRENT_ASSOCIATION, _REPLY_TO_HLS_AUTHENTICATION, answer)
    except ServiceError as error:
        conn.state = State.DEAD
        diagnostic = AcseServiceUserDiagnostic.AUTHENTICATION_FAILURE
        raise AssociationRejected(
            AssociationResult.REJECTED_PERMANENT,
            diagnostic,
            f"pass 3 was refused: {error}",
            code="ASSOCIATION_AUTHENTICATION_FAILURE",
        ) from error
    if returned is None or returned.type != DataType.OCTET_STRING:
        fail(conn, "pass 3 was answered without the meter's proof", "HLS_ANSWER_MISSING")
    conn.verify_answer(returned.value)


def release(conn: Connection) -> Dialog[None]:
    """RLRQ/RLRE."""
    yield Send(conn.close())
    for _ in range(MAX_UNSOLICITED + 1):
        if conn.closed((yield from _receive(conn))):
            return
    fail(conn, "pushes instead of an RLRE", "REPLY_MISSING")


def get_raw(
    conn: Connection,
    class_id: int,
    logical_name: bytes,
    attribute: int,
    access: SelectiveAccess | None = None,
) -> Dialog[bytes]:
    """An attribute as raw A-XDR octets, by blocks when the meter sends blocks.

    Raises ServiceError (DATA_ACCESS_...) for a data-access-result.
    """
    invoke = conn.next_invoke()
    request = GetRequestNormal(invoke, class_id, logical_name, attribute, access).encode()
    blocks: list[bytes] = []
    size, expected = 0, 0
    for _ in range(MAX_BLOCKS):
        response = _decoded(conn, decode_get_response, (yield from _call(conn, request)))
        content = response.data if isinstance(response, GetResponseNormal) else response.raw_data
        if content is None:
            raise data_access_error(response.data_access_result)
        _check_invoke(conn, response.invoke, invoke)
        if isinstance(response, GetResponseNormal):
            if blocks:
                fail(conn, "a whole result after a block", "BLOCK_SEQUENCE")
            return content
        number = response.block_number
        # Numbers begin at 1; a meter that begins at 0 cannot be misunderstood as long as they rise by one.
        if number != expected and not (number == 1 and not blocks):
            fail(conn, f"block {number}, {expected} expected", "BLOCK_SEQUENCE")
        blocks.append(content)
        size += len(content)
        if size > MAX_RESULT_BYTES:
            fail(conn, f"more than {MAX_RESULT_BYTES} octets", "RESULT_TOO_LARGE")
        if response.last_block:
            return b"".join(blocks)
        expected = number + 1
        request = GetRequestNext(invoke, number).encode()
    fail(conn, f"more than {MAX_BLOCKS} blocks", "RESULT_TOO_LARGE")


def get(
    conn: Connection,
    class_id: int,
    logical_name: bytes,
    attribute: int,
    access: SelectiveAccess | None = None,
) -> Dialog[Data]:
    """An attribute as a typed value. Raises as `get_raw`, and RemoteProtocolError (AXDR_...)."""
    return axdr.decode_all((yield from get_raw(conn, class_id, logical_name, attribute, access)))


def set_attribute(
    conn: Connection, class_id: int, logical_name: bytes, attribute: int, value: Data
) -> Dialog[None]:
    """Write an attribute. Raises ServiceError (DATA_ACCESS_...)."""
    invoke = conn.next_invoke()
    request = SetRequestNormal(invoke, class_id, logical_name, attribute, axdr.encode(value))
    response = _decoded(conn, decode_set_response, (yield from _call(conn, request.encode())))
    if response.data_access_result != DataAccessResult.SUCCESS:
        raise data_access_error(response.data_access_result)
    _check_invoke(conn, response.invoke, invoke)


def action(
    conn: Connection, class_id: int, logical_name: bytes, method: int, parameter: Data | None = None
) -> Dialog[Data | None]:
    """Invoke a method; what it returned, or None. Raises ServiceError (ACTION_..., DATA_ACCESS_...)."""
    invoke = conn.next_invoke()
    parameters = None if parameter is None else axdr.encode(parameter)
    request = ActionRequestNormal(invoke, class_id, logical_name, method, parameters)
    response = _decoded(conn, decode_action_response, (yield from _call(conn, request.encode())))
    if response.action_result != ActionResult.SUCCESS:
        raise _service_error("ACTION", ActionResult, response.action_result)
    _check_invoke(conn, response.invoke, invoke)
    if response.data_access_result:
        raise data_access_error(response.data_access_result)
    return None if response.data is None else axdr.decode_all(response.data)


def range_access(layout: Layout, start: datetime, end: datetime) -> SelectiveAccess:
    """Selective access by range, from `start` to `end`, both included."""
    clock = layout.clock_object
    restricting = CLOCK if clock is None or clock.class_id != CLOCK.class_id else clock
    bounds = [
        axdr.octets(format_datetime(moment, layout.zone, inverted=layout.deviation_inverted))
        for moment in (start, end)
    ]
    return Range(restricting, bounds[0], bounds[1]).to_access()


def read_profile(conn: Connection, layout: Layout, start: datetime, end: datetime) -> Dialog[Table]:
    """The rows of a profile from `start` to `end`, both included, decoded by `layout`."""
    access = range_access(layout, start, end)
    raw = yield from get_raw(conn, layout.class_id, layout.logical_name, _PROFILE_BUFFER, access)
    return decode_buffer(raw, layout)


def read_capture_objects(conn: Connection, logical_name: bytes) -> Dialog[tuple[CaptureObject, ...]]:
    """The columns of a profile, as the meter says."""
    data = yield from get(conn, 7, logical_name, _PROFILE_CAPTURE_OBJECTS)
    if data.type != DataType.ARRAY:
        raise RemoteProtocolError(f"capture_objects of type {data.type.name}", code="CAPTURE_OBJECT_INVALID")
    return tuple(CaptureObject.from_data(item) for item in data.value)


def read_scaler_unit(conn: Connection, class_id: int, logical_name: bytes) -> Dialog[ScalerUnit]:
    """Scaler and unit of a register, an extended register or a demand register."""
    attribute = _SCALER_UNIT.get(class_id)
    if attribute is None:
        raise LocalProtocolError(f"class {class_id} has no scaler_unit", code="SCALER_UNIT")
    data = yield from get(conn, class_id, logical_name, attribute)
    values = [item.value for item in data.value] if data.type == DataType.STRUCTURE else []
    match values:
        case [int(scaler), int(unit)]:
            return ScalerUnit(scaler, unit)
    raise RemoteProtocolError("not a scaler_unit", code="SCALER_UNIT_INVALID")


def _decoded(conn: Connection, decoder: Callable[[bytes], R], apdu: bytes) -> R:
    """The APDU; one that cannot be read leaves the connection dead."""
    try:
        return decoder(apdu)
    except RemoteProtocolError:
        conn.state = State.DEAD
        raise


def _check_invoke(conn: Connection, received: int, sent: int) -> None:
    """Of results only: gurux-dlms' server gives refusals an id of its own, and a refusal carries no data."""
    if received & 0x0F != sent & 0x0F:
        fail(conn, f"invoke id {received & 0x0F}, {sent & 0x0F} asked for", "INVOKE_ID_MISMATCH")


def data_access_error(result: int) -> ServiceError:
    """The error of a data-access-result: DATA_ACCESS_SCOPE_OF_ACCESS_VIOLATED, ..."""
    return _service_error("DATA_ACCESS", DataAccessResult, result)


def _service_error(
    prefix: str, codes: type[DataAccessResult] | type[ActionResult], result: int
) -> ServiceError:
    try:
        name = codes(result).name
    except ValueError:
        name = "RESULT_UNKNOWN"
    error = ServiceError(result, f"result {result}", code=f"{prefix}_{name}")
    error.retryable = result == DataAccessResult.TEMPORARY_FAILURE
    return error


__all__ = [
    "AssociationInfo",
    "CaptureObject",
    "ScalerUnit",
    "action",
    "associate",
    "data_access_error",
    "get",
    "get_raw",
    "range_access",
    "read_capture_objects",
    "read_profile",
    "read_scaler_unit",
    "release",
    "set_attribute",
]
