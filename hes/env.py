"""Typed readers of the environment: the only way a setting comes in.

A missing or malformed value raises `SettingError`, whose message names the variable; the value of a secret is
never repeated in it. Knows nothing of Django.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final, TypeVar
from urllib.parse import urlsplit

T = TypeVar("T")

#: exit status of a process that stops because of a setting
EXIT_SETTING: Final = 2

_BOOLEANS: Final = {
    **dict.fromkeys(("1", "true", "yes", "on"), True),
    **dict.fromkeys(("0", "false", "no", "off"), False),
}
_BYTE_UNITS: Final = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}


class SettingError(Exception):
    """A variable of the environment is missing, malformed or too weak."""

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(f"{name}: {problem}")
        self.name = name
        self.problem = problem


class Required:
    """Stands for "no default": the variable must be set."""


REQUIRED: Final = Required()


def _read(name: str, default: T | Required, convert: Callable[[str], T]) -> T:
    raw = os.environ.get(name, "").strip()
    if raw:
        return convert(raw)
    if isinstance(default, Required):
        raise SettingError(name, "is not set")
    return default


def env_str(
    name: str, default: str | Required = REQUIRED, *, min_length: int = 0, choices: Sequence[str] = ()
) -> str:
    """Text; an empty variable counts as not set."""

    def convert(raw: str) -> str:
        if len(raw) < min_length:
            raise SettingError(name, f"is too short: {len(raw)} characters, at least {min_length} are needed")
        if choices and raw not in choices:
            raise SettingError(name, f"must be one of {', '.join(choices)}, not {raw!r}")
        return raw

    return _read(name, default, convert)


def _within(name: str, value: T, low: T | None, high: T | None) -> T:
    if low is not None and value < low:  # type: ignore[operator]
        raise SettingError(name, f"must be at least {low}, not {value}")
    if high is not None and value > high:  # type: ignore[operator]
        raise SettingError(name, f"must be at most {high}, not {value}")
    return value


def env_int(
    name: str, default: int | Required = REQUIRED, *, low: int | None = None, high: int | None = None
) -> int:
    """Whole number within [low, high]."""

    def convert(raw: str) -> int:
        try:
            value = int(raw)
        except ValueError:
            raise SettingError(name, f"must be a whole number, not {raw!r}") from None
        return _within(name, value, low, high)

    return _read(name, default, convert)


def env_float(
    name: str, default: float | Required = REQUIRED, *, low: float | None = None, high: float | None = None
) -> float:
    """Finite number within [low, high]."""

    def convert(raw: str) -> float:
        try:
            value = float(raw)
        except ValueError:
            raise SettingError(name, f"must be a number, not {raw!r}") from None
        if not math.isfinite(value):
            raise SettingError(name, f"must be a finite number, not {raw!r}")
        return _within(name, value, low, high)

    return _read(name, default, convert)


def env_byte_count(name: str, default: int | Required = REQUIRED, *, low: int = 0) -> int:
    """Number of bytes, plain or with KiB, MiB, GiB."""

    def convert(raw: str) -> int:
        number, factor = raw, 1
        for suffix, unit in _BYTE_UNITS.items():
            if raw.endswith(suffix):
                number, factor = raw.removesuffix(suffix).strip(), unit
        if not number.isdecimal():
            raise SettingError(name, f"must be bytes as 1048576, 64KiB, 512MiB or 2GiB, not {raw!r}")
        return _within(name, int(number) * factor, low, None)

    return _read(name, default, convert)


def env_bool(name: str, default: bool | Required = REQUIRED) -> bool:
    """1/true/yes/on or 0/false/no/off."""

    def convert(raw: str) -> bool:
        try:
            return _BOOLEANS[raw.lower()]
        except KeyError:
            raise SettingError(name, f"must be true or false, not {raw!r}") from None

    return _read(name, default, convert)


def env_url(name: str, default: str | Required = REQUIRED, *, schemes: Sequence[str]) -> str:
    """URL with one of the schemes; never shown in an error, it may hold a password."""

    def convert(raw: str) -> str:
        try:
            parts = urlsplit(raw)
            port_is_sane = parts.port is None or parts.port > 0
        except ValueError:
            raise SettingError(name, "is not a URL") from None
        if parts.scheme not in schemes:
            raise SettingError(name, f"must begin with {' or '.join(s + '://' for s in schemes)}")
        if not port_is_sane:
            raise SettingError(name, "has an impossible port")
        return raw

    return _read(name, default, convert)


def env_bytes_hex(name: str, default: bytes | Required = REQUIRED, *, length: int) -> bytes:
    """Exactly `length` bytes as hex digits; never shown in an error, it may be a key."""

    def convert(raw: str) -> bytes:
        try:
            value = bytes.fromhex(raw)
        except ValueError:
            raise SettingError(name, "must be hex digits only") from None
        if len(value) != length:
            raise SettingError(name, f"must be {2 * length} hex digits, not {2 * len(value)}")
        return value

    return _read(name, default, convert)


def env_list(name: str, default: Sequence[str] | Required = REQUIRED) -> list[str]:
    """Words separated by commas; blanks around them do not count."""

    def convert(raw: str) -> list[str]:
        words = [word.strip() for word in raw.split(",")]
        if not all(words):
            raise SettingError(name, "has an empty word in its list")
        return words

    return list(_read(name, default, convert))


@contextmanager
def stop_on_setting_error() -> Iterator[None]:
    """End the process with one line and status 2 instead of a traceback."""
    try:
        yield
    except SettingError as error:
        print(f"setting {error}", file=sys.stderr)
        raise SystemExit(EXIT_SETTING) from None
