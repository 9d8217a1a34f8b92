"""Client side of one association: state, ciphering, counters, invoke ids. Owns what may be sent and accepted
when.

Knows no socket and no waiting: `dlms.client` turns it into dialogs. Order of every reply: the tag is
verified, then the counter is accepted, then the content is looked at. After RemoteProtocolError or
SecurityError it is dead.
"""

from __future__ import annotations

import hmac
import secrets
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import NoReturn

from dlms import security
from dlms.acse import Aare, Aarq, Rlre, Rlrq
from dlms.counters import Counters
from dlms.enums import (
    AcseServiceUserDiagnostic,
    ApduTag,
    ApplicationContext,
    AssociationResult,
    Authentication,
    Conformance,
)
from dlms.errors import (
    DlmsError,
    LocalProtocolError,
    RemoteProtocolError,
    SecurityError,
    ServiceError,
)
from dlms.framing import wrapper
from dlms.refusals import exception_error, initiate_rejected, rejected
from dlms.xdlms.exception import ExceptionResponse
from dlms.xdlms.initiate import ConfirmedServiceError, InitiateRequest, InitiateResponse

#: What the client proposes: no more than it speaks.
CONFORMANCE = int(
    Conformance.GET
    | Conformance.SET
    | Conformance.ACTION
    | Conformance.SELECTIVE_ACCESS
    | Conformance.BLOCK_TRANSFER_WITH_GET_OR_READ
)
#: The book allows 8 to 64 octets.
CHALLENGE_OCTETS = 16
_CHALLENGE_BOUNDS = range(8, 65)
_INVOKE_CONFIRMED_HIGH = 0xC0

_CIPHERED_REQUEST: dict[int, int] = {
    ApduTag.GET_REQUEST: ApduTag.GLO_GET_REQUEST,
    ApduTag.SET_REQUEST: ApduTag.GLO_SET_REQUEST,
    ApduTag.ACTION_REQUEST: ApduTag.GLO_ACTION_REQUEST,
}
#: What may stand inside: a glo-response holds its own response; general-glo-ciphering any response or a push.
_CIPHERED_REPLY: dict[int, frozenset[int]] = {
    ApduTag.GLO_GET_RESPONSE: frozenset({ApduTag.GET_RESPONSE}),
    ApduTag.GLO_SET_RESPONSE: frozenset({ApduTag.SET_RESPONSE}),
    ApduTag.GLO_ACTION_RESPONSE: frozenset({ApduTag.ACTION_RESPONSE}),
    ApduTag.GENERAL_GLO_CIPHERING: frozenset(
        {
            ApduTag.GET_RESPONSE,
            ApduTag.SET_RESPONSE,
            ApduTag.ACTION_RESPONSE,
            ApduTag.DATA_NOTIFICATION,
            ApduTag.EVENT_NOTIFICATION_REQUEST,
            ApduTag.EXCEPTION_RESPONSE,
        }
    ),
}
_PLAIN_REPLY: frozenset[int] = frozenset(
    {ApduTag.GET_RESPONSE, ApduTag.SET_RESPONSE, ApduTag.ACTION_RESPONSE}
)
_PUSH = frozenset(
    {ApduTag.DATA_NOTIFICATION, ApduTag.EVENT_NOTIFICATION_REQUEST, ApduTag.GLO_EVENT_NOTIFICATION_REQUEST}
)


class State(Enum):
    """Where the association stands."""

    IDLE = auto()
    ASSOCIATING = auto()
    AUTHENTICATING = auto()
    ASSOCIATED = auto()
    RELEASING = auto()
    RELEASED = auto()
    DEAD = auto()


#: state -> states that may follow; DEAD may follow any.
TRANSITIONS: dict[State, frozenset[State]] = {
    State.IDLE: frozenset({State.ASSOCIATING}),
    State.ASSOCIATING: frozenset({State.AUTHENTICATING, State.ASSOCIATED}),
    State.AUTHENTICATING: frozenset({State.ASSOCIATED}),
    State.ASSOCIATED: frozenset({State.RELEASING}),
    State.RELEASING: frozenset({State.RELEASED}),
    State.RELEASED: frozenset({State.ASSOCIATING}),
    State.DEAD: frozenset(),
}


@dataclass(frozen=True, slots=True)
class Settings:
    """What a dialog must know of the meter and the association. Secrets stay out of `repr`.

    `max_pdu_bytes` is what we propose to receive: 0xFFFF, the most there is, spares round trips; the meter
    sends what suits it. `meter_system_title`, when known, is compared with the one in the AARE.
    """

    client_address: int
    server_address: int = 1
    authentication: Authentication = Authentication.LOWEST
    ciphered: bool = False
    client_system_title: bytes = b""
    password: bytes = field(default=b"", repr=False)
    encryption_key: bytes = field(default=b"", repr=False)
    authentication_key: bytes = field(default=b"", repr=False)
    max_pdu_bytes: int = 0xFFFF
    response_timeout_s: float = 20.0
    meter_system_title: bytes | None = None
    conformance: int = CONFORMANCE


