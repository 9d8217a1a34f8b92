"""A plain client for tests of the meter's side: it builds each APDU itself, so that it can break any rule."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime

from dlms import axdr, clock, obis
from dlms.acse import Aare, Aarq
from dlms.enums import ApduTag, ApplicationContext, Authentication, Conformance
from dlms.security import AUTHENTICATED_ENCRYPTED, Keys, join, split
from dlms.server import MeterServer
from dlms.xdlms import Apdu, decode_apdu
from dlms.xdlms.access import CaptureObject, Range, SelectiveAccess
from dlms.xdlms.action import ActionRequestNormal, ActionResponseNormal
from dlms.xdlms.get import GetRequestNext, GetRequestNormal, GetResponseBlock, GetResponseNormal
from dlms.xdlms.initiate import InitiateRequest, InitiateResponse
from simulator.identity import derive_identity
from simulator.meter import Meter, MeterSettings

SEED = "test seed"
NOW = datetime(2026, 3, 29, 12, 7, 30, tzinfo=UTC)
TITLE = b"TST\x00\x00\x00\x00\x01"
CHALLENGE = b"0123456789abcdef"
INVOKE = 0xC1
ALL = Conformance(0xFFFFFF)
CLOCK = CaptureObject(8, obis.parse("0-0:1.0.0.255"), 2)
LOAD_PROFILE = obis.parse("1-0:99.1.0.255")
ASSOCIATION = obis.parse("0-0:40.0.0.255")
RELAY = obis.parse("0-0:96.3.10.255")


def make_meter(number: int = 1, now: datetime = NOW, settings: MeterSettings | None = None) -> Meter:
    return Meter(SEED, derive_identity(SEED, number), settings, now_s=now.timestamp)


def by_range(start: datetime, end: datetime, *selected: CaptureObject) -> SelectiveAccess:
    bounds = (axdr.octets(clock.format_datetime(moment, UTC)) for moment in (start, end))
    return Range(CLOCK, *bounds, selected).to_access()


@dataclass
class Peer:
    """One client on one link of a meter. `counter` is the last invocation counter it used."""

    meter: Meter
    client_address: int = 16
    conformance: Conformance = ALL
    max_pdu_bytes: int = 0xFFFF
    counter: int = 100_000
    ciphered: bool = False
    title: bytes = TITLE
    keys: Keys | None = None
    replies: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        identity = derive_identity(SEED, self.meter.number)
        self.keys = self.keys or Keys(identity.encryption_key, identity.authentication_key)
        self.password = identity.lls_password.encode()
        self.server = MeterServer(self.meter)

    # --- octets ---

    def raw(self, apdu: bytes) -> bytes | None:
        reply = self.server.handle(apdu, self.client_address)
        if reply is not None:
            self.replies.append(reply)
        return reply

    def seal(
        self, plain: bytes, tag: int, control: int = AUTHENTICATED_ENCRYPTED, counter: int | None = None
    ) -> bytes:
        if counter is None:
            self.counter += 1
            counter = self.counter
        assert self.keys is not None
        body = self.keys.seal(plain, control, self.title, counter)
        return join(tag, control, counter, body)

    def open(self, apdu: bytes) -> bytes:
        parts = split(apdu)
        assert self.keys is not None
        return self.keys.open(
            parts.body, parts.security_control, self.meter.system_title, parts.invocation_counter
        )

    def ask(self, plain: bytes) -> Apdu:
        """Send a plain service APDU as the association demands, and decode what comes back."""
        if not self.ciphered:
            reply = self.raw(plain)
            assert reply is not None
            return decode_apdu(reply)
        tag = {0xC0: ApduTag.GLO_GET_REQUEST, 0xC1: ApduTag.GLO_SET_REQUEST, 0xC3: ApduTag.GLO_ACTION_REQUEST}
        reply = self.raw(self.seal(plain, tag[plain[0]]))
        assert reply is not None
        return decode_apdu(reply if reply[0] == ApduTag.EXCEPTION_RESPONSE else self.open(reply))

    # --- associations ---

    def initiate_request(self) -> bytes:
        return InitiateRequest(int(self.conformance), self.max_pdu_bytes).encode()

    def aarq(self, mechanism: int | None, value: bytes | None, information: bytes | None = None) -> Apdu:
        context = ApplicationContext.LN_CIPHERED if self.ciphered else ApplicationContext.LN
        title = self.title if self.ciphered else None
        if information is None:
            information = self.initiate_request()
            if self.ciphered:
                information = self.seal(information, ApduTag.GLO_INITIATE_REQUEST)
        reply = self.raw(Aarq(context, title, mechanism, value, information).encode())
        assert reply is not None
        return decode_apdu(reply)

    def associate(self) -> Aare:
        """Open the association of this client address, HLS passes included."""
        if self.client_address == 1:
            self.ciphered = True
            aare = self.aarq(Authentication.HLS_GMAC, CHALLENGE)
            assert isinstance(aare, Aare)
            answer = self.prove(aare.responding_authentication_value or b"")
            assert isinstance(answer, ActionResponseNormal)
            assert answer.action_result == 0, answer
            return aare
        lls = self.client_address == 32
        aare = self.aarq(Authentication.LLS if lls else None, self.password if lls else None)
        assert isinstance(aare, Aare)
        assert aare.result == 0
        return aare

    def prove(self, server_challenge: bytes, counter: int | None = None) -> Apdu:
        """HLS pass 3."""
        if counter is None:
            self.counter += 1
            counter = self.counter
        assert self.keys is not None
        tag = self.keys.gmac(server_challenge, self.title, counter)
        parameter = axdr.encode(axdr.octets(b"\x10" + counter.to_bytes(4) + tag))
        return self.ask(ActionRequestNormal(INVOKE, 15, ASSOCIATION, 1, parameter).encode())

    def initiate_response(self, aare: Aare) -> InitiateResponse:
        information = aare.user_information or b""
        return InitiateResponse.decode(self.open(information) if self.ciphered else information)

    # --- services ---

    def get(
        self, class_id: int, name: str | bytes, attribute: int, access: SelectiveAccess | None = None
    ) -> Apdu:
        logical_name = name if isinstance(name, bytes) else obis.parse(name)
        return self.ask(GetRequestNormal(INVOKE, class_id, logical_name, attribute, access).encode())

    def read(
        self, class_id: int, name: str | bytes, attribute: int, access: SelectiveAccess | None = None
    ) -> axdr.Data:
        """The value, blocks put together."""
        reply = self.get(class_id, name, attribute, access)
        if isinstance(reply, GetResponseNormal):
            assert reply.data is not None, reply
            return axdr.decode_all(reply.data)
        assert isinstance(reply, GetResponseBlock)
        data, expected = b"", 1
        while True:
            assert isinstance(reply, GetResponseBlock)
            assert reply.block_number == expected
            assert reply.raw_data
            data += reply.raw_data
            if reply.last_block:
                return axdr.decode_all(data)
            reply = self.ask(GetRequestNext(INVOKE, expected).encode())
            expected += 1

    def act(self, class_id: int, name: str | bytes, method: int, parameter: axdr.Data | None = None) -> int:
        logical_name = name if isinstance(name, bytes) else obis.parse(name)
        parameters = None if parameter is None else axdr.encode(parameter)
        reply = self.ask(ActionRequestNormal(INVOKE, class_id, logical_name, method, parameters).encode())
        assert isinstance(reply, ActionResponseNormal)
        return reply.action_result
