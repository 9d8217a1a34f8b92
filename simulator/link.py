"""One connection of one meter: cuts frames, asks the meter's server, answers, with the meter's fault if any.

Must not know why a connection was made or when it is made again (`simulator.fleet`).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

from dlms.enums import ApduTag
from dlms.errors import RemoteProtocolError
from dlms.framing.wrapper import Frame, WrapperFramer, encode_frame
from dlms.server import MeterServer
from simulator.faults import Fault

if TYPE_CHECKING:
    from simulator.fleet import Fleet
    from simulator.meter import Meter

#: The login frame goes to wPort 0, "no station": no client can own it.
NO_STATION = 0
LOGIN_PREFIX = b"HES1 "
#: What BAD_LENGTH and SHORT_LENGTH are wrong by: the wrapper's own header.
LENGTH_ERROR = 8
_AARQ = bytes((ApduTag.AARQ,))
#: Services that answer with a ciphered APDU: glo-get/set/action-response.
_CIPHERED_TAGS = frozenset((ApduTag.GLO_GET_RESPONSE, ApduTag.GLO_SET_RESPONSE, ApduTag.GLO_ACTION_RESPONSE))


def login_frame(identity: str, server_address: int) -> bytes:
    """Who a meter is: the first frame after connecting, repeated as heartbeat."""
    return encode_frame(server_address, NO_STATION, LOGIN_PREFIX + identity.encode("ascii"))


class MeterLink(asyncio.Protocol):
    __slots__ = ("_fleet", "_framer", "_heartbeat", "_requests", "_server", "_transport", "closed", "meter")

    def __init__(self, fleet: Fleet, meter: Meter, closed: asyncio.Future[None] | None = None) -> None:
        self._fleet = fleet
        self.meter = meter
        self.closed = closed
        self._framer = WrapperFramer()
        self._server = MeterServer(meter)
        self._transport: asyncio.Transport | None = None
        self._heartbeat: asyncio.TimerHandle | None = None
        self._requests = 0

    @property
    def dials(self) -> bool:
        """Whether this meter made the connection, and so has to say who it is."""
        return self.closed is not None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's own class is no subclass of it
        self._fleet.links.add(self)
        if self.dials:
            self._log_in()

    def _log_in(self) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        self._fleet.count("logins")
        self._transport.write(login_frame(self.meter.serial, self.meter.server_address))
        self._heartbeat = asyncio.get_running_loop().call_later(
            self._fleet.settings.heartbeat_s, self._log_in
        )

    def data_received(self, data: bytes) -> None:
        try:
            self._framer.feed(data)
            for frame in self._framer:
                self._on_frame(frame)
        except RemoteProtocolError:
            self._fleet.count("frames_broken")
            self.close()

    def _on_frame(self, frame: Frame) -> None:
        self._fleet.count("frames_in")
        if frame.destination != self.meter.server_address:
            self._fleet.count("frames_to_nobody")
            return
        if frame.payload[:1] == _AARQ:
            self._requests = 0
        self._requests += 1
        reply = self._server.handle(frame.payload, frame.source)
        if reply is not None:
            self._answer(reply, frame.source)

    def _answer(self, reply: bytes, client_address: int) -> None:
        fault, settings = self.meter.fault, self._fleet.settings
        if fault is None:
            self._send(encode_frame(self.meter.server_address, client_address, reply))
            return
        if fault is Fault.SILENT:
            return
        if fault in (Fault.STOP_MID_DIALOG, Fault.CUT_MID_DIALOG) and self._requests > settings.stop_after:
            if fault is Fault.CUT_MID_DIALOG:
                self.close()
            return
        if fault is Fault.BAD_TAG and reply[0] in _CIPHERED_TAGS:
            reply = reply[:-1] + bytes((reply[-1] ^ 1,))
        frame = bytearray(encode_frame(self.meter.server_address, client_address, reply))
        if fault in (Fault.BAD_LENGTH, Fault.SHORT_LENGTH):
            wrong = LENGTH_ERROR if fault is Fault.BAD_LENGTH else -LENGTH_ERROR
            frame[6:8] = max(1, len(reply) + wrong).to_bytes(2, "big")
        if fault is Fault.LATE:
            asyncio.get_running_loop().call_later(settings.late_s, self._send, bytes(frame))
        else:
            self._send(bytes(frame))

    def _send(self, frame: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._fleet.count("frames_out")
            self._transport.write(frame)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._fleet.links.discard(self)
        if self._heartbeat is not None:
            self._heartbeat.cancel()
        self._server.reset()
        self._transport = None
        if self.closed is not None and not self.closed.done():
            self.closed.set_result(None)
