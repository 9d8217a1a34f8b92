# ruff: noqa: N803
"""A meter made of gurux-dlms' Python server, behind a real TCP socket: the independent voice for our client.

The codecs, the ciphering, the block transfer and the HLS proof are gurux's. The server part of gurux-dlms
1.0.203 was translated from Java and cannot run as it is; what is mended here is said at each place. Its
invocation counter begins at 0 with every AARQ; its block size is the PDU size that the client proposes.
"""

from __future__ import annotations

import socket
import threading
from datetime import datetime
from types import SimpleNamespace

from gurux_dlms import GXByteBuffer, GXDateTime
from gurux_dlms.AesGcmParameter import AesGcmParameter
from gurux_dlms.ConnectionState import ConnectionState
from gurux_dlms.enums import (
    AccessMode,
    Authentication,
    Command,
    DataType,
    ErrorCode,
    InterfaceType,
    MethodAccessMode,
    ObjectType,
    SourceDiagnostic,
    Unit,
)
from gurux_dlms.GXCiphering import GXCiphering
from gurux_dlms.GXDLMS import GXDLMS
from gurux_dlms.GXDLMSLNParameters import GXDLMSLNParameters
from gurux_dlms.GXDLMSLongTransaction import GXDLMSLongTransaction
from gurux_dlms.GXSecure import GXSecure
from gurux_dlms.GXServerReply import GXServerReply
from gurux_dlms.internal._GXCommon import _GXCommon
from gurux_dlms.internal._GXDataInfo import _GXDataInfo
from gurux_dlms.objects import (
    GXDLMSAssociationLogicalName,
    GXDLMSCaptureObject,
    GXDLMSClock,
    GXDLMSProfileGeneric,
    GXDLMSRegister,
)
from gurux_dlms.secure import GXDLMSSecureServer


class _Reply(GXServerReply):
    """The accessors that the server calls and the class lacks."""

    def setReply(self, value):
        self.reply = value

    def getConnectionInfo(self):
        return self.connectionInfo


class _Buffer(GXByteBuffer):
    """generateAARE forgets the length of the system title: 8."""

    def setUInt8(self, item=8, index=None):
        super().setUInt8(item, index)


class _Profile(GXDLMSProfileGeneric):
    """Selection by range: the original compares a date-time with the number 0."""

    def getValue(self, settings, e):
        if e.index != 2:
            return super().getValue(settings, e)
        rows = self.buffer
        if e.selector == 1:
            start, end = (self._moment(settings, e.parameters[index]) for index in (1, 2))
            rows = [row for row in rows if start <= row[0].value <= end]
        e.byteArray = True
        e.rowEndIndex = 0
        settings.index = 0
        data = self.getData(settings, e, rows, None)
        settings.index = settings.count = 0
        return data

    @staticmethod
    def _moment(settings, octets):
        info = _GXDataInfo()
        info.type_ = DataType.DATETIME
        return _GXCommon.getData(settings, GXByteBuffer(octets), info).value


