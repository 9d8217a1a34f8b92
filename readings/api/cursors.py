"""The place in a profile at which the next page begins, as text that clients hand back unread."""

from __future__ import annotations

import base64
import binascii

import msgspec

from meters.errors import Invalid
from readings.queries import Position
from readings.store import time_of, us_of

_decoder = msgspec.msgpack.Decoder(tuple[int, int, int])


class CursorInvalid(Invalid):
    """The cursor is none that this API gave out."""

    code = "CURSOR_INVALID"


def encode(position: Position) -> str:
    raw = msgspec.msgpack.encode((us_of(position.captured_at), position.layout_id, position.ordinal))
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def decode(text: str) -> Position:
    """Raises CursorInvalid."""
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        us, layout_id, ordinal = _decoder.decode(raw)
        if not (0 <= layout_id < 1 << 63 and -1 <= ordinal < 1 << 15):
            raise ValueError("out of range")
        return Position(time_of(us), layout_id, ordinal)
    except (ValueError, binascii.Error, msgspec.DecodeError, OverflowError):
        raise CursorInvalid("cursor: is none that was given out") from None
