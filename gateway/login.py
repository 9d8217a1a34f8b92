"""The login frame, by which a peer says who it is; repeated, it is the heartbeat. Owns its form.

A wrapper frame whose source wPort is the meter's server address and whose destination wPort is 0 (no station:
no client can own it), with the ASCII payload `HES1 ` + identity, 1 to 64 of A-Z a-z 0-9 . _ : -. It is not
answered. The claim is not proven by it.
"""

from __future__ import annotations

import re
from typing import Final

#: destination wPort of a login frame
LOGIN_WPORT: Final = 0
MAGIC: Final = b"HES1 "
_IDENTITY = re.compile(rb"[A-Za-z0-9._:-]{1,64}", re.ASCII)


class LoginError(Exception):
    """The frame begins as a login and is none."""


def is_login(destination: int, payload: bytes) -> bool:
    """Whether a frame means to be a login."""
    return destination == LOGIN_WPORT and payload.startswith(MAGIC)


def parse_login(payload: bytes) -> str:
    """The identity that is claimed. Raises LoginError."""
    identity = payload[len(MAGIC) :]
    if _IDENTITY.fullmatch(identity) is None:
        raise LoginError(f"{len(identity)} octets are no identity")
    return identity.decode("ascii")
