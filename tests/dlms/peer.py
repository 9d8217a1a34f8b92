"""A scripted meter in memory: builds each reply itself, right or wrong, for tests of the client."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from dlms import axdr, client, obis, security, xdlms
from dlms.acse import Aare, Aarq, Rlre, Rlrq
from dlms.connection import Connection, Counters, Settings
from dlms.effects import Dialog, Receive, Send
from dlms.enums import ApduTag, Authentication
from dlms.framing.wrapper import decode_frame, encode_frame
from dlms.xdlms.action import ActionRequestNormal, ActionResponseNormal
from dlms.xdlms.get import GetRequestNext, GetRequestNormal, GetResponseBlock, GetResponseNormal
from dlms.xdlms.initiate import InitiateResponse
from dlms.xdlms.set import SetRequestNormal, SetResponseNormal

T = TypeVar("T")
EK, AK = bytes(range(16)), bytes(range(0xD0, 0xE0))
CLIENT_TITLE = b"HES\x00\x00\x00\x00\x01"
METER_TITLE = b"MTR\x00\x00\x00\x00\x07"
CHALLENGE = b"StoC-challenge"


ENERGY = (3, obis.parse("1-0:1.8.0"), 2)
LOWEST = Settings(16)
LLS = Settings(32, authentication=Authentication.LLS, password=b"12345678")
HLS = Settings(
    1,
    authentication=Authentication.HLS_GMAC,
    ciphered=True,
    client_system_title=CLIENT_TITLE,
    encryption_key=EK,
    authentication_key=AK,
)


class Peer:
    """Answers frames; the attributes are what a test turns."""

    def __init__(
        self, *, ciphered: bool = False, mechanism: int | None = None, block_octets: int = 0
    ) -> None:
        self.ciphered = ciphered
        self.mechanism = mechanism
        self.block_octets = block_octets
        self.keys = security.Keys(EK, AK)
        self.title: bytes | None = METER_TITLE if ciphered or mechanism == 5 else None
        self.context = 3 if ciphered else 1
        self.result, self.diagnostic = 0, 14 if mechanism == 5 else 0
        self.challenge = CHALLENGE
        self.initiate: bytes | None = InitiateResponse(0x00101D, 0).encode()
        self.counter = 100
        self.values: dict[tuple[int, bytes, int], bytes] = {}
        self.results: dict[tuple[int, bytes, int], int] = {}
        self.alter: Callable[[bytes], bytes] = lambda apdu: apdu  # of the plain reply
        self.alter_wire: Callable[[bytes], bytes] = lambda apdu: apdu  # of the reply as sent
        self.before: list[bytes] = []  # APDUs sent before the next reply
        self.requests: list[object] = []
        self.request_counters: list[int] = []
        self._client_challenge = b""
        self._blocks: list[bytes] = []

    # one request

    def answer(self, frame: bytes) -> list[bytes]:
        """The frames that answer one frame."""
        taken = decode_frame(frame)
        reply = self.alter_wire(self._reply(taken.payload))
        apdus, self.before = [*self.before, reply], []
        return [encode_frame(taken.destination, taken.source, apdu) for apdu in apdus]

    def _reply(self, payload: bytes) -> bytes:
        if payload[0] == ApduTag.AARQ:
            return self._aare(Aarq.decode(payload))
        if payload[0] == ApduTag.RLRQ:
            self.requests.append(Rlrq.decode(payload))
            return Rlre(0).encode()
        if self.ciphered:
            opened = security.unprotect_with(self.keys, payload, CLIENT_TITLE)
            self.request_counters.append(opened.invocation_counter)
            payload = opened.plain
        return self.seal(self.alter(self._service(xdlms.decode_apdu(payload))))

    def seal(self, apdu: bytes, tag: int | None = None) -> bytes:
        """Ciphered when the association is, under the next counter."""
        if not self.ciphered:
            return apdu
        self.counter += 1
        body = self.keys.seal(apdu, 0x30, METER_TITLE, self.counter)
        return security.join(apdu[0] + 8 if tag is None else tag, 0x30, self.counter, body)

    def _aare(self, aarq: Aarq) -> bytes:
        self.requests.append(aarq)
        self._client_challenge = aarq.calling_authentication_value or b""
        information = self.initiate
        if self.ciphered and information is not None:
            opened = security.unprotect_with(self.keys, aarq.user_information or b"", CLIENT_TITLE)
            self.request_counters.append(opened.invocation_counter)
            information = self.seal(information, ApduTag.GLO_INITIATE_RESPONSE)
        hls = self.mechanism == 5
        return Aare(
            self.result,
            self.diagnostic,
            application_context=self.context,
            responding_ap_title=self.title,
            mechanism=self.mechanism if hls else None,
            responding_authentication_value=self.challenge if hls else None,
            user_information=information,
        ).encode()

    def _service(self, request: object) -> bytes:
        self.requests.append(request)
        if isinstance(request, GetRequestNormal):
            key = (request.class_id, request.logical_name, request.attribute)
            if key in self.values:
                return self._get(request.invoke, self.values[key])
            return GetResponseNormal(request.invoke, None, self.results.get(key, 4)).encode()
        if isinstance(request, GetRequestNext):
            return self._block(request.invoke, request.block_number + 1)
        if isinstance(request, SetRequestNormal):
            key = (request.class_id, request.logical_name, request.attribute)
            return SetResponseNormal(request.invoke, self.results.get(key, 0)).encode()
        assert isinstance(request, ActionRequestNormal)
        if request.class_id == 15:
            return self._prove(request)
        key = (request.class_id, request.logical_name, request.method)
        return ActionResponseNormal(request.invoke, self.results.get(key, 0), self.values.get(key)).encode()

    def _get(self, invoke: int, data: bytes) -> bytes:
        if not self.block_octets or len(data) <= self.block_octets:
            return GetResponseNormal(invoke, data).encode()
        size = self.block_octets
        self._blocks = [data[start : start + size] for start in range(0, len(data), size)]
        return self._block(invoke, 1)

    def _block(self, invoke: int, number: int) -> bytes:
        last = number == len(self._blocks)
        return GetResponseBlock(invoke, last, number, self._blocks[number - 1]).encode()

    def _prove(self, request: ActionRequestNormal) -> bytes:
        answer = axdr.decode_all(request.parameters or b"").value
        self.request_counters.append(security.verify_gmac(self.keys, answer, self.challenge, CLIENT_TITLE))
        self.counter += 1
        tag = self.keys.gmac(self._client_challenge, METER_TITLE, self.counter)
        proof = b"\x10" + self.counter.to_bytes(4) + tag
        return ActionResponseNormal(request.invoke, 0, axdr.encode(axdr.octets(proof))).encode()


def carry(dialog: Dialog[T], peer: Peer) -> T:
    """Run a dialog against the peer, in memory."""
    waiting: list[bytes] = []
    answer: bytes | None = None
    while True:
        try:
            effect = dialog.send(answer)
        except StopIteration as end:
            return end.value
        answer = None
        if isinstance(effect, Send):
            waiting.extend(peer.answer(effect.frame))
        elif isinstance(effect, Receive):
            answer = waiting.pop(0)


def fresh(settings: Settings = HLS, received: int | None = None) -> Connection:
    return Connection(settings, Counters(1000, 100), received)


def hls_peer() -> Peer:
    peer = Peer(ciphered=True, mechanism=5)
    peer.values[ENERGY] = b"\x06\x00\x00\x00\x2a"
    return peer


def associated(peer: Peer, settings: Settings = HLS) -> Connection:
    conn = fresh(settings)
    carry(client.associate(conn), peer)
    return conn
