"""One connection: cuts frames, knows who claims to be at its end, gives each frame to whom it belongs.

Owns the exchanges of its addresses. Must not look into an APDU beyond its first octet, never answers a peer.
"""

from __future__ import annotations

import asyncio
import time
from enum import IntEnum
from typing import TYPE_CHECKING, Final, cast

from dlms.errors import DlmsError
from dlms.framing.wrapper import Frame, WrapperFramer
from gateway import wire
from gateway.address import Address, State, client_of
from gateway.login import LoginError, is_login, parse_login

if TYPE_CHECKING:
    from gateway.node import Node

#: data-notification, event-notification-request, glo-event-notification-request: never the reply to a request
PUSH_TAGS: Final = frozenset((0x0F, 0xC2, 0xCA))
#: general-glo-, general-ded-, general-ciphering, general-signing: a reply if an exchange waits, else a push
GENERAL_TAGS: Final = frozenset((0xDB, 0xDC, 0xDD, 0xDF))
#: Octets that may wait for a peer which does not read, before it is given no more.
WRITE_BUFFER_BYTES: Final = 64 * 1024


class Claim(IntEnum):
    """Where the claim of an identity stands, as this node knows it."""

    NONE = 0
    #: not yet put to Redis
    WANTED = 1
    #: the link entry is ours, or may be
    HELD = 2
    #: a proven live link holds the identity
    REFUSED = 3


