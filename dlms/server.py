"""The meter's side of the protocol, sans-IO. Owns associations, ciphering, block transfer, refusals.

What the objects are and hold is the device's business (`dlms.device`); frames and sockets are the carrier's.
One `MeterServer` serves one link; what must outlive a link (keys, counters) belongs to the device.
Source: the vectors of tests/vectors (AARE, exception-response, blocks, HLS-GMAC), and for what they leave
open, what gurux-dlms 1.0.203 as a client accepts (tests/interop).
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from dlms import axdr
from dlms.acse import Aare, Aarq, Rlre, Rlrq
from dlms.device import AccessRefusedError, ActionRefusedError, ClientAssociation, Device, Session
from dlms.enums import (
    AcseServiceUserDiagnostic,
    ActionResult,
    ApduTag,
    ApplicationContext,
    AssociationResult,
    Authentication,
    Conformance,
    DataAccessResult,
    DataType,
    ServiceErrorCode,
    StateError,
)
from dlms.errors import DlmsError, RemoteProtocolError, SecurityError
from dlms.security import AUTHENTICATED_ENCRYPTED, join, split, verify_gmac
from dlms.xdlms.action import ActionRequestNormal, ActionResponseNormal, decode_action_request
from dlms.xdlms.exception import ExceptionResponse
from dlms.xdlms.get import (
    GetRequestNext,
    GetRequestNormal,
    GetResponseBlock,
    GetResponseNormal,
    decode_get_request,
)
from dlms.xdlms.initiate import DLMS_VERSION, ConfirmedServiceError, InitiateRequest, InitiateResponse
from dlms.xdlms.set import SetRequestNormal, SetResponseNormal, decode_set_request

#: What this server does; a client gets of it what it proposes.
CONFORMANCE: Final = (
    Conformance.GET
    | Conformance.SET
    | Conformance.ACTION
    | Conformance.SELECTIVE_ACCESS
    | Conformance.BLOCK_TRANSFER_WITH_GET_OR_READ
)
#: In ciphered associations also general-glo-ciphering.
CIPHERED_CONFORMANCE: Final = CONFORMANCE | Conformance.GENERAL_PROTECTION
#: The current association, 0-0:40.0.0.255 (class 15), and its method reply_to_HLS_authentication.
ASSOCIATION_CLASS, ASSOCIATION_NAME, REPLY_TO_HLS = 15, bytes((0, 0, 40, 0, 0, 255)), 1
#: Ciphering and a block's head take up to 42 octets of it.
MIN_PDU_BYTES = 64
MAX_PDU_BYTES = 0xFFFF
#: A challenge has 8 to 64 octets; ours is twice the least.
CHALLENGE_OCTETS = 16
#: Around a plain APDU: tag, system title (9, general-glo-ciphering), length (3), security control,
#: counter (4), authentication tag (12).
_CIPHERING_OCTETS = 30
#: Of a get-response-with-datablock before its raw data: 9, and the data's length (3).
_BLOCK_HEAD_OCTETS = 12
_NORMAL_HEAD_OCTETS = 4
#: Bit of the invoke-id-and-priority octet: set in confirmed services, which get an answer.
_CONFIRMED = 0x40
#: InitiateError: service 1 (initiate), category 6 (initiate), value.
_INITIATE, _VERSION_TOO_LOW, _INCOMPATIBLE_CONFORMANCE, _PDU_TOO_SHORT = 1, 1, 2, 3

#: glo-request -> the plain request inside it, and the glo-response for its answer
_CIPHERED: Final = {
    ApduTag.GLO_GET_REQUEST: (ApduTag.GET_REQUEST, ApduTag.GLO_GET_RESPONSE),
    ApduTag.GLO_SET_REQUEST: (ApduTag.SET_REQUEST, ApduTag.GLO_SET_RESPONSE),
    ApduTag.GLO_ACTION_REQUEST: (ApduTag.ACTION_REQUEST, ApduTag.GLO_ACTION_RESPONSE),
}
_PLAIN: Final[tuple[ApduTag, ...]] = (ApduTag.GET_REQUEST, ApduTag.SET_REQUEST, ApduTag.ACTION_REQUEST)
_CIPHERED_TAGS: Final = (*_CIPHERED, ApduTag.GENERAL_GLO_CIPHERING)


class _State(Enum):
    PENDING = auto()  # AARE sent, the client has not answered the challenge
    ASSOCIATED = auto()


@dataclass(slots=True)
class _LongGet:
    """A result on its way in blocks; `sent` octets are out, in `block_number` blocks."""

    data: bytes
    sent: int = 0
    block_number: int = 0


@dataclass(slots=True)
class _Association:
    session: Session
    state: _State
    client_title: bytes = b""
    client_challenge: bytes = b""
    server_challenge: bytes = b""
    long_get: _LongGet | None = None


class _ExceptionError(Exception):
    """The request ends with an exception-response."""

    def __init__(self, state: StateError, service: ServiceErrorCode, expected: int | None = None) -> None:
        super().__init__(service.name)
        self.response = ExceptionResponse(state, service, expected)


class _RejectedError(Exception):
    """The AARQ is refused."""

    def __init__(
        self, diagnostic: AcseServiceUserDiagnostic, error: ConfirmedServiceError | None = None
    ) -> None:
        super().__init__(diagnostic.name)
        self.diagnostic = diagnostic
        self.error = error


def _not_allowed(
    service: ServiceErrorCode = ServiceErrorCode.OPERATION_NOT_POSSIBLE, expected: int | None = None
) -> _ExceptionError:
    return _ExceptionError(StateError.SERVICE_NOT_ALLOWED, service, expected)


class MeterServer:
    """The associations of one link. `handle` never raises for what a client sends."""

    __slots__ = ("_associations", "_device")

    def __init__(self, device: Device) -> None:
        self._device = device
        self._associations: dict[int, _Association] = {}

    def reset(self) -> None:
        """The link is gone, and with it every association."""
        self._associations.clear()

    def session(self, client_address: int) -> Session | None:
        """The open association of a client, once its authentication is complete."""
        association = self._associations.get(client_address)
        return association.session if association and association.state is _State.ASSOCIATED else None

    def handle(self, apdu: bytes, client_address: int) -> bytes | None:
        """The answer to one APDU of a client, or None where none is due."""
        try:
            return self._handle(apdu, client_address)
        except _ExceptionError as error:
            return error.response.encode()
        except RemoteProtocolError:
            return ExceptionResponse(StateError.SERVICE_NOT_ALLOWED, ServiceErrorCode.OTHER_REASON).encode()

    def _handle(self, apdu: bytes, client_address: int) -> bytes | None:
        tag = apdu[0] if apdu else 0
        if len(apdu) > self._device.max_pdu_bytes:
            raise _not_allowed(ServiceErrorCode.PDU_TOO_LONG)
        if tag == ApduTag.AARQ:
            return self._associate(apdu, client_address)
        if tag == ApduTag.RLRQ:
            return self._release(apdu, client_address)
        if tag not in _CIPHERED_TAGS and tag not in _PLAIN:
            raise _ExceptionError(StateError.SERVICE_UNKNOWN, ServiceErrorCode.SERVICE_NOT_SUPPORTED)
        association = self._associations.get(client_address)
        if association is None or association.session.ciphered != (tag in _CIPHERED_TAGS):
            raise _not_allowed()
        if tag in _PLAIN:
            return self._serve(association, apdu, None)
        return self._serve_ciphered(association, apdu)

    # --- association ---

    def _associate(self, apdu: bytes, client_address: int) -> bytes:
        self._associations.pop(client_address, None)
        policy = self._device.association(client_address)
        context = ApplicationContext.LN_CIPHERED if policy and policy.ciphered else ApplicationContext.LN
        try:
            try:
                aarq = Aarq.decode(apdu)
            except RemoteProtocolError:
                raise _RejectedError(AcseServiceUserDiagnostic.NO_REASON_GIVEN) from None
            if policy is None:
                raise _RejectedError(AcseServiceUserDiagnostic.NO_REASON_GIVEN)
            return self._accept(aarq, policy, context, client_address)
        except _RejectedError as rejected:
            return Aare(
                AssociationResult.REJECTED_PERMANENT,
                rejected.diagnostic,
                application_context=context,
                user_information=rejected.error.encode() if rejected.error else None,
            ).encode()

    def _accept(
        self, aarq: Aarq, policy: ClientAssociation, context: ApplicationContext, client_address: int
    ) -> bytes:
        diagnostics = AcseServiceUserDiagnostic
        if aarq.application_context != context:
            raise _RejectedError(diagnostics.APPLICATION_CONTEXT_NAME_NOT_SUPPORTED)
        if (refusal := policy.refusal(aarq)) is not None:
            raise _RejectedError(refusal)
        title = aarq.calling_ap_title or b""
        session = self._negotiate(aarq, policy, title, client_address)
        association = _Association(session, _State.ASSOCIATED, title)
        names_itself = policy.ciphered
        challenge, mechanism, diagnostic = None, None, diagnostics.NULL
        if policy.authentication is Authentication.HLS_GMAC:
            association.state = _State.PENDING
            association.client_challenge = aarq.calling_authentication_value or b""
            association.server_challenge = challenge = secrets.token_bytes(CHALLENGE_OCTETS)
            mechanism, diagnostic, names_itself = (
                policy.authentication,
                diagnostics.AUTHENTICATION_REQUIRED,
                True,
            )
        self._associations[client_address] = association
        aare = Aare(
            AssociationResult.ACCEPTED,
            diagnostic,
            application_context=context,
            responding_ap_title=self._device.system_title if names_itself else None,
            mechanism=mechanism,
            responding_authentication_value=challenge,
            user_information=self._initiate_response(session),
        )
        return aare.encode()

    def _negotiate(self, aarq: Aarq, policy: ClientAssociation, title: bytes, client_address: int) -> Session:
        try:
            request = InitiateRequest.decode(
                self._user_information(aarq.user_information, policy.ciphered, title)
            )
        except RemoteProtocolError:
            raise _RejectedError(AcseServiceUserDiagnostic.NO_REASON_GIVEN) from None
        except SecurityError:
            raise _RejectedError(AcseServiceUserDiagnostic.AUTHENTICATION_FAILURE) from None
        supported = CIPHERED_CONFORMANCE if policy.ciphered else CONFORMANCE
        conformance = Conformance(request.conformance) & supported
        size = request.client_max_receive_pdu_size or MAX_PDU_BYTES
        wrong = 0
        if request.dlms_version < DLMS_VERSION:
            wrong = _VERSION_TOO_LOW
        elif not conformance & (Conformance.GET | Conformance.SET | Conformance.ACTION):
            wrong = _INCOMPATIBLE_CONFORMANCE
        elif size < MIN_PDU_BYTES:
            wrong = _PDU_TOO_SHORT
        if wrong:
            error = ConfirmedServiceError(_INITIATE, category=6, value=wrong)
            raise _RejectedError(AcseServiceUserDiagnostic.NO_REASON_GIVEN, error)
        return Session(client_address, policy.authentication, policy.ciphered, conformance, size)

    def _user_information(self, octets: bytes | None, ciphered: bool, client_title: bytes) -> bytes:
        """The plain initiate-request. SecurityError where it is not ciphered as the association demands."""
        if octets is None:
            raise RemoteProtocolError("no user-information", code="APDU_TRUNCATED")
        if not ciphered:
            return octets
        if octets[:1] != bytes((ApduTag.GLO_INITIATE_REQUEST,)):
            raise SecurityError("an initiate-request in the clear", code="NOT_CIPHERED")
        return self._open(octets, client_title)

    def _initiate_response(self, session: Session) -> bytes:
        response = InitiateResponse(int(session.conformance), self._device.max_pdu_bytes).encode()
        if not session.ciphered:
            return response
        return self._seal(response, ApduTag.GLO_INITIATE_RESPONSE)

    def _release(self, apdu: bytes, client_address: int) -> bytes:
        """A release in the clear is taken, too: gurux-dlms sends it so by default."""
        request = Rlrq.decode(apdu)
        association = self._associations.get(client_address)
        information = None
        if association is not None and request.user_information is not None:
            session = association.session
            try:
                self._user_information(request.user_information, session.ciphered, association.client_title)
            except SecurityError:
                raise _not_allowed(ServiceErrorCode.DECIPHERING_ERROR) from None
            information = self._initiate_response(session)
        self._associations.pop(client_address, None)
        return Rlre(0, information).encode()

    # --- ciphering ---

    def _open(self, apdu: bytes, client_title: bytes) -> bytes:
        """The plain APDU: the tag is verified first, then the counter accepted."""
        device, parts = self._device, split(apdu)
        if parts.system_title not in (b"", client_title):
            raise SecurityError("another client's system title", code="SYSTEM_TITLE_MISMATCH")
        if parts.security_control != AUTHENTICATED_ENCRYPTED:
            raise SecurityError(f"security control {parts.security_control:#04x}", code="SECURITY_CONTROL")
        plain = device.keys.open(parts.body, parts.security_control, client_title, parts.invocation_counter)
        if parts.invocation_counter <= device.received_counter:
            expected = min(device.received_counter + 1, 0xFFFFFFFF)
            raise _not_allowed(ServiceErrorCode.INVOCATION_COUNTER_ERROR, expected)
        device.received_counter = parts.invocation_counter
        return plain

    def _seal(self, plain: bytes, tag: ApduTag) -> bytes:
        title, counter = self._device.system_title, self._device.next_counter()
        body = self._device.keys.seal(plain, AUTHENTICATED_ENCRYPTED, title, counter)
        sealed = join(tag, AUTHENTICATED_ENCRYPTED, counter, body)
        if tag is not ApduTag.GENERAL_GLO_CIPHERING:
            return sealed
        return sealed[:1] + bytes((len(title),)) + title + sealed[1:]

    def _serve_ciphered(self, association: _Association, apdu: bytes) -> bytes | None:
        """Answers the way it was asked: glo-request by glo-response, general-glo-ciphering by its like."""
        general = apdu[0] == ApduTag.GENERAL_GLO_CIPHERING
        counter_before = self._device.received_counter
        if general:
            _demand(association.session, Conformance.GENERAL_PROTECTION)
        try:
            plain = self._open(apdu, association.client_title)
        except DlmsError:
            raise _not_allowed(ServiceErrorCode.DECIPHERING_ERROR) from None
        inside, response_tag = _PLAIN, ApduTag.GENERAL_GLO_CIPHERING
        if not general:
            inside_tag, response_tag = _CIPHERED[ApduTag(apdu[0])]
            inside = (inside_tag,)
        if not plain or plain[0] not in inside:
            raise _not_allowed(ServiceErrorCode.OTHER_REASON)
        reply = self._serve(association, plain, counter_before)
        return None if reply is None else self._seal(reply, response_tag)

    # --- services ---

    def _serve(self, association: _Association, apdu: bytes, counter_before: int | None) -> bytes | None:
        """The plain answer to a plain request."""
        if association.state is _State.PENDING:
            return self._prove(association, apdu, counter_before)
        if apdu[0] == ApduTag.GET_REQUEST:
            request = decode_get_request(apdu)
            if isinstance(request, GetRequestNext):
                return self._get_next(association, request)
            return self._get(association, request)
        if apdu[0] == ApduTag.SET_REQUEST:
            return self._set(association, decode_set_request(apdu))
        return self._action(association, decode_action_request(apdu))

    def _get(self, association: _Association, request: GetRequestNormal) -> bytes:
        association.long_get = None
        session = association.session
        _demand(session, Conformance.GET)
        try:
            if request.access is not None and not session.conformance & Conformance.SELECTIVE_ACCESS:
                raise AccessRefusedError(DataAccessResult.SCOPE_OF_ACCESS_VIOLATED)
            data = self._device.get(
                session, request.class_id, request.logical_name, request.attribute, request.access
            )
        except AccessRefusedError as refused:
            return GetResponseNormal(request.invoke, None, refused.result).encode()
        if len(data) + _NORMAL_HEAD_OCTETS <= _plain_bytes(session):
            return GetResponseNormal(request.invoke, data).encode()
        if not session.conformance & Conformance.BLOCK_TRANSFER_WITH_GET_OR_READ:
            raise _not_allowed(ServiceErrorCode.PDU_TOO_LONG)
        association.long_get = _LongGet(data)
        return self._next_block(association, association.long_get, request.invoke)

    def _get_next(self, association: _Association, request: GetRequestNext) -> bytes:
        _demand(association.session, Conformance.BLOCK_TRANSFER_WITH_GET_OR_READ)
        long_get, wrong = association.long_get, DataAccessResult.NO_LONG_GET_IN_PROGRESS
        if long_get is not None:
            if request.block_number == long_get.block_number:
                return self._next_block(association, long_get, request.invoke)
            wrong = DataAccessResult.DATA_BLOCK_NUMBER_INVALID
        association.long_get = None
        return GetResponseBlock(request.invoke, True, request.block_number, None, wrong).encode()

    def _next_block(self, association: _Association, long_get: _LongGet, invoke: int) -> bytes:
        end = long_get.sent + _plain_bytes(association.session) - _BLOCK_HEAD_OCTETS
        raw = long_get.data[long_get.sent : end]
        last = end >= len(long_get.data)
        long_get.sent, long_get.block_number = end, long_get.block_number + 1
        if last:
            association.long_get = None
        return GetResponseBlock(invoke, last, long_get.block_number, raw).encode()

    def _set(self, association: _Association, request: SetRequestNormal) -> bytes | None:
        session, result = association.session, DataAccessResult.SUCCESS
        _demand(session, Conformance.SET)
        try:
            if request.access is not None:
                raise AccessRefusedError(DataAccessResult.SCOPE_OF_ACCESS_VIOLATED)
            value = axdr.decode_all(request.data)
            self._device.set(session, request.class_id, request.logical_name, request.attribute, value)
        except AccessRefusedError as refused:
            result = refused.result
        confirmed = request.invoke & _CONFIRMED
        return SetResponseNormal(request.invoke, result).encode() if confirmed else None

    def _action(self, association: _Association, request: ActionRequestNormal) -> bytes | None:
        session, result, data = association.session, ActionResult.SUCCESS, None
        _demand(session, Conformance.ACTION)
        parameter = None if request.parameters is None else axdr.decode_all(request.parameters)
        try:
            if (request.class_id, request.logical_name) == (ASSOCIATION_CLASS, ASSOCIATION_NAME):
                raise ActionRefusedError(ActionResult.READ_WRITE_DENIED)
            data = self._device.action(
                session, request.class_id, request.logical_name, request.method, parameter
            )
        except ActionRefusedError as refused:
            result = refused.result
        confirmed = request.invoke & _CONFIRMED
        return ActionResponseNormal(request.invoke, result, data).encode() if confirmed else None

    def _prove(self, association: _Association, apdu: bytes, counter_before: int | None) -> bytes:
        """Passes 3 and 4 of HLS: nothing else is served before, and a wrong answer ends the association."""
        if apdu[0] != ApduTag.ACTION_REQUEST:
            raise _not_allowed()
        request = decode_action_request(apdu)
        called = (request.class_id, request.logical_name, request.method)
        if called != (ASSOCIATION_CLASS, ASSOCIATION_NAME, REPLY_TO_HLS) or request.parameters is None:
            raise _not_allowed()
        device = self._device
        before = device.received_counter if counter_before is None else counter_before
        try:
            answer = axdr.decode_all(request.parameters)
            if answer.type is not DataType.OCTET_STRING:
                raise SecurityError("not an octet-string", code="HLS_ANSWER_INVALID")
            counter = verify_gmac(
                device.keys, answer.value, association.server_challenge, association.client_title
            )
            # before or after that of the APDU which carries it, but a counter of its own
            if counter <= before or (counter_before is not None and counter == device.received_counter):
                raise SecurityError(f"counter {counter} does not rise", code="COUNTER_NOT_RISING")
        except DlmsError:
            self._associations.pop(association.session.client_address, None)
            return ActionResponseNormal(request.invoke, ActionResult.OTHER_REASON).encode()
        device.received_counter = max(device.received_counter, counter)
        association.state = _State.ASSOCIATED
        counter = device.next_counter()
        tag = device.keys.gmac(association.client_challenge, device.system_title, counter)
        proof = axdr.octets(b"\x10" + counter.to_bytes(4) + tag)
        return ActionResponseNormal(request.invoke, ActionResult.SUCCESS, axdr.encode(proof)).encode()


def _demand(session: Session, service: Conformance) -> None:
    if not session.conformance & service:
        raise _ExceptionError(StateError.SERVICE_UNKNOWN, ServiceErrorCode.SERVICE_NOT_SUPPORTED)


def _plain_bytes(session: Session) -> int:
    """The largest plain APDU that the client takes, ciphering around it counted."""
    return session.client_max_pdu_bytes - (_CIPHERING_OCTETS if session.ciphered else 0)
