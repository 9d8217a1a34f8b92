"""ACSE: AARQ, AARE, RLRQ, RLRE. Owns their BER; the user-information is octets here (see
`dlms.xdlms.initiate`).

Optional fields that nothing here needs are skipped, whatever they hold: meters send certificates,
implementation information, invocation identifiers. Source: tests/vectors/acse.toml (book examples, real
meters).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from dlms.axdr import write_length
from dlms.enums import ApduTag, ApplicationContext
from dlms.errors import RemoteProtocolError

#: 2.16.756.5.8 with the arcs for context names (1) and mechanism names (2); the last octet is the number.
_CONTEXT_NAME = bytes.fromhex("608574050801")
_MECHANISM_NAME = bytes.fromhex("608574050802")
_MAX_FIELDS = 32


def _tlv(tag: int, content: bytes) -> bytes:
    return bytes((tag,)) + write_length(len(content)) + content


def _invalid(detail: str) -> RemoteProtocolError:
    return RemoteProtocolError(detail, code="ACSE_INVALID")


def _read_tlv(buf: bytes, offset: int, end: int) -> tuple[int, int, int]:
    """Tag, start and end of the content of the field at `offset`."""
    if end - offset < 2:
        raise _invalid("a field stops short")
    tag, length, start = buf[offset], buf[offset + 1], offset + 2
    if length >= 0x80:
        count = length & 0x7F
        if not 1 <= count <= 4 or end - start < count:
            raise _invalid("a length that cannot be")
        length = int.from_bytes(buf[start : start + count])
        start += count
    if start + length > end:
        raise _invalid(f"field {tag:#04x} announces {length} octets, {end - start} follow")
    return tag, start, start + length


#: Fields that are a tag around exactly one other field.
_EXPLICIT = frozenset({0xA1, 0xA2, 0xA3, 0xA4, 0xA6, 0xAA, 0xAC, 0xBE})


def _fields(apdu: bytes, tag: int) -> dict[int, bytes]:
    """The fields of the APDU by tag, and under 0 the octet that may be left (see `_user_information`).

    Peers count short: gurux-dlms' server the AARE's authentication value (by 2) and the whole RLRE, an E650
    the AARE. What is meant stays plain: the frame says where the APDU ends, the inner field where an explicit
    tag does.
    """
    if len(apdu) < 2 or apdu[0] != tag:
        raise _invalid(f"tag {tag:#04x} expected")
    _, offset, _ = _read_tlv(apdu, 0, len(apdu))
    end = len(apdu)
    fields: dict[int, bytes] = {}
    while offset < end:
        if end - offset == 1:
            fields[0] = apdu[offset:]
            break
        field_tag, start, offset = _read_tlv(apdu, offset, end)
        if field_tag in _EXPLICIT:
            offset = max(offset, _read_tlv(apdu, start, end)[2])
        if field_tag in fields or len(fields) >= _MAX_FIELDS:
            raise _invalid(f"field {field_tag:#04x} twice, or too many fields")
        fields[field_tag] = apdu[start:offset]
    return fields


def _inner(content: bytes | None, tags: tuple[int, ...]) -> bytes | None:
    """The content of the one field inside an explicitly tagged one."""
    if content is None:
        return None
    tag, start, end = _read_tlv(content, 0, len(content))
    if tag not in tags or end != len(content):
        raise _invalid(f"field {tag:#04x} cannot stand here")
    return content[start:end]


def _number(content: bytes | None) -> int | None:
    if content is None:
        return None
    if not 1 <= len(content) <= 4:
        raise _invalid("an integer of unlikely size")
    return int.from_bytes(content)


def _name(content: bytes | None, prefix: bytes) -> int | None:
    """The last number of an object identifier under `prefix`."""
    if content is None:
        return None
    if len(content) != 7 or content[:6] != prefix:
        raise _invalid(f"object identifier {content[:16].hex()}")
    return content[6]


def _user_information(fields: dict[int, bytes]) -> bytes | None:
    """The octet string in field BE.

    An E650 counts its plain initiate-response (08) one octet short (vector aare_sn_accepted): the octet that
    is left at the end of the APDU belongs to it. Nothing else may be left.
    """
    content = _inner(fields.get(0xBE), (0x04,))
    rest = fields.get(0, b"")
    if not rest:
        return content
    if content is None or content[:1] != b"\x08" or list(fields)[-2:] != [0xBE, 0]:
        raise _invalid("an octet after the last field")
    return content + rest


def _context(fields: dict[int, bytes]) -> int:
    number = _name(_inner(fields.get(0xA1), (0x06,)), _CONTEXT_NAME)
    if number is None:
        raise _invalid("no application context name")
    return number


def _authentication_value(content: bytes | None) -> bytes | None:
    """charstring [0] of the GraphicString, as every profile of DLMS uses; bitstring [1] taken as it is."""
    return _inner(content, (0x80, 0x81))


def _ap_title(content: bytes | None) -> bytes | None:
    return _inner(content, (0x04,))


@dataclass(frozen=True, slots=True)
class Aarq:
    """Association request. `mechanism` None: lowest level, no authentication fields."""

    TAG: ClassVar[int] = ApduTag.AARQ

    application_context: int = ApplicationContext.LN
    calling_ap_title: bytes | None = None
    mechanism: int | None = None
    calling_authentication_value: bytes | None = field(default=None, repr=False)
    user_information: bytes | None = None

    def encode(self) -> bytes:
        parts = [_tlv(0xA1, _tlv(0x06, _CONTEXT_NAME + bytes((self.application_context,))))]
        if self.calling_ap_title is not None:
            parts.append(_tlv(0xA6, _tlv(0x04, self.calling_ap_title)))
        if self.mechanism is not None:
            parts.append(b"\x8a\x02\x07\x80")
            parts.append(_tlv(0x8B, _MECHANISM_NAME + bytes((self.mechanism,))))
        if self.calling_authentication_value is not None:
            parts.append(_tlv(0xAC, _tlv(0x80, self.calling_authentication_value)))
        if self.user_information is not None:
            parts.append(_tlv(0xBE, _tlv(0x04, self.user_information)))
        return _tlv(self.TAG, b"".join(parts))

    @classmethod
    def decode(cls, apdu: bytes) -> Aarq:
        fields = _fields(apdu, cls.TAG)
        return cls(
            application_context=_context(fields),
            calling_ap_title=_ap_title(fields.get(0xA6)),
            mechanism=_name(fields.get(0x8B), _MECHANISM_NAME),
            calling_authentication_value=_authentication_value(fields.get(0xAC)),
            user_information=_user_information(fields),
        )


@dataclass(frozen=True, slots=True)
class Aare:
    """Association response. `diagnostic_source` 1: ACSE service user, 2: provider."""

    TAG: ClassVar[int] = ApduTag.AARE

    result: int
    diagnostic: int = 0
    diagnostic_source: int = 1
    application_context: int = ApplicationContext.LN
    responding_ap_title: bytes | None = None
    mechanism: int | None = None
    responding_authentication_value: bytes | None = field(default=None, repr=False)
    user_information: bytes | None = None

    def encode(self) -> bytes:
        source = 0xA0 | self.diagnostic_source
        parts = [
            _tlv(0xA1, _tlv(0x06, _CONTEXT_NAME + bytes((self.application_context,)))),
            _tlv(0xA2, _tlv(0x02, bytes((self.result,)))),
            _tlv(0xA3, _tlv(source, _tlv(0x02, bytes((self.diagnostic,))))),
        ]
        if self.responding_ap_title is not None:
            parts.append(_tlv(0xA4, _tlv(0x04, self.responding_ap_title)))
        if self.mechanism is not None:
            parts.append(b"\x88\x02\x07\x80")
            parts.append(_tlv(0x89, _MECHANISM_NAME + bytes((self.mechanism,))))
        if self.responding_authentication_value is not None:
            parts.append(_tlv(0xAA, _tlv(0x80, self.responding_authentication_value)))
        if self.user_information is not None:
            parts.append(_tlv(0xBE, _tlv(0x04, self.user_information)))
        return _tlv(self.TAG, b"".join(parts))

    @classmethod
    def decode(cls, apdu: bytes) -> Aare:
        fields = _fields(apdu, cls.TAG)
        result = _number(_inner(fields.get(0xA2), (0x02,)))
        if result is None:
            raise _invalid("no association result")
        source, diagnostic = _diagnostic(fields.get(0xA3))
        return cls(
            result=result,
            diagnostic=diagnostic,
            diagnostic_source=source,
            application_context=_context(fields),
            responding_ap_title=_ap_title(fields.get(0xA4)),
            mechanism=_name(fields.get(0x89), _MECHANISM_NAME),
            responding_authentication_value=_authentication_value(fields.get(0xAA)),
            user_information=_user_information(fields),
        )


def _diagnostic(content: bytes | None) -> tuple[int, int]:
    """Source and code; a meter that leaves the field out gave no reason."""
    if content is None:
        return 1, 0
    tag, start, end = _read_tlv(content, 0, len(content))
    if tag not in (0xA1, 0xA2):
        raise _invalid(f"result source {tag:#04x}")
    return tag & 0x0F, _number(_inner(content[start:end], (0x02,))) or 0


@dataclass(frozen=True, slots=True)
class Rlrq:
    """Release request. Every field is optional."""

    TAG: ClassVar[int] = ApduTag.RLRQ

    reason: int | None = 0
    user_information: bytes | None = None

    def encode(self) -> bytes:
        return _encode_release(self.TAG, self.reason, self.user_information)

    @classmethod
    def decode(cls, apdu: bytes) -> Rlrq:
        fields = _fields(apdu, cls.TAG)
        return cls(_number(fields.get(0x80)), _user_information(fields))


@dataclass(frozen=True, slots=True)
class Rlre:
    """Release response. Every field is optional."""

    TAG: ClassVar[int] = ApduTag.RLRE

    reason: int | None = 0
    user_information: bytes | None = None

    def encode(self) -> bytes:
        return _encode_release(self.TAG, self.reason, self.user_information)

    @classmethod
    def decode(cls, apdu: bytes) -> Rlre:
        fields = _fields(apdu, cls.TAG)
        return cls(_number(fields.get(0x80)), _user_information(fields))


def _encode_release(tag: int, reason: int | None, user_information: bytes | None) -> bytes:
    content = b"" if reason is None else _tlv(0x80, bytes((reason,)))
    if user_information is not None:
        content += _tlv(0xBE, _tlv(0x04, user_information))
    return _tlv(tag, content)


Acse = Aarq | Aare | Rlrq | Rlre
_DECODERS = {cls.TAG: cls.decode for cls in (Aarq, Aare, Rlrq, Rlre)}


def decode_acse(apdu: bytes) -> Acse:
    """The ACSE APDU by its tag. Raises RemoteProtocolError (ACSE_INVALID)."""
    decoder = _DECODERS.get(apdu[0]) if apdu else None
    if decoder is None:
        raise _invalid("not an ACSE APDU")
    return decoder(apdu)
