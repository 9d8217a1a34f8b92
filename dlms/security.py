"""Security suite 0: AES-GCM-128 with a 12-octet tag. Owns ciphering, GMAC and the check of tags.

Knows no association: which counter comes next and which was the last one received is `dlms.connection`'s.
A ciphered APDU: tag, length, security control, invocation counter (4), ciphertext, authentication tag (12).
Source: vectors glo_get_request_*, glo_initiate_request and hls_gmac_f_stoc (book examples) in tests/vectors.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from dlms.axdr import read_length, write_length
from dlms.enums import ApduTag, SecurityControl
from dlms.errors import LocalProtocolError, RemoteProtocolError, SecurityError

TAG_OCTETS = 12
KEY_OCTETS = 16
SYSTEM_TITLE_OCTETS = 8
HEADER_OCTETS = 5
AUTHENTICATED = int(SecurityControl.AUTHENTICATION)
AUTHENTICATED_ENCRYPTED = int(SecurityControl.AUTHENTICATION | SecurityControl.ENCRYPTION)


@dataclass(frozen=True, slots=True)
class Unprotected:
    """What a ciphered APDU held. `system_title` only where the APDU itself names it (general-glo)."""

    plain: bytes = field(repr=False)
    security_control: int
    invocation_counter: int
    system_title: bytes = b""


@dataclass(frozen=True, slots=True)
class Ciphered:
    """A ciphered APDU taken apart, nothing verified yet; `body` is ciphertext and tag."""

    tag: int
    system_title: bytes
    security_control: int
    invocation_counter: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Keys:
    """The global unicast encryption key and the authentication key of one meter, with their ciphers made
    once.
    """

    encryption_key: bytes = field(repr=False)
    authentication_key: bytes = field(repr=False)
    _gcm: AESGCM = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name in ("encryption_key", "authentication_key"):
            if len(getattr(self, name)) != KEY_OCTETS:
                raise LocalProtocolError(f"{name} has not {KEY_OCTETS} octets", code="KEY_LENGTH")
        object.__setattr__(self, "_gcm", AESGCM(self.encryption_key))

    def seal(
        self, plain: bytes, security_control: int, system_title: bytes, invocation_counter: int
    ) -> bytes:
        """Ciphertext and tag of `plain`. Authentication is never left out."""
        nonce = _nonce(system_title, invocation_counter)
        header = bytes((security_control,)) + self.authentication_key
        if security_control == AUTHENTICATED_ENCRYPTED:
            return self._gcm.encrypt(nonce, plain, header)[: TAG_OCTETS - 16]
        if security_control == AUTHENTICATED:
            return plain + self._gcm.encrypt(nonce, b"", header + plain)[:TAG_OCTETS]
        raise LocalProtocolError(f"security control {security_control:#04x}", code="SECURITY_CONTROL")

    def open(self, body: bytes, security_control: int, system_title: bytes, invocation_counter: int) -> bytes:
        """The plain octets of ciphertext and tag, once the tag is verified. Raises SecurityError."""
        check_security_control(security_control)
        if len(body) < TAG_OCTETS:
            raise RemoteProtocolError("a ciphered APDU too short for its tag", code="CIPHERED_LENGTH")
        nonce = _nonce(system_title, invocation_counter)
        header = bytes((security_control,)) + self.authentication_key
        content, tag = body[:-TAG_OCTETS], body[-TAG_OCTETS:]
        if security_control == AUTHENTICATED:
            if not hmac.compare_digest(self._gcm.encrypt(nonce, b"", header + content)[:TAG_OCTETS], tag):
                raise _tag_mismatch()
            return content
        # GCM's keystream is the same both ways: encrypting the ciphertext gives the plain text, encrypting
        # that the tag to compare. Two calls of a cipher made once cost half of a decryptor made for each
        # APDU (AESGCM itself takes no 12-octet tags). Nothing is returned before the tag has been verified.
        plain = self._gcm.encrypt(nonce, content, None)[: len(content)]
        expected = self._gcm.encrypt(nonce, plain, header)[len(content) : len(content) + TAG_OCTETS]
        if not hmac.compare_digest(expected, tag):
            raise _tag_mismatch()
        return plain

    def gmac(self, challenge: bytes, system_title: bytes, invocation_counter: int) -> bytes:
        """The 12-octet tag over `challenge`, as HLS-GMAC passes 3 and 4 carry it."""
        header = bytes((AUTHENTICATED,)) + self.authentication_key + challenge
        return self._gcm.encrypt(_nonce(system_title, invocation_counter), b"", header)[:TAG_OCTETS]


def _tag_mismatch() -> SecurityError:
    return SecurityError("the authentication tag does not verify", code="TAG_MISMATCH")


def _nonce(system_title: bytes, invocation_counter: int) -> bytes:
    if len(system_title) != SYSTEM_TITLE_OCTETS:
        raise SecurityError(f"a system title of {len(system_title)} octets", code="SYSTEM_TITLE_LENGTH")
    if not 0 <= invocation_counter <= 0xFFFFFFFF:
        raise LocalProtocolError(f"invocation counter {invocation_counter}", code="COUNTER_RANGE")
    return system_title + invocation_counter.to_bytes(4)


def check_security_control(security_control: int) -> None:
    """Refuse what suite 0 with global unicast keys does not allow, above all a missing authentication."""
    if security_control & 0x0F:
        raise SecurityError(f"security suite {security_control & 0x0F}, not 0", code="SECURITY_SUITE")
    if security_control not in (AUTHENTICATED, AUTHENTICATED_ENCRYPTED):
        raise SecurityError(f"security control {security_control:#04x}", code="SECURITY_CONTROL")


def split(apdu: bytes) -> Ciphered:
    """Take a glo- or general-glo-ciphering APDU apart; nothing is verified. Raises RemoteProtocolError."""
    if not apdu:
        raise RemoteProtocolError("an empty APDU", code="APDU_EMPTY")
    offset, title = 1, b""
    if apdu[0] == ApduTag.GENERAL_GLO_CIPHERING:
        size, offset = read_length(apdu, 1)
        title = apdu[offset : offset + size]
        offset += size
    length, offset = read_length(apdu, offset)
    if length != len(apdu) - offset:
        raise RemoteProtocolError(
            f"{length} ciphered octets announced, {len(apdu) - offset} follow", code="CIPHERED_LENGTH"
        )
    if length < HEADER_OCTETS:
        raise RemoteProtocolError("a ciphered APDU without its security header", code="CIPHERED_LENGTH")
    counter = int.from_bytes(apdu[offset + 1 : offset + HEADER_OCTETS])
    return Ciphered(apdu[0], title, apdu[offset], counter, apdu[offset + HEADER_OCTETS :])


def join(tag: int, security_control: int, invocation_counter: int, body: bytes) -> bytes:
    """The ciphered APDU of a sealed body."""
    header = bytes((security_control,)) + invocation_counter.to_bytes(4)
    return bytes((tag,)) + write_length(HEADER_OCTETS + len(body)) + header + body


def protect(
    apdu: bytes,
    *,
    tag: int,
    system_title: bytes,
    invocation_counter: int,
    encryption_key: bytes,
    authentication_key: bytes,
    security_control: int = AUTHENTICATED_ENCRYPTED,
) -> bytes:
    """The ciphered APDU (`tag`: glo-get-request, ...) of a plain one; `system_title` is the sender's."""
    keys = Keys(encryption_key, authentication_key)
    body = keys.seal(apdu, security_control, system_title, invocation_counter)
    return join(tag, security_control, invocation_counter, body)