class MeterLink(asyncio.Protocol):
    __slots__ = (
        "addresses",
        "bytes_in",
        "bytes_out",
        "claim",
        "clash_told",
        "exchanges",
        "framer",
        "frames_in",
        "half_since",
        "host",
        "identity",
        "last_frame_at",
        "node",
        "number",
        "opened_at",
        "peer_port",
        "probe",
        "proven",
        "reason",
        "server_address",
        "transport",
        "write_paused",
    )

    def __init__(self, node: Node) -> None:
        self.node = node
        self.number = 0
        self.transport: asyncio.Transport | None = None
        self.framer: WrapperFramer | None = None
        self.addresses: dict[int, Address] | None = None
        self.identity = ""
        self.server_address = 0
        self.host = ""
        self.peer_port = 0
        self.claim = Claim.NONE
        self.clash_told = False
        self.proven = False
        self.probe: asyncio.TimerHandle | None = None
        #: why it ended; empty while it lives
        self.reason = ""
        self.write_paused = False
        self.opened_at = self.last_frame_at = node.loop.time()
        self.half_since = 0.0
        self.bytes_in = self.bytes_out = self.frames_in = self.exchanges = 0

    @property
    def peer(self) -> str:
        return f"{self.host}:{self.peer_port}"

    def entry(self) -> wire.Link:
        """What stands in Redis under its identity."""
        node = self.node
        return wire.Link(
            self.identity,
            node.incarnation,
            self.number,
            self.server_address,
            node.name,
            self.peer,
            self.proven,
        )

    # --- the socket

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        peername = transport.get_extra_info("peername") or ("", 0)
        self.host, self.peer_port = peername[0], peername[1]
        self.transport.set_write_buffer_limits(high=WRITE_BUFFER_BYTES)
        self.node.opened(self)

    def data_received(self, data: bytes) -> None:
        if self.ended():
            return
        self.bytes_in += len(data)
        framer = self.framer
        if framer is None:
            framer = WrapperFramer(self.node.config.max_frame_bytes)
        whole = 0
        try:
            framer.feed(data)
            while not self.ended() and (frame := framer.next_frame()) is not None:
                whole += 1
                self._take(frame)
        except DlmsError as error:
            self.end(error.code.lower(), wire.Status.FRAME_ERROR, error.code)
        if self.ended():
            return
        if whole:
            self.frames_in += whole
            self.node.frames_came(self)
        if framer.buffered:
            self.framer = framer
            if whole or not self.half_since:
                self.node.half_frame_begins(self)
        elif self.half_since:
            self.framer = None
            self.node.half_frame_ends(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.end("peer_reset" if exc else "peer_closed")
        self.transport = None

    def pause_writing(self) -> None:
        self.write_paused = True

    def resume_writing(self) -> None:
        self.write_paused = False

    # --- frames from the peer

    def _take(self, frame: Frame) -> None:
        if is_login(frame.destination, frame.payload):
            self._login(frame)
            return
        address = self.addresses.get(frame.source) if self.addresses else None
        tag = frame.payload[0]
        if tag in PUSH_TAGS:
            self._push(frame)
        elif address is None or address.state is State.IDLE:
            if address is not None and address.ambiguous and frame.destination == address.client:
                self._hold(address, frame, tag)
            else:
                self._push_or_discard(frame, tag, "unmatched")
        elif address.state is State.QUARANTINED:
            self.node.discard("late")
        elif frame.destination == address.client:
            address.settle()
            address.ambiguous = tag in GENERAL_TAGS
            self.node.exchange_ends()
            self.node.reply(address.reply_to, address.request_id, wire.Status.OK, [frame.raw])
        else:
            self._push_or_discard(frame, tag, "wrong_client")

    def _hold(self, address: Address, frame: Frame, tag: int) -> None:
        """A ciphered push and the reply behind it, in one segment: the worker asks on once it has deciphered
        the first."""
        if tag in GENERAL_TAGS:
            self._push(frame)
            return
        address.ambiguous = False
        address.held = frame.raw

    def _push_or_discard(self, frame: Frame, tag: int, reason: str) -> None:
        if tag in GENERAL_TAGS:
            self._push(frame)
        else:
            self.node.discard(reason)

    def _push(self, frame: Frame) -> None:
        if not self.identity:
            self.node.discard("unidentified")
            return
        self.node.push(
            wire.Push(
                wire.WIRE_VERSION,
                self.identity,
                self.node.incarnation,
                self.number,
                frame.source,
                frame.destination,
                int(time.time() * 1000),
                frame.raw,
            )
        )

    def _login(self, frame: Frame) -> None:
        try:
            identity = parse_login(frame.payload)
        except LoginError:
            self.end("login_malformed")
            return
        if not self.identity:
            self.identity, self.server_address = identity, frame.source
            self.node.identified(self)
        elif (identity, frame.source) != (self.identity, self.server_address):
            self.end("identity_changed")

    # --- requests from workers

    def exchange(self, request: wire.Request, left_s: float) -> tuple[wire.Status, str] | None:
        """Send a request's frames. None: its reply, or its timeout, comes later."""
        try:
            client = client_of(request)
        except ValueError as error:
            return wire.Status.BAD_REQUEST, str(error)
        address = self._address(request.server_address)
        refused = address.admit(request.token)
        if refused is not None:
            return refused, ""
        if client is None and (address.client is None or request.expect == wire.Expect.NONE):
            return wire.Status.BAD_REQUEST, "no frames, and nothing to wait for"
        held, address.held, address.ambiguous = address.held, None, False
        if held is not None:
            if client is None:
                self.exchanges += 1
                self.node.reply(request.reply_to, request.request_id, wire.Status.OK, [held])
                return None
            self.node.discard("unmatched")
        if self.write_paused or self.transport is None:
            return wire.Status.BUSY, "the peer does not take what was sent before"
        if client is not None:
            address.client = client
            octets = request.frames[0] if len(request.frames) == 1 else b"".join(request.frames)
            self.bytes_out += len(octets)
            self.transport.write(octets)
        self.exchanges += 1
        if request.expect == wire.Expect.NONE:
            return wire.Status.OK, ""
        address.wait(request, self.node.loop.call_later(left_s, self._deadline, address))
        self.node.exchange_begins()
        return None

    def fenced(self, request: wire.Request) -> bool:
        """Whether the request's lease token is lower than one seen; else it raises the fence."""
        return self._address(request.server_address).admit(request.token) is wire.Status.FENCED

    def _address(self, server_address: int) -> Address:
        if self.addresses is None:
            self.addresses = {}
        return self.addresses.setdefault(server_address, Address())

    def _deadline(self, address: Address) -> None:
        loop = self.node.loop
        address.quarantine(loop.call_later(self.node.config.quarantine_s, self.end, "quarantine"))
        self.node.exchange_ends()
        self.node.reply(address.reply_to, address.request_id, wire.Status.TIMEOUT, [])

    # --- the end

    def ended(self) -> bool:
        return bool(self.reason)

    def end(self, reason: str, status: wire.Status = wire.Status.LINK_GONE, detail: str = "") -> None:
        """Cut the link, where it still lives. Whoever waits for a reply is told at once."""
        if self.ended():
            return
        self.reason = reason
        if self.probe is not None:
            self.probe.cancel()
        for address in (self.addresses or {}).values():
            if address.state is State.WAITING:
                self.node.exchange_ends()
                self.node.reply(address.reply_to, address.request_id, status, [], detail or reason)
            address.stop_timer()
        self.framer = None
        if self.transport is not None:
            self.transport.abort()
        self.node.closed(self)
