"""InitiateRequest, InitiateResponse, ConfirmedServiceError: the user-information of the ACSE APDUs.

Source: tests/vectors/acse.toml. The conformance block's tag is 5F 1F; one octet 5F alone is accepted, as the
vector wrapper_aarq_sn_protocol_version_short_conformance_tag shows it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from dlms.axdr import read_length, write_length
from dlms.enums import ApduTag
from dlms.errors import RemoteProtocolError

DLMS_VERSION = 6


class Cursor:
    """Reads an APDU from its front; running out raises RemoteProtocolError (APDU_TRUNCATED)."""

    __slots__ = ("buf", "offset")

    def __init__(self, buf: bytes, offset: int = 0) -> None:
        self.buf = buf
        self.offset = offset

    def take(self, size: int) -> bytes:
        end = self.offset + size
        if end > len(self.buf):
            detail = f"{size} octets expected, {len(self.buf) - self.offset} follow"
            raise RemoteProtocolError(detail, code="APDU_TRUNCATED")
        octets = self.buf[self.offset : end]
        self.offset = end
        return octets

    def octet(self) -> int:
        return self.take(1)[0]

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size))

    def flag(self) -> bool:
        """An A-XDR boolean, or the presence octet of an OPTIONAL or DEFAULT field."""
        return self.octet() != 0

    def octet_string(self) -> bytes:
        length, self.offset = read_length(self.buf, self.offset)
        return self.take(length)

    def rest(self) -> bytes:
        octets = self.buf[self.offset :]
        self.offset = len(self.buf)
        return octets

    @property
    def at_end(self) -> bool:
        return self.offset >= len(self.buf)

    def finish(self) -> None:
        if not self.at_end:
            detail = f"{len(self.buf) - self.offset} octets after the APDU"
            raise RemoteProtocolError(detail, code="APDU_TRAILING")


def _expect(cursor: Cursor, tag: int) -> None:
    found = cursor.octet()
    if found != tag:
        raise RemoteProtocolError(f"tag {found:#04x}, {tag:#04x} expected", code="APDU_TAG")


def _read_conformance(cursor: Cursor) -> int:
    _expect(cursor, 0x5F)
    length = cursor.octet()
    if length == 0x1F:
        length = cursor.octet()
    if length != 4:
        raise RemoteProtocolError(f"a conformance block of {length} octets", code="CONFORMANCE_INVALID")
    cursor.octet()  # number of unused bits: 0
    return cursor.number(3)


def _conformance(bits: int) -> bytes:
    return b"\x5f\x1f\x04\x00" + bits.to_bytes(3)


@dataclass(frozen=True, slots=True)
class InitiateRequest:
    """What the client proposes. `client_max_receive_pdu_size` 0: no limit."""

    TAG: ClassVar[int] = ApduTag.INITIATE_REQUEST

    conformance: int
    client_max_receive_pdu_size: int
    dedicated_key: bytes | None = field(default=None, repr=False)
    response_allowed: bool = True
    quality_of_service: int | None = None
    dlms_version: int = DLMS_VERSION

    def encode(self) -> bytes:
        parts = [bytes((self.TAG,))]
        key = self.dedicated_key
        parts.append(b"\x00" if key is None else b"\x01" + write_length(len(key)) + key)
        parts.append(b"\x00" if self.response_allowed else b"\x01\x00")
        parts.append(b"\x00" if self.quality_of_service is None else bytes((1, self.quality_of_service)))
        parts.append(bytes((self.dlms_version,)) + _conformance(self.conformance))
        parts.append(self.client_max_receive_pdu_size.to_bytes(2))
        return b"".join(parts)

    @classmethod
    def decode(cls, apdu: bytes) -> InitiateRequest:
        cursor = Cursor(apdu)
        _expect(cursor, cls.TAG)
        key = cursor.octet_string() if cursor.flag() else None
        response_allowed = cursor.flag() if cursor.flag() else True
        quality_of_service = cursor.octet() if cursor.flag() else None
        version = cursor.octet()
        conformance = _read_conformance(cursor)
        size = cursor.number(2)
        cursor.finish()
        return cls(conformance, size, key, response_allowed, quality_of_service, version)


@dataclass(frozen=True, slots=True)
class InitiateResponse:
    """What the server agreed to. `server_max_receive_pdu_size` 0: no limit."""

    TAG: ClassVar[int] = ApduTag.INITIATE_RESPONSE

    conformance: int
    server_max_receive_pdu_size: int
    vaa_name: int = 7
    quality_of_service: int | None = None
    dlms_version: int = DLMS_VERSION

    def encode(self) -> bytes:
        quality = b"\x00" if self.quality_of_service is None else bytes((1, self.quality_of_service))
        head = bytes((self.TAG,)) + quality + bytes((self.dlms_version,)) + _conformance(self.conformance)
        return head + self.server_max_receive_pdu_size.to_bytes(2) + self.vaa_name.to_bytes(2)

    @classmethod
    def decode(cls, apdu: bytes) -> InitiateResponse:
        cursor = Cursor(apdu)
        _expect(cursor, cls.TAG)
        quality_of_service = cursor.octet() if cursor.flag() else None
        version = cursor.octet()
        conformance = _read_conformance(cursor)
        size, vaa_name = cursor.number(2), cursor.number(2)
        cursor.finish()
        return cls(conformance, size, vaa_name, quality_of_service, version)


@dataclass(frozen=True, slots=True)
class ConfirmedServiceError:
    """`service` 1 initiate, 5 read, 6 write; `category` and `value` stand in the book's lists."""

    TAG: ClassVar[int] = ApduTag.CONFIRMED_SERVICE_ERROR

    service: int
    category: int
    value: int

    def encode(self) -> bytes:
        return bytes((self.TAG, self.service, self.category, self.value))

    @classmethod
    def decode(cls, apdu: bytes) -> ConfirmedServiceError:
        cursor = Cursor(apdu)
        _expect(cursor, cls.TAG)
        error = cls(cursor.octet(), cursor.octet(), cursor.octet())
        cursor.finish()
        return error
