"""The wire between workers and gateway nodes: messages on Redis lists, key names, streams.

Nothing else of the gateway may be imported from outside it, and this module imports nothing but msgspec.

A message addresses a link (incarnation, connection, server address), never a meter, and carries whole frames.
Structs are packed as msgpack arrays; a field is only ever added at the end, with a default.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final, TypeVar

import msgspec

WIRE_VERSION: Final = 1

#: Transitions of links: fields state (up | down | clash), identity, inc, conn, node, peer, server_address,
#: at_ms, reason. "down" is written only where the identity is left without a link.
PRESENCE_STREAM: Final = "gw:presence"
#: Frames that no exchange waited for, each an encoded `Push` in the field "p"
PUSH_STREAM: Final = "gw:push"
#: Incarnations of the nodes that were announced and did not end in order; `node_key` tells which of them live
NODES_SET: Final = "gw:nodes"

#: detail of a PROBE whose link was displaced: there is nothing to wait for
DISPLACED: Final = "displaced"


class WireError(Exception):
    """A message that is no message of this wire; `code` is WIRE_MALFORMED or WIRE_VERSION.

    `message` is what could be read of a message of another version, so that its sender can be told.
    """

    def __init__(self, code: str, detail: str = "", message: object = None) -> None:
        super().__init__(f"{code}: {detail}" if detail else code)
        self.code = code
        self.detail = detail
        self.message = message


class Kind(IntEnum):
    """What a request asks for."""

    EXCHANGE = 1
    #: cut the link now
    CUT = 2
    #: from another node, where the identity was claimed too: cut the link if it is silent for too long. Its
    #: only "frame" is the packed `Link` that stood in the way.
    PROBE = 3
    #: a ciphered dialog succeeded: the claimed identity is true
    PROVEN = 4


class Expect(IntEnum):
    """How many replies an exchange waits for."""

    NONE = 0
    ONE = 1


class Status(IntEnum):
    """How a request ended; only OK carries frames."""

    OK = 0
    #: the deadline had passed before anything was sent
    EXPIRED = 1
    #: sent, and no reply by the deadline; the address is quarantined now
    TIMEOUT = 2
    LINK_GONE = 3
    #: a higher lease token was seen for this address
    FENCED = 4
    #: an earlier exchange of this address timed out; the link is cut soon
    QUARANTINED = 5
    #: another exchange of this address is outstanding, or the peer does not take what was sent before
    BUSY = 6
    BAD_REQUEST = 7
    #: the meter broke the framing and its link is cut; detail is the code
    FRAME_ERROR = 8
    #: the node is being stopped
    DRAINING = 9


class Request(msgspec.Struct, array_like=True, gc=False):
    """To one node. `reply_to` is the worker's incarnation; empty: no reply is wanted.

    `deadline_ms` is Unix time. With frames empty and `expect` ONE the address' next frame is waited for.
    """

    version: int
    kind: int
    request_id: int
    reply_to: str
    incarnation: str
    connection: int
    server_address: int
    token: int
    deadline_ms: int
    frames: list[bytes]
    expect: int
    detail: str = ""


class Reply(msgspec.Struct, array_like=True, gc=False):
    """To one worker. Every request with `reply_to` gets exactly one, unless the node dies."""

    version: int
    request_id: int
    status: int
    frames: list[bytes]
    detail: str


class Link(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """Where a meter is; valid while `node_key(incarnation)` exists. `connection` is unique in it."""

    identity: str
    incarnation: str
    connection: int
    server_address: int
    node: str
    peer: str
    proven: bool = False


class Push(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A whole frame that came without being asked for. The identity is as claimed, not proven."""

    version: int
    identity: str
    incarnation: str
    connection: int
    source: int
    destination: int
    received_ms: int
    frame: bytes


def node_key(incarnation: str) -> str:
    """Lives while the node does: JSON with its name, port and counters."""
    return f"gw:node:{incarnation}"


def requests_key(incarnation: str) -> str:
    """List of requests to a node."""
    return f"gw:req:{incarnation}"


def link_key(identity: str) -> str:
    """The packed `Link` of an identity."""
    return f"gw:link:{identity}"


def replies_key(worker_incarnation: str) -> str:
    """List of replies to a worker incarnation."""
    return f"wk:rep:{worker_incarnation}"


M = TypeVar("M", Request, Reply, Push)

_encoder = msgspec.msgpack.Encoder()
_request_decoder = msgspec.msgpack.Decoder(Request)
_reply_decoder = msgspec.msgpack.Decoder(Reply)
_link_decoder = msgspec.msgpack.Decoder(Link)
_push_decoder = msgspec.msgpack.Decoder(Push)


def encode_request(request: Request) -> bytes:
    return _encoder.encode(request)


def decode_request(packed: bytes) -> Request:
    """Raises WireError on what is no request of this version."""
    try:
        request = _request_decoder.decode(packed)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise WireError("WIRE_MALFORMED", str(error)) from None
    return _of_this_version(request)


def encode_reply(reply: Reply) -> bytes:
    return _encoder.encode(reply)


def decode_reply(packed: bytes) -> Reply:
    """Raises WireError on what is no reply of this version."""
    try:
        reply = _reply_decoder.decode(packed)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise WireError("WIRE_MALFORMED", str(error)) from None
    return _of_this_version(reply)


def encode_link(link: Link) -> bytes:
    return _encoder.encode(link)


def decode_link(packed: bytes) -> Link:
    """Raises WireError on what is no link entry."""
    try:
        return _link_decoder.decode(packed)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise WireError("WIRE_MALFORMED", str(error)) from None


def encode_push(push: Push) -> bytes:
    return _encoder.encode(push)


def decode_push(packed: bytes) -> Push:
    """Raises WireError on what is no pushed frame of this version."""
    try:
        push = _push_decoder.decode(packed)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise WireError("WIRE_MALFORMED", str(error)) from None
    return _of_this_version(push)


def _of_this_version(message: M) -> M:
    if message.version != WIRE_VERSION:
        raise WireError("WIRE_VERSION", f"version {message.version}, not {WIRE_VERSION}", message)
    return message
