"""The wrapper of IEC 62056-47: an 8-octet header before each APDU on TCP. Owns cutting and building of
frames.

Must not look into the APDU and must not import anything of dlms but its errors: the gateway runs this code.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from struct import Struct

from dlms.errors import DlmsError, LocalProtocolError, RemoteProtocolError

VERSION = 1
HEADER_OCTETS = 8
MAX_PAYLOAD_OCTETS = 0xFFFF
_HEADER = Struct(">HHHH")


@dataclass(frozen=True, slots=True)
class Frame:
    """One whole frame; `raw` is the frame as it was on the link, header included."""

    source: int
    destination: int
    payload: bytes
    raw: bytes


def encode_frame(source: int, destination: int, payload: bytes) -> bytes:
    """The frame that carries `payload` from wPort `source` to wPort `destination`."""
    if len(payload) > MAX_PAYLOAD_OCTETS:
        raise LocalProtocolError(f"{len(payload)} octets do not fit a wrapper frame", code="FRAME_TOO_LARGE")
    if not (0 <= source <= 0xFFFF and 0 <= destination <= 0xFFFF):
        raise LocalProtocolError(f"wPort out of range: {source} -> {destination}", code="WRAPPER_ADDRESS")
    return _HEADER.pack(VERSION, source, destination, len(payload)) + payload


class WrapperFramer:
    """Cuts a stream of octets into wrapper frames.

    Feed what arrives, then take frames until `next_frame` gives None (more octets are needed). The first
    breach of the rules kills it: the wrapper has no mark to find the next frame by.
    """

    __slots__ = ("_buffer", "_dead", "_max_frame_bytes")

    def __init__(self, max_frame_bytes: int = HEADER_OCTETS + MAX_PAYLOAD_OCTETS) -> None:
        self._max_frame_bytes = max_frame_bytes
        self._buffer = bytearray()
        self._dead: DlmsError | None = None

    @property
    def buffered(self) -> int:
        """Octets held that are not yet part of a frame handed out."""
        return len(self._buffer)

    def feed(self, data: bytes) -> None:
        """Take octets as they came."""
        if self._dead is not None:
            raise self._dead
        self._buffer += data

    def next_frame(self) -> Frame | None:
        """The next whole frame, or None when more octets are needed."""
        if self._dead is not None:
            raise self._dead
        buffer = self._buffer
        if len(buffer) < HEADER_OCTETS:
            if len(buffer) >= 2 and buffer[:2] != b"\x00\x01":
                self._die("WRAPPER_VERSION", f"version {int.from_bytes(buffer[:2])}, not 1")
            return None
        version, source, destination, length = _HEADER.unpack_from(buffer)
        if version != VERSION:
            self._die("WRAPPER_VERSION", f"version {version}, not 1")
        if length == 0:
            self._die("WRAPPER_LENGTH", "a frame without an APDU")
        end = HEADER_OCTETS + length
        if end > self._max_frame_bytes:
            self._die("FRAME_TOO_LARGE", f"{end} octets announced, {self._max_frame_bytes} allowed")
        if len(buffer) < end:
            return None
        raw = bytes(buffer[:end])
        del buffer[:end]
        return Frame(source, destination, raw[HEADER_OCTETS:], raw)

    def __iter__(self) -> Iterator[Frame]:
        while (frame := self.next_frame()) is not None:
            yield frame

    def _die(self, code: str, detail: str) -> None:
        self._buffer.clear()
        self._dead = RemoteProtocolError(detail, code=code)
        raise self._dead


def decode_frame(raw: bytes) -> Frame:
    """The one frame that `raw` is, whole and nothing after it."""
    if len(raw) < HEADER_OCTETS:
        raise RemoteProtocolError(f"{len(raw)} octets are no wrapper frame", code="WRAPPER_LENGTH")
    version, source, destination, length = _HEADER.unpack_from(raw)
    if version != VERSION:
        raise RemoteProtocolError(f"version {version}, not 1", code="WRAPPER_VERSION")
    if length != len(raw) - HEADER_OCTETS:
        raise RemoteProtocolError(
            f"{length} octets announced, {len(raw) - HEADER_OCTETS} follow", code="WRAPPER_LENGTH"
        )
    return Frame(source, destination, raw[HEADER_OCTETS:], raw)
