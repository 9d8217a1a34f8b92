"""The state of one (link, server address): the fence, the one outstanding exchange, the quarantine.

The wrapper has no transaction id, so a reply is known only by its addresses and by there being one exchange
outstanding. Where that one was given up, whatever still comes could be its reply: the address is quarantined,
and it never gets out of that but by the end of the link.

    IDLE -> WAITING (an exchange that expects a reply was sent)
    WAITING -> IDLE (its reply came) | QUARANTINED (its deadline passed)
"""

from __future__ import annotations

import asyncio
from enum import IntEnum
from typing import Final

from dlms.errors import DlmsError
from dlms.framing.wrapper import decode_frame
from gateway import wire

#: Ceiling on the frames of one request.
MAX_REQUEST_BYTES: Final = 1 << 20


class State(IntEnum):
    IDLE = 0
    WAITING = 1
    QUARANTINED = 2


class Address:
    """One server address of a link, from its first exchange on."""

    __slots__ = ("ambiguous", "client", "held", "reply_to", "request_id", "state", "timer", "token")

    def __init__(self) -> None:
        #: the highest lease token seen
        self.token = 0
        #: wPort of the client that spoke last; None: nobody did
        self.client: int | None = None
        self.state = State.IDLE
        #: the reply was given in general ciphering: it may have been a push, the reply may be yet to come
        self.ambiguous = False
        #: a frame that came after such a reply, for whoever asks on
        self.held: bytes | None = None
        self.request_id = 0
        self.reply_to = ""
        #: deadline of the exchange, or end of the quarantine
        self.timer: asyncio.TimerHandle | None = None

    def admit(self, token: int) -> wire.Status | None:
        """Why a request with this token may not act now; None: it may. A higher one raises the fence."""
        if token < self.token:
            return wire.Status.FENCED
        self.token = token
        if self.state is State.QUARANTINED:
            return wire.Status.QUARANTINED
        return wire.Status.BUSY if self.state is State.WAITING else None

    def wait(self, request: wire.Request, timer: asyncio.TimerHandle) -> None:
        """IDLE -> WAITING."""
        self.state = State.WAITING
        self.request_id = request.request_id
        self.reply_to = request.reply_to
        self.timer = timer

    def settle(self) -> None:
        """WAITING -> IDLE."""
        self.stop_timer()
        self.state = State.IDLE

    def quarantine(self, timer: asyncio.TimerHandle) -> None:
        """WAITING -> QUARANTINED."""
        self.state = State.QUARANTINED
        self.timer = timer

    def stop_timer(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None


def client_of(request: wire.Request) -> int | None:
    """The client wPort that all frames of a request come from, None where it has no frames.

    Raises ValueError where a frame is no frame, or not one from one client to the request's server address.
    """
    client: int | None = None
    if sum(map(len, request.frames)) > MAX_REQUEST_BYTES:
        raise ValueError(f"more than {MAX_REQUEST_BYTES} octets in one request")
    for raw in request.frames:
        try:
            frame = decode_frame(raw)
        except DlmsError as error:
            raise ValueError(str(error)) from None
        if frame.destination != request.server_address:
            raise ValueError(f"a frame to {frame.destination} on address {request.server_address}")
        if client is not None and frame.source != client:
            raise ValueError(f"frames from clients {client} and {frame.source} in one request")
        client = frame.source
    return client
