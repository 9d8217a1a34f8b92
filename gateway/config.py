"""The node's settings, from the environment only. Owns their names, bounds and defaults; knows no Django."""

from __future__ import annotations

import math
import os
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

#: exit status of a process that stops because of a setting
EXIT_SETTING: Final = 2
_FLAGS: Final = {
    "1": True,
    "true": True,
    "yes": True,
    "on": True,
    "0": False,
    "false": False,
    "no": False,
    "off": False,
}
_LOG_LEVELS: Final = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
_NODE_NAME = re.compile(r"[A-Za-z0-9._:-]{1,100}")
#: header and the largest payload of a wrapper frame
_WRAPPER_MAX_BYTES: Final = 8 + 0xFFFF


class SettingError(Exception):
    """A variable is missing or malformed; the message names it."""

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(f"{name}: {problem}")
        self.name = name


@dataclass(frozen=True, slots=True)
class Config:
    redis_url: str = field(repr=False)
    host: str = "127.0.0.1"
    port: int = 4059
    #: several nodes of one host share the port, the kernel spreads the meters over them
    reuse_port: bool = False
    node_name: str = ""
    node_ttl_s: float = 10.0
    max_links: int = 20_000
    max_per_address: int = 20_000
    login_timeout_s: float = 15.0
    idle_s: float = 180.0
    half_frame_s: float = 10.0
    max_frame_bytes: int = _WRAPPER_MAX_BYTES
    quarantine_s: float = 10.0
    probe_s: float = 90.0
    drain_s: float = 15.0
    log_level: str = "INFO"

    def name_on(self, port: int) -> str:
        """The node's name, where it listens on `port`."""
        shared = f":{os.getpid()}" if self.reuse_port else ""
        return self.node_name or f"{socket.gethostname()}:{port}{shared}"


class _Reader:
    def __init__(self, env: Mapping[str, str]) -> None:
        self._env = env

    def text(self, name: str, default: str) -> str:
        return self._env.get(name, "").strip() or default

    def flag(self, name: str, default: bool) -> bool:
        raw = self.text(name, str(default)).lower()
        if raw not in _FLAGS:
            raise SettingError(name, f"must be true or false, not {raw!r}")
        return _FLAGS[raw]

    def whole(self, name: str, default: int, low: int, high: int) -> int:
        raw = self.text(name, str(default))
        try:
            value = int(raw)
        except ValueError:
            raise SettingError(name, f"must be a whole number, not {raw!r}") from None
        if not low <= value <= high:
            raise SettingError(name, f"must be from {low} to {high}, not {value}")
        return value

    def seconds(self, name: str, default: float, low: float = 0.05, high: float = 86_400) -> float:
        raw = self.text(name, str(default))
        try:
            value = float(raw)
        except ValueError:
            raise SettingError(name, f"must be a number of seconds, not {raw!r}") from None
        if not math.isfinite(value) or not low <= value <= high:
            raise SettingError(name, f"must be from {low:g} to {high:g} seconds, not {raw}")
        return value

    def redis_url(self, name: str) -> str:
        raw = self.text(name, "")
        if not raw:
            raise SettingError(name, "is not set")
        try:
            parts = urlsplit(raw)
            sane = parts.scheme in ("redis", "rediss", "unix") and parts.port != 0
        except ValueError:
            sane = False
        if not sane:  # the URL may hold a password: it is not repeated
            raise SettingError(name, "must be a URL that begins with redis://, rediss:// or unix://")
        return raw


def read_config(env: Mapping[str, str]) -> Config:
    """Raises SettingError, which names the variable."""
    read = _Reader(env)
    node_name = read.text("HES_NODE_NAME", "")
    if node_name and _NODE_NAME.fullmatch(node_name) is None:
        raise SettingError("HES_NODE_NAME", "must be 1 to 100 of A-Z a-z 0-9 . _ : -")
    log_level = read.text("HES_LOG_LEVEL", "INFO").upper()
    if log_level not in _LOG_LEVELS:
        raise SettingError("HES_LOG_LEVEL", f"must be one of {', '.join(_LOG_LEVELS)}, not {log_level!r}")
    return Config(
        redis_url=read.redis_url("REDIS_URL"),
        host=read.text("HES_GATEWAY_HOST", "127.0.0.1"),
        port=read.whole("HES_GATEWAY_PORT", 4059, 0, 65_535),
        reuse_port=read.flag("HES_GATEWAY_REUSE_PORT", False),
        node_name=node_name,
        node_ttl_s=read.seconds("HES_NODE_TTL_S", 10, low=0.5, high=3600),
        max_links=read.whole("HES_GATEWAY_MAX_LINKS", 20_000, 1, 1_000_000),
        max_per_address=read.whole("HES_GATEWAY_MAX_PER_ADDRESS", 20_000, 1, 1_000_000),
        login_timeout_s=read.seconds("HES_GATEWAY_LOGIN_TIMEOUT_S", 15),
        idle_s=read.seconds("HES_GATEWAY_IDLE_S", 180),
        half_frame_s=read.seconds("HES_GATEWAY_HALF_FRAME_S", 10),
        max_frame_bytes=read.whole("HES_GATEWAY_MAX_FRAME_BYTES", _WRAPPER_MAX_BYTES, 64, _WRAPPER_MAX_BYTES),
        quarantine_s=read.seconds("HES_QUARANTINE_S", 10),
        probe_s=read.seconds("HES_PROBE_S", 90),
        drain_s=read.seconds("HES_GATEWAY_DRAIN_S", 15, low=0),
        log_level=log_level,
    )
