"""Who a simulated meter is: serial, system title and secrets, all derived from the fleet's seed.

The seed is the only secret of a fleet: the same seed and number give the same meter on every machine.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

MANUFACTURER = b"SIM"
SERVER_ADDRESS = 1
_LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz23456789"


@dataclass(frozen=True, slots=True)
class MeterIdentity:
    """One meter as the shipment file names it. Keys are 16 octets (security suite 0)."""

    number: int
    serial: str
    system_title: bytes
    encryption_key: bytes = field(repr=False)
    authentication_key: bytes = field(repr=False)
    lls_password: str = field(repr=False)
    server_address: int = SERVER_ADDRESS


def derive_octets(seed: str, number: int, purpose: str, length: int = 16) -> bytes:
    """`length` octets (up to 64) for one purpose of one meter: BLAKE2b keyed with the seed."""
    key = hashlib.sha256(seed.encode()).digest()
    return hashlib.blake2b(f"{number}:{purpose}".encode(), key=key, digest_size=length).digest()


def derive_identity(seed: str, number: int) -> MeterIdentity:
    """The meter `number` (0 .. 99,999,999) of the fleet with this seed."""
    if not 0 <= number <= 99_999_999:
        raise ValueError(f"a meter number has up to eight digits, got {number}")
    letters = derive_octets(seed, number, "lls_password", 16)
    return MeterIdentity(
        number=number,
        serial=serial_of(number),
        system_title=MANUFACTURER + number.to_bytes(5, "big"),
        encryption_key=derive_octets(seed, number, "guek"),
        authentication_key=derive_octets(seed, number, "gak"),
        lls_password="".join(_LETTERS[octet % len(_LETTERS)] for octet in letters),
    )


def serial_of(number: int) -> str:
    return f"SIM{number:08d}"