def unprotect(
    apdu: bytes, *, system_title: bytes, encryption_key: bytes, authentication_key: bytes
) -> Unprotected:
    """What a ciphered APDU of the sender `system_title` holds, tag verified.

    Raises SecurityError (TAG_MISMATCH, SECURITY_SUITE, SECURITY_CONTROL, ...) and RemoteProtocolError.
    Whether the counter rises is the caller's to check, after this.
    """
    return unprotect_with(Keys(encryption_key, authentication_key), apdu, system_title)


def unprotect_with(keys: Keys, apdu: bytes, system_title: bytes) -> Unprotected:
    """As `unprotect`, with the ciphers of `keys`. A title inside the APDU must be the sender's, or empty."""
    parts = split(apdu)
    if parts.system_title and parts.system_title != system_title:
        raise SecurityError("the APDU names another system title", code="SYSTEM_TITLE_MISMATCH")
    plain = keys.open(parts.body, parts.security_control, system_title, parts.invocation_counter)
    return Unprotected(plain, parts.security_control, parts.invocation_counter, parts.system_title)


def gmac(
    challenge: bytes,
    *,
    system_title: bytes,
    invocation_counter: int,
    encryption_key: bytes,
    authentication_key: bytes,
) -> bytes:
    """f(challenge) of HLS-GMAC: security control, invocation counter and tag, 17 octets."""
    tag = Keys(encryption_key, authentication_key).gmac(challenge, system_title, invocation_counter)
    return bytes((AUTHENTICATED,)) + invocation_counter.to_bytes(4) + tag


def verify_gmac(keys: Keys, answer: bytes, challenge: bytes, system_title: bytes) -> int:
    """The invocation counter of an f(challenge) whose tag is right. Raises SecurityError."""
    if len(answer) != HEADER_OCTETS + TAG_OCTETS or answer[0] != AUTHENTICATED:
        raise SecurityError(
            "the answer to the challenge has not the form of HLS-GMAC", code="HLS_ANSWER_INVALID"
        )
    counter = int.from_bytes(answer[1:HEADER_OCTETS])
    if not hmac.compare_digest(keys.gmac(challenge, system_title, counter), answer[HEADER_OCTETS:]):
        raise SecurityError("the answer to the challenge does not verify", code="HLS_ANSWER_MISMATCH")
    return counter
