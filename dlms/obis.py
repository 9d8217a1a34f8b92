"""Logical names (OBIS): six octets, and the one text form used in API, database and logs, `A-B:C.D.E.F`."""

from __future__ import annotations

import re

#: A-B:C.D.E with F after "." or "*" or absent (255), or six numbers parted by dots, or twelve hex digits.
_TEXT = re.compile(r"(\d{1,3})-(\d{1,3}):(\d{1,3})\.(\d{1,3})\.(\d{1,3})(?:[.*](\d{1,3}))?", re.ASCII)
_DOTS = re.compile(r"(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})", re.ASCII)
_HEX = re.compile(r"[0-9A-Fa-f]{12}", re.ASCII)


class ObisError(ValueError):
    """The text or the octets are not a logical name."""

    code = "OBIS_INVALID"


def parse(text: str) -> bytes:
    """The six octets of `1-0:1.8.0`, `1-0:1.8.0*255`, `1-0:1.8.0.255`, `1.0.1.8.0.255` or `0100010800ff`.

    Raises ObisError.
    """
    text = text.strip()
    if _HEX.fullmatch(text):
        return bytes.fromhex(text)
    match = _TEXT.fullmatch(text) or _DOTS.fullmatch(text)
    if match is None:
        raise ObisError(f"not a logical name: {text[:40]!r}")
    groups = [255 if group is None else int(group) for group in match.groups()]
    if max(groups) > 255:
        raise ObisError(f"a value group is above 255: {text[:40]!r}")
    return bytes(groups)


def to_text(logical_name: bytes) -> str:
    """`1-0:1.8.0.255`. Raises ObisError when there are not six octets."""
    if len(logical_name) != 6:
        raise ObisError(f"a logical name has 6 octets, not {len(logical_name)}")
    a, b, c, d, e, f = logical_name
    return f"{a}-{b}:{c}.{d}.{e}.{f}"