class GuruxMeter(GXDLMSSecureServer):
    """One meter: clock, registers, a load profile of four columns, associations lowest, LLS and HLS-GMAC."""

    def __init__(self, password=b""):
        super().__init__(True, InterfaceType.WRAPPER)
        self.replyData = _Buffer()
        self.password = password
        self.request_tags_right = True
        #: The original: the first reply is ciphered under the counter of the AARE.
        self.counter_used_twice = False
        self.settings.cipher = GXCiphering(b"ABCDEFGH")  # the original sets an attribute that nothing reads
        self.settings.gbtWndowSize = 1  # the name that the block transfer looks for
        self._add_objects()
        self.initialize()

    def _add_objects(self):
        clock = GXDLMSClock()
        clock.time = GXDateTime(datetime.fromisoformat("2026-03-01T12:34:56+01:00"))
        self.items.append(clock)
        registers = []
        for name, value, kind, unit in (
            ("1.0.1.8.0.255", 4_000_000_000, DataType.UINT32, Unit.ACTIVE_ENERGY),
            ("1.0.2.8.0.255", -5, DataType.INT32, Unit.ACTIVE_ENERGY),
            ("1.0.32.7.0.255", 2301, DataType.UINT16, Unit.VOLTAGE),
        ):
            register = GXDLMSRegister(name)
            register.value, register.scaler, register.unit = value, 0.1, unit
            register.setDataType(2, kind)
            self.items.append(register)
            registers.append(register)
        profile = _Profile("1.0.99.1.0.255")
        profile.capturePeriod = 900
        for target, attribute in ((clock, 2), *((register, 2) for register in registers)):
            profile.captureObjects.append((target, GXDLMSCaptureObject(attribute, 0)))
        self.items.append(profile)
        self.profile = profile
        association = GXDLMSAssociationLogicalName()
        association.objectList.append(clock)  # an empty list makes initialize() append a list to itself
        self.items.append(association)

    # what an implementation of the server must provide

    def isTarget(self, serverAddress, clientAddress):
        return serverAddress == 1

    def onValidateAuthentication(self, authentication, password):
        if authentication == Authentication.LOW and bytes(password or b"") != self.password:
            return SourceDiagnostic.AUTHENTICATION_FAILURE
        return SourceDiagnostic.NONE

    def onGetAttributeAccess(self, arg):
        return AccessMode.READ_WRITE

    def onGetMethodAccess(self, arg):
        return MethodAccessMode.ACCESS

    def onFindObject(self, objectType, sn, ln):
        return None

    def onConnected(self, connectionInfo):
        pass

    def onDisconnected(self, connectionInfo):
        pass

    def onInvalidConnection(self, connectionInfo):
        pass

    def onPreRead(self, args):
        pass

    def onPostRead(self, *args):
        pass

    def notifyRead(self, *args):
        pass

    # what the block transfer calls and the server lacks

    def getTransaction(self):
        return self.transaction

    def setTransaction(self, value):
        if isinstance(value, GXDLMSLongTransaction):
            rest, value.data = value.data, GXByteBuffer()
            value.data.set(rest, rest.position, len(rest) - rest.position)
            value.setData = lambda data: self._keep(value, data)
        self.transaction = value

    @staticmethod
    def _keep(transaction, data):
        transaction.data = GXByteBuffer()
        transaction.data.set(data, data.position, len(data) - data.position)

    def handleCommand(self, cmd, data, sr):
        """ACTION: the original cannot reach its own reply to the HLS challenge."""
        if cmd != Command.METHOD_REQUEST:
            reply = super().handleCommand(cmd, data, sr)
            if cmd == Command.AARQ and not self.counter_used_twice:
                self.settings.cipher.invocationCounter += 1
            return reply
        data.getUInt8()
        invoke = data.getUInt8()
        class_id, name = data.getUInt16(), bytearray(6)
        data.get(name)
        method = data.getUInt8()
        answer = bytes(_GXCommon.getData(self.settings, data, _GXDataInfo())) if data.getUInt8() else b""
        reply, error = GXByteBuffer(), ErrorCode.READ_WRITE_DENIED
        if class_id == ObjectType.ASSOCIATION_LOGICAL_NAME and method == 1:
            proof = self._prove(answer)
            if proof is not None:
                error = ErrorCode.OK
                reply.setUInt8(1)
                reply.setUInt8(0)
                _GXCommon.setData(self.settings, reply, DataType.OCTET_STRING, proof)
        else:
            error = self.invoke(class_id, bytes(name), method)
        if error != ErrorCode.OK or not reply:
            reply.setUInt8(0)
        GXDLMS.getLNPdu(
            GXDLMSLNParameters(self.settings, invoke, Command.METHOD_RESPONSE, 1, None, reply, error),
            self.replyData,
        )
        return GXDLMS.getWrapperFrame(self.settings, cmd, self.replyData)

    def invoke(self, class_id, name, method):
        """A method that returns nothing."""
        return ErrorCode.READ_WRITE_DENIED

    def _prove(self, answer):
        """Check f(StoC) and give f(CtoS), both by gurux's GXSecure."""
        settings, cipher = self.settings, self.settings.cipher
        received = int.from_bytes(answer[1:5], "big")
        expected = GXSecure.secure(
            settings, cipher, received, settings.stoCChallenge, settings.sourceSystemTitle
        )
        if bytes(expected) != answer:
            return None
        settings.connected = settings.connected | ConnectionState.DLMS
        counter = cipher.invocationCounter
        return GXSecure.secure(settings, cipher, counter, settings.ctoSChallenge, cipher.systemTitle)

    def _plain(self, frame: bytes) -> bytes:
        """A glo-request deciphered by gurux: the original calls its own parameters with one argument short.

        gurux verifies no tag, so the plain octets are ciphered again by gurux: the result must be what came.
        """
        if frame[8] not in (Command.GLO_GET_REQUEST, Command.GLO_METHOD_REQUEST):
            return frame
        settings, cipher = self.settings, self.settings.cipher
        keys = settings.sourceSystemTitle, cipher.blockCipherKey, cipher.authenticationKey
        opened = AesGcmParameter(0, *keys)
        plain = bytes(GXCiphering.decrypt(settings, opened, GXByteBuffer(frame[8:])))
        again = AesGcmParameter(frame[8], *keys)
        again.security, again.invocationCounter = opened.security, opened.invocationCounter
        self.request_tags_right &= bytes(GXCiphering.encrypt(again, plain)) == frame[8:]
        return frame[:6] + len(plain).to_bytes(2, "big") + plain

    def answer(self, frame: bytes) -> bytes | None:
        """The reply to one request frame."""
        reply = _Reply(bytearray(self._plain(frame)))
        self.handleRequest(reply)
        return bytes(reply.reply) if reply.reply else None


class GuruxPort(threading.Thread):
    """Serves one meter on a free loopback port, one connection after the other, until closed."""

    def __init__(self, meter: GuruxMeter) -> None:
        super().__init__(daemon=True)
        self.meter = meter
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = self._listener.getsockname()
        self.seen = SimpleNamespace(requests=0)

    def run(self) -> None:
        while True:
            try:
                peer, _ = self._listener.accept()
            except OSError:
                return
            with peer:
                self._serve(peer)

    def _serve(self, peer: socket.socket) -> None:
        buffer = b""
        while chunk := peer.recv(65536):
            buffer += chunk
            while len(buffer) >= 8 and len(buffer) >= 8 + int.from_bytes(buffer[6:8], "big"):
                end = 8 + int.from_bytes(buffer[6:8], "big")
                frame, buffer = buffer[:end], buffer[end:]
                self.seen.requests += 1
                reply = self.meter.answer(frame)
                if reply is not None:
                    peer.sendall(reply)

    def __enter__(self) -> GuruxPort:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.join(5)
