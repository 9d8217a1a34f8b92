# ruff: noqa: N803
"""Another maker's meter that dials in: gurux-dlms' server with a device model of its own.

Nothing in it is like the simulated fleet's: logical names, columns, period, types, system title, keys. What
gurux' server lacks of a meter (a counter that lasts, one that is watched, associations by client address) is
added here by hand and not with the `dlms` package.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterable
from datetime import datetime

from gurux_dlms import GXByteBuffer, GXDateTime
from gurux_dlms.enums import Authentication, DataType, ErrorCode, ObjectType, SourceDiagnostic, Unit
from gurux_dlms.GXCiphering import GXCiphering
from gurux_dlms.internal._GXCommon import _GXCommon
from gurux_dlms.objects import (
    GXDLMSAssociationLogicalName,
    GXDLMSCaptureObject,
    GXDLMSClock,
    GXDLMSData,
    GXDLMSDisconnectControl,
    GXDLMSRegister,
)

from tests.interop.gurux_meter import GuruxMeter, _Profile

PUBLIC, READER, MANAGEMENT = 16, 32, 1
MECHANISMS = {PUBLIC: Authentication.NONE, READER: Authentication.LOW, MANAGEMENT: Authentication.HIGH_GMAC}
TITLE = b"FRN\x01\x02\x03\x04\x05"
GUEK = bytes.fromhex("5ac1e0112233445566778899aabbccdd")
GAK = bytes.fromhex("a0b1c2d3e4f5061728394a5b6c7d8e9f")
PASSWORD = b"reader-7"
LOAD_PROFILE = "1-1:99.16.0.255"
EVENT_LOG = "0-0:99.98.7.255"
RELAY = "0-0:96.3.11.255"
COUNTER = "0-0:43.1.7.255"
AARQ, RLRQ, GET = 0x60, 0x62, 0xC0
GLO_REQUESTS = (0xC8, 0xC9, 0xCB)


class _Cipher(GXCiphering):
    """The original begins its counter anew with every AARQ; a meter's lasts."""

    def reset(self):
        kept = self.invocationCounter
        super().reset()
        self.invocationCounter = kept


class _Rows(_Profile):
    """Rows with null-data in them: the original writes a null under the column's type."""

    def getData(self, settings, e, table, columns):
        data = GXByteBuffer()
        data.setUInt8(DataType.ARRAY)
        _GXCommon.setObjectCount(len(table), data)
        for row in table:
            data.setUInt8(DataType.STRUCTURE)
            _GXCommon.setObjectCount(len(row), data)
            for value, (target, column) in zip(row, self.captureObjects, strict=True):
                kind = DataType.NONE if value is None else target.getDataType(column.attributeIndex)
                _GXCommon.setData(settings, data, kind, value)
        return data.array()


class ForeignMeter(GuruxMeter):
    """Three associations by client address, a profile of nine columns, a log, a relay, a watched counter."""

    #: what answers a request whose counter does not rise: "exception", "reject" or "silent"
    counter_refusal = "exception"

    def _add_objects(self):
        cipher = self.settings.cipher = _Cipher(TITLE)
        #: (logical name, attribute) -> what the plain GET of it is answered with instead
        self.instead: dict[tuple[str, int], bytes] = {}
        cipher.blockCipherKey, cipher.authenticationKey = bytearray(GUEK), bytearray(GAK)
        #: the lowest counter that is still taken from the client
        self.expected_counter = 0
        self.public_counter = True
        self.actions: list[int] = []
        self.clock = GXDLMSClock()
        self.counter = self._data(COUNTER, 0, DataType.UINT32)
        self.power = self._register("1-1:16.7.0.255", -120, DataType.INT32, 0.01, Unit.ACTIVE_POWER)
        self.energy = self._register("1-1:1.8.1.255", 2**63 + 5, DataType.UINT64, 0.001, Unit.ACTIVE_ENERGY)
        self.factor = self._register("1-1:13.7.0.255", 0.75, DataType.FLOAT32, 1, Unit.NO_UNIT)
        self.status = self._data("0-0:96.10.7.255", 0, DataType.UINT8)
        self.tariff = self._data("0-0:96.14.0.255", 1, DataType.ENUM)
        self.seal = self._data("0-0:96.1.4.255", b"\x00", DataType.OCTET_STRING)
        self.text = self._data("0-0:96.13.0.255", "", DataType.STRING)
        self.inputs = self._data("0-0:96.3.1.255", "0", DataType.BITSTRING)
        self.code = self._data("0-0:96.11.7.255", 0, DataType.UINT16)
        self.relay = GXDLMSDisconnectControl(_dotted(RELAY))
        self.relay.outputState, self.relay.controlState, self.relay.controlMode = True, 1, 4
        columns = (self.clock, self.status, self.power, self.energy, self.factor)
        columns += (self.tariff, self.seal, self.text, self.inputs)
        self.profile = self._profile(LOAD_PROFILE, 1800, columns)
        self.log = self._profile(EVENT_LOG, 0, (self.clock, self.code))
        association = GXDLMSAssociationLogicalName()
        association.objectList.append(self.clock)
        for item in (*columns, self.counter, self.code, self.relay, self.profile, self.log, association):
            self.items.append(item)

    @staticmethod
    def _register(name, value, kind, scaler, unit):
        register = GXDLMSRegister(_dotted(name))
        register.value, register.scaler, register.unit = value, scaler, unit
        register.setDataType(2, kind)
        return register

    @staticmethod
    def _data(name, value, kind):
        data = GXDLMSData(_dotted(name))
        data.value = value
        data.setDataType(2, kind)
        return data

    @staticmethod
    def _profile(name, period, columns):
        profile = _Rows(_dotted(name))
        profile.capturePeriod = period
        profile.captureObjects.extend((target, GXDLMSCaptureObject(2, 0)) for target in columns)
        return profile

    # what gurux asks of an implementation

    def onValidateAuthentication(self, authentication, password):
        if authentication != MECHANISMS.get(self.settings.clientAddress):
            return SourceDiagnostic.AUTHENTICATION_MECHANISM_NAME_NOT_RECOGNISED
        if authentication == Authentication.LOW and bytes(password or b"") != PASSWORD:
            return SourceDiagnostic.AUTHENTICATION_FAILURE
        return SourceDiagnostic.NONE

    def onFindObject(self, objectType, sn, ln):
        return None

    def invoke(self, class_id, name, method):
        if class_id != ObjectType.DISCONNECT_CONTROL or _text(name) != RELAY:
            return ErrorCode.UNDEFINED_OBJECT
        self.actions.append(method)
        self.relay.outputState = method == 2
        self.relay.controlState = int(method == 2)
        return ErrorCode.OK

    # the watch over the client's counter

    def answer(self, frame: bytes) -> bytes | None:
        self.clock.time = GXDateTime(datetime.now().astimezone())
        if frame[8] == AARQ:  # gurux ciphers the AARE under the counter of the RLRE before
            self.settings.cipher.invocationCounter += 1
        counter = _counter_of(frame)
        if counter is not None:
            if counter < self.expected_counter:
                return self._refuse(frame)
            self.expected_counter = counter + 1
        self.counter.value = self.expected_counter
        instead = self.instead.get((_text(frame[13:19]), frame[19])) if frame[8] == GET else None
        if instead is not None:
            return _reply_to(frame, b"\xc4\x01" + frame[10:11] + instead)
        if not self.public_counter:  # an object that the meter does not have
            frame = frame.replace(_octets(COUNTER), _octets("0-0:127.0.0.255"))
        return super().answer(frame)

    def _refuse(self, frame: bytes) -> bytes | None:
        if self.counter_refusal == "silent":
            return None
        if self.counter_refusal == "exception":
            return _reply_to(frame, b"\xd8\x01\x06" + self.expected_counter.to_bytes(4, "big"))
        rejected = "6117 a109060760857405080103 a203020101 a305a103020101"
        return _reply_to(frame, bytes.fromhex(rejected))


