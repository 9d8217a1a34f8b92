"""Secrets of meters at rest. Owns their envelope: AES-256-GCM under the key-encryption key HES_KEK.

A sealed secret is `version (1) | key id (4) | nonce (12) | ciphertext and tag`. Its associated data names the
meter and the kind, so that a row copied to another meter does not open. The key id tells which key-encryption
key sealed it. Plain secrets leave only by `open_sealed` and `load_secrets`, which the workers call.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from typing import TYPE_CHECKING

import structlog
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from django.conf import settings
from django.db import transaction

from meters.audit import record
from meters.errors import Invalid
from meters.models import Credential, Meter

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractBaseUser

log = structlog.get_logger(__name__)

VERSION = b"\x01"
KEY_ID_BYTES = 4
#: NIST SP 800-38D, 8.2.2: 96 random bits; far fewer than 2^32 secrets are ever sealed under one key
NONCE_BYTES = 12
#: suite 0 keys are AES-128
KEY_BYTES = 16
PASSWORD_MAX_BYTES = 64


class CredentialUnreadable(Exception):
    """A sealed secret does not open: it was sealed under another HES_KEK, or its row was altered."""

    code = "CREDENTIAL_UNREADABLE"


def seal(meter_id: int, kind: str, secret: bytes) -> bytes:
    """Envelope a secret for the row (meter, kind)."""
    nonce = os.urandom(NONCE_BYTES)
    sealed = AESGCM(settings.HES_KEK).encrypt(nonce, secret, _associated_data(meter_id, kind))
    return VERSION + _key_id(settings.HES_KEK) + nonce + sealed


def open_sealed(meter_id: int, kind: str, sealed: bytes | memoryview) -> bytes:
    """The secret. Raises CredentialUnreadable."""
    sealed = bytes(sealed)
    head = len(VERSION) + KEY_ID_BYTES
    if sealed[:1] != VERSION or sealed[1:head] != _key_id(settings.HES_KEK):
        raise CredentialUnreadable("sealed under another key-encryption key")
    nonce, rest = sealed[head : head + NONCE_BYTES], sealed[head + NONCE_BYTES :]
    try:
        return AESGCM(settings.HES_KEK).decrypt(nonce, rest, _associated_data(meter_id, kind))
    except (InvalidTag, ValueError):
        raise CredentialUnreadable("the sealed secret was altered") from None


def load_secrets(meter_ids: Iterable[int]) -> dict[int, dict[str, bytes]]:
    """Plain secrets by meter id and kind, in one query.

    One that does not open is left out, as if not set, and logged.
    """
    rows = Credential.objects.filter(meter_id__in=list(meter_ids)).values_list("meter_id", "kind", "sealed")
    secrets: dict[int, dict[str, bytes]] = {}
    for meter_id, kind, sealed in rows:
        try:
            secrets.setdefault(meter_id, {})[kind] = open_sealed(meter_id, kind, sealed)
        except CredentialUnreadable as error:
            log.error("credential_unreadable", meter_id=meter_id, kind=kind, error=str(error))
    return secrets


def parse_secret(kind: str, text: str) -> bytes:
    """A secret from text: keys as hex digits, passwords as they are. Raises Invalid, which never shows it."""
    if kind == Credential.Kind.LLS_PASSWORD:
        secret = text.encode()
        if not 1 <= len(secret) <= PASSWORD_MAX_BYTES:
            raise Invalid.field(kind, "SECRET_LENGTH", f"must have 1 to {PASSWORD_MAX_BYTES} bytes")
        return secret
    try:
        secret = bytes.fromhex(text)
    except ValueError:
        raise Invalid.field(kind, "SECRET_NOT_HEX", "must be hex digits") from None
    if len(secret) != KEY_BYTES:
        raise Invalid.field(kind, "SECRET_LENGTH", f"must be {2 * KEY_BYTES} hex digits")
    return secret


def set_credential(
    meter: Meter, kind: str, secret: bytes, user: AbstractBaseUser | None, reason: str = ""
) -> Credential:
    """Store a secret, in place of the one before, with an audit entry that does not hold it."""
    with transaction.atomic():
        credential, created = Credential.objects.update_or_create(
            meter=meter, kind=kind, defaults={"sealed": seal(meter.pk, kind, secret)}
        )
        record(
            "credential.set",
            meter=meter,
            subject=kind,
            actor=user,
            reason=reason,
            facts={"replaced": not created},
        )
    return credential


def _associated_data(meter_id: int, kind: str) -> bytes:
    return f"meter:{meter_id}:{kind}".encode()


def _key_id(key: bytes) -> bytes:
    return hashlib.sha256(b"hes key-encryption key id\0" + key).digest()[:KEY_ID_BYTES]