@dataclass(frozen=True, slots=True)
class Negotiated:
    """What the AARE agreed to. `server_max_receive_pdu_size` 0: no limit."""

    conformance: int
    server_max_receive_pdu_size: int


class Connection:
    """One association at a time; a dialog may release and associate again on it."""

    __slots__ = (
        "_client_challenge",
        "_invoke",
        "_keys",
        "_server_challenge",
        "counters",
        "meter_system_title",
        "negotiated",
        "received_counter",
        "settings",
        "state",
        "unsolicited",
    )

    def __init__(
        self, settings: Settings, counters: Counters | None = None, received_counter: int | None = None
    ) -> None:
        self.settings = settings
        self.counters = Counters() if counters is None else counters
        #: The highest counter accepted from the meter, over all dialogs when the caller gave the last one.
        self.received_counter = received_counter
        self.negotiated: Negotiated | None = None
        self.meter_system_title: bytes | None = settings.meter_system_title
        self.state = State.IDLE
        #: Frames of pushes that came between request and reply.
        self.unsolicited: list[bytes] = []
        self._invoke = 0
        self._client_challenge = b""
        self._server_challenge = b""
        self._keys = _keys_of(settings)

    # association

    def open(self) -> bytes:
        """The AARQ as a frame."""
        self._step(State.ASSOCIATING)
        settings = self.settings
        value: bytes | None = None
        if settings.authentication == Authentication.LLS:
            value = settings.password
        elif settings.authentication == Authentication.HLS_GMAC:
            value = self._client_challenge = secrets.token_bytes(CHALLENGE_OCTETS)
        aarq = Aarq(
            ApplicationContext.LN_CIPHERED if settings.ciphered else ApplicationContext.LN,
            settings.client_system_title if self._keys is not None else None,
            None if settings.authentication == Authentication.LOWEST else int(settings.authentication),
            value,
            self._initiate_request(),
        )
        return self._frame(aarq.encode())

    def accept(self, frame: bytes) -> Aare | None:
        """Take the reply to the AARQ; None for a push that came instead. Raises AssociationRejected and
        others.
        """
        try:
            return self._accept(frame)
        except DlmsError:
            self.state = State.DEAD
            raise

    def _accept(self, frame: bytes) -> Aare | None:
        apdu = self._unframe(frame)
        if self.state is not State.ASSOCIATING:
            raise LocalProtocolError("no AARQ waits for a reply", code="STATE")
        if apdu[0] in _PUSH:
            self.unsolicited.append(frame)
            return None
        if apdu[0] == ApduTag.EXCEPTION_RESPONSE:
            raise exception_error(ExceptionResponse.decode(apdu), associating=True)
        if apdu[0] == ApduTag.CONFIRMED_SERVICE_ERROR:
            raise initiate_rejected(apdu, AssociationResult.REJECTED_PERMANENT, None)
        aare = Aare.decode(apdu)
        if aare.result != AssociationResult.ACCEPTED:
            raise rejected(aare)
        self._check_context(aare)
        self._learn_system_title(aare.responding_ap_title)
        self._take_initiate_response(aare)
        if self.settings.authentication == Authentication.HLS_GMAC:
            self._take_challenge(aare)
            self._step(State.AUTHENTICATING)
        elif aare.diagnostic == AcseServiceUserDiagnostic.AUTHENTICATION_REQUIRED:
            raise rejected(aare)
        else:
            self._step(State.ASSOCIATED)
        return aare

    def challenge_answer(self) -> bytes:
        """f(StoC), what pass 3 of HLS-GMAC sends."""
        assert self._keys is not None
        counter, title = self.counters.take(), self.settings.client_system_title
        tag = self._keys.gmac(self._server_challenge, title, counter)
        return bytes((security.AUTHENTICATED,)) + counter.to_bytes(4) + tag

    def verify_answer(self, answer: bytes) -> None:
        """Check f(CtoS), the meter's pass 4. Raises SecurityError.

        Its counter needs not rise above the last one received: the challenge is fresh, nothing can be
        replayed.
        """
        assert self._keys is not None
        try:
            security.verify_gmac(self._keys, answer, self._client_challenge, self._title())
        except SecurityError:
            self.state = State.DEAD
            raise
        self._step(State.ASSOCIATED)

    def close(self) -> bytes:
        """The RLRQ as a frame; in a ciphered association it carries the ciphered initiate-request."""
        self._step(State.RELEASING)
        information = self._initiate_request() if self.settings.ciphered else None
        return self._frame(Rlrq(0, information).encode())

    def closed(self, frame: bytes) -> bool:
        """Take the reply to the RLRQ; False for a push that came instead.

        A meter that answers with an exception-response has no association left to release: released, too.
        """
        try:
            apdu = self._unframe(frame)
            if apdu[0] in _PUSH:
                self.unsolicited.append(frame)
                return False
            if apdu[0] not in (ApduTag.EXCEPTION_RESPONSE, ApduTag.CONFIRMED_SERVICE_ERROR):
                self._check_release(apdu)
        except DlmsError:
            self.state = State.DEAD
            raise
        self._step(State.RELEASED)
        return True

    def _check_release(self, apdu: bytes) -> None:
        """Verify the RLRE's user-information where it is ciphered; nothing in an RLRE is acted upon.

        gurux-dlms' server counts its RLRE's lengths short: the tag alone says what it says.
        """
        if apdu[0] != ApduTag.RLRE:
            raise RemoteProtocolError(f"tag {apdu[0]:#04x} answers the RLRQ", code="REPLY_UNEXPECTED")
        try:
            information = Rlre.decode(apdu).user_information
        except RemoteProtocolError:
            return
        if self.settings.ciphered and information and information[0] == ApduTag.GLO_INITIATE_RESPONSE:
            self._decipher(information)

    # services

    def next_invoke(self) -> int:
        """The invoke-id-and-priority octet of a new request: confirmed, high priority, id 1..15 in turn."""
        self._invoke = self._invoke % 15 + 1
        return _INVOKE_CONFIRMED_HIGH | self._invoke

    def request(self, apdu: bytes) -> bytes:
        """A service request as a frame, ciphered when the association is."""
        if self.state not in (State.ASSOCIATED, State.AUTHENTICATING):
            raise LocalProtocolError(f"no service in state {self.state.name}", code="STATE")
        if self.settings.ciphered:
            apdu = self._cipher(apdu, _CIPHERED_REQUEST[apdu[0]])
        limit = self.negotiated.server_max_receive_pdu_size if self.negotiated else 0
        if limit and len(apdu) > limit:
            raise LocalProtocolError(f"{len(apdu)} octets, the meter takes {limit}", code="REQUEST_TOO_LARGE")
        return self._frame(apdu)

    def reply(self, frame: bytes) -> bytes | None:
        """The plain response APDU in a frame; None for a push, which is kept in `unsolicited`.

        Raises ServiceError, InvocationCounterError or SecurityError for an exception-response.
        """
        try:
            return self._reply(frame)
        except (RemoteProtocolError, SecurityError):
            self.state = State.DEAD
            raise

    def _reply(self, frame: bytes) -> bytes | None:
        apdu = self._unframe(frame)
        tag = apdu[0]
        if tag in _PUSH:
            self.unsolicited.append(frame)
            return None
        if tag == ApduTag.EXCEPTION_RESPONSE:
            raise exception_error(ExceptionResponse.decode(apdu))
        if tag == ApduTag.CONFIRMED_SERVICE_ERROR:
            error = ConfirmedServiceError.decode(apdu)
            detail = f"service {error.service}, category {error.category}, value {error.value}"
            raise ServiceError(None, detail, code="CONFIRMED_SERVICE_ERROR")
        allowed: frozenset[int] = _PLAIN_REPLY
        if self.settings.ciphered:
            inner = _CIPHERED_REPLY.get(tag)
            if inner is None:
                raise SecurityError(f"tag {tag:#04x} in a ciphered association", code="REPLY_NOT_CIPHERED")
            allowed = inner
            apdu = self._decipher(apdu)
        if not apdu or apdu[0] not in allowed:
            raise RemoteProtocolError(f"tag {apdu[:1].hex()} is no reply here", code="REPLY_UNEXPECTED")
        if apdu[0] == ApduTag.EXCEPTION_RESPONSE:
            raise exception_error(ExceptionResponse.decode(apdu))
        if apdu[0] in _PUSH:
            self.unsolicited.append(frame)
            return None
        return apdu

    # parts

    def _step(self, state: State) -> None:
        if state not in TRANSITIONS[self.state]:
            raise LocalProtocolError(f"{self.state.name} -> {state.name}", code="STATE")
        self.state = state

    def _frame(self, apdu: bytes) -> bytes:
        return wrapper.encode_frame(self.settings.client_address, self.settings.server_address, apdu)

    def _unframe(self, raw: bytes) -> bytes:
        frame = wrapper.decode_frame(raw)
        if (frame.source, frame.destination) != (self.settings.server_address, self.settings.client_address):
            detail = f"from {frame.source} to {frame.destination}"
            raise RemoteProtocolError(detail, code="WRAPPER_ADDRESS")
        if not frame.payload:
            raise RemoteProtocolError("a frame without an APDU", code="APDU_EMPTY")
        return frame.payload

    def _initiate_request(self) -> bytes:
        initiate = InitiateRequest(self.settings.conformance, self.settings.max_pdu_bytes).encode()
        if not self.settings.ciphered:
            return initiate
        return self._cipher(initiate, ApduTag.GLO_INITIATE_REQUEST)

    def _cipher(self, apdu: bytes, tag: int) -> bytes:
        assert self._keys is not None
        counter, control = self.counters.take(), security.AUTHENTICATED_ENCRYPTED
        body = self._keys.seal(apdu, control, self.settings.client_system_title, counter)
        return security.join(tag, control, counter, body)

    def _decipher(self, apdu: bytes) -> bytes:
        assert self._keys is not None
        opened = security.unprotect_with(self._keys, apdu, self._title())
        counter, last = opened.invocation_counter, self.received_counter
        if last is not None and counter <= last:
            raise SecurityError(f"counter {counter} after {last}", code="COUNTER_NOT_RISING")
        self.received_counter = counter
        return opened.plain

    def _title(self) -> bytes:
        if self.meter_system_title is None:
            raise SecurityError("the meter did not name its system title", code="SYSTEM_TITLE_MISSING")
        return self.meter_system_title

    def _check_context(self, aare: Aare) -> None:
        expected = ApplicationContext.LN_CIPHERED if self.settings.ciphered else ApplicationContext.LN
        if aare.application_context != expected:
            detail = f"context {aare.application_context}, {expected} asked for"
            raise SecurityError(detail, code="CONTEXT_MISMATCH")
        mechanism = aare.mechanism
        if mechanism is not None and mechanism != self.settings.authentication:
            detail = f"mechanism {mechanism}, {int(self.settings.authentication)} asked for"
            raise SecurityError(detail, code="MECHANISM_MISMATCH")

    def _learn_system_title(self, title: bytes | None) -> None:
        if self._keys is None or not title:
            return
        if len(title) != security.SYSTEM_TITLE_OCTETS:
            raise SecurityError(f"a system title of {len(title)} octets", code="SYSTEM_TITLE_LENGTH")
        expected = self.settings.meter_system_title
        if expected is not None and title != expected:
            raise SecurityError(f"{title.hex()}, {expected.hex()} expected", code="SYSTEM_TITLE_MISMATCH")
        self.meter_system_title = title

    def _take_initiate_response(self, aare: Aare) -> None:
        information = aare.user_information
        if self.settings.ciphered:
            if not information or information[0] != ApduTag.GLO_INITIATE_RESPONSE:
                raise SecurityError("the AARE's user-information is not ciphered", code="REPLY_NOT_CIPHERED")
            information = self._decipher(information)
        if not information:
            self.negotiated = Negotiated(self.settings.conformance, 0)
            return
        if information[0] == ApduTag.CONFIRMED_SERVICE_ERROR:
            raise initiate_rejected(information, aare.result, aare.diagnostic)
        response = InitiateResponse.decode(information)
        self.negotiated = Negotiated(response.conformance, response.server_max_receive_pdu_size)

    def _take_challenge(self, aare: Aare) -> None:
        challenge = aare.responding_authentication_value or b""
        if len(challenge) not in _CHALLENGE_BOUNDS:
            raise SecurityError(f"a challenge of {len(challenge)} octets", code="HLS_CHALLENGE_INVALID")
        if hmac.compare_digest(challenge, self._client_challenge):
            raise SecurityError("the meter sent our own challenge back", code="HLS_CHALLENGE_REFLECTED")
        self._title()
        self._server_challenge = challenge


def _keys_of(settings: Settings) -> security.Keys | None:
    """The ciphers, where the association needs them. Raises LocalProtocolError for impossible settings."""
    known = (Authentication.LOWEST, Authentication.LLS, Authentication.HLS_GMAC)
    if settings.authentication not in known:
        detail = f"authentication {settings.authentication!r}"
        raise LocalProtocolError(detail, code="AUTHENTICATION_NOT_SUPPORTED")
    if not settings.ciphered and settings.authentication != Authentication.HLS_GMAC:
        return None
    if len(settings.client_system_title) != security.SYSTEM_TITLE_OCTETS:
        raise LocalProtocolError("client_system_title has not 8 octets", code="SYSTEM_TITLE_LENGTH")
    return security.Keys(settings.encryption_key, settings.authentication_key)


def fail(connection: Connection, detail: str, code: str) -> NoReturn:
    """The meter broke the rules inside a verified reply: the connection is dead."""
    connection.state = State.DEAD
    raise RemoteProtocolError(detail, code=code)


__all__ = ["CONFORMANCE", "TRANSITIONS", "Connection", "Counters", "Negotiated", "Settings", "State", "fail"]