def _counter_of(frame: bytes) -> int | None:
    """The invocation counter that a request came with."""
    if frame[8] in GLO_REQUESTS:
        at = 10 if frame[9] < 0x80 else 10 + (frame[9] & 0x7F)
        return int.from_bytes(frame[at + 1 : at + 5], "big")
    if frame[8] != AARQ:
        return None
    at = 10
    while at < len(frame) and frame[at] != 0xBE:
        at += 2 + frame[at + 1]
    inner = frame[at + 4 :]
    return int.from_bytes(inner[3:7], "big") if inner[:1] == b"\x21" else None


def _reply_to(frame: bytes, apdu: bytes) -> bytes:
    return frame[:2] + frame[4:6] + frame[2:4] + len(apdu).to_bytes(2, "big") + apdu


def _dotted(name: str) -> str:
    return name.replace("-", ".").replace(":", ".")


def _octets(name: str) -> bytes:
    return bytes(int(part) for part in _dotted(name).split("."))


def _text(name: bytes) -> str:
    return "{}-{}:{}.{}.{}.{}".format(*name)


#: (the link, a request, the meter's reply) -> what to send, piece by piece; None among them closes the link
Manner = Callable[["DialIn", bytes, bytes | None], Iterable[bytes | None]]


class DialIn(threading.Thread):
    """Dials a gateway, says who it is, answers what comes, says again who it is; dials anew when cut."""

    def __init__(
        self,
        port: int,
        identity: str,
        answer: Callable[[bytes], bytes | None],
        *,
        server_address: int = 1,
        heartbeat_s: float = 1.0,
        manner: Manner | None = None,
    ) -> None:
        super().__init__(daemon=True)
        self._port = port
        self._answer = answer
        self._manner = manner
        self._heartbeat_s = heartbeat_s
        self._ended = threading.Event()
        payload = b"HES1 " + identity.encode()
        self.login = (
            b"".join(number.to_bytes(2, "big") for number in (1, server_address, 0, len(payload))) + payload
        )
        self.requests: list[bytes] = []
        self.links = 0
        self.errors: list[Exception] = []

    def run(self) -> None:
        while not self._ended.is_set():
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self._port), 5) as peer:
                self.links += 1
                self._serve(peer)
            self._ended.wait(0.2)

    def _serve(self, peer: socket.socket) -> None:
        peer.settimeout(self._heartbeat_s)
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        peer.sendall(self.login)
        buffer = b""
        while not self._ended.is_set():
            try:
                chunk = peer.recv(65536)
            except TimeoutError:
                peer.sendall(self.login)
                continue
            if not chunk:
                return
            buffer += chunk
            while len(buffer) >= 8 and len(buffer) >= 8 + int.from_bytes(buffer[6:8], "big"):
                end = 8 + int.from_bytes(buffer[6:8], "big")
                frame, buffer = buffer[:end], buffer[end:]
                if not self._reply(peer, frame):
                    return

    def _reply(self, peer: socket.socket, frame: bytes) -> bool:
        """False: the meter hangs up."""
        self.requests.append(frame)
        try:
            reply = self._answer(frame)
        except Exception as error:  # the test must see it
            self.errors.append(error)
            raise
        for piece in [reply] if self._manner is None else self._manner(self, frame, reply):
            if piece is None:
                return self._manner is None
            peer.sendall(piece)
        return True

    def __enter__(self) -> DialIn:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self.join(5)


def pause(seconds: float) -> bytes:
    """For a manner: a piece of nothing, later."""
    time.sleep(seconds)
    return b""
