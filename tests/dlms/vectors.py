"""Loads tests/vectors: each vector as a dict, by name."""

from __future__ import annotations

import tomllib
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import Any

from dlms import clock
from dlms.axdr import BitString, CompactArray, Data

FOLDER = Path(__file__).parent.parent / "vectors"
TYPES = {"enum": "ENUM", "float32": "FLOAT32", "float64": "FLOAT64"}


def load(name: str) -> dict[str, dict[str, Any]]:
    """The vectors of a file, by name, in its order."""
    with open(FOLDER / f"{name}.toml", "rb") as file:
        return {vector["name"]: vector for vector in tomllib.load(file)["vector"]}


def octets(vector: dict[str, Any]) -> bytes:
    return bytes.fromhex(vector["hex"])


def keys(vector: dict[str, Any]) -> dict[str, bytes]:
    return {name: bytes.fromhex(value) for name, value in vector["keys"].items()}


def typed(data: Data) -> dict[str, Any]:
    """A value as the vectors write it: { type, value }."""
    value = data.value
    if isinstance(value, tuple):
        value = [typed(item) for item in value]
    elif isinstance(value, CompactArray):
        value = [typed(item) for item in value.elements]
    elif isinstance(value, BitString):
        value = value.text
    elif isinstance(value, bytes):
        value = value.hex()
    elif isinstance(value, int) and value > (1 << 63) - 1:
        value = str(value)
    return {"type": data.type.name.lower().replace("_", "-"), "value": value}


def iso(raw: bytes, zone: tzinfo = UTC) -> str:
    """A date-time as the vectors write it: with the offset where the deviation is specified."""
    local = clock.parse_local(raw)
    if local.deviation_min is None:
        return local.naive.isoformat()
    moment = clock.to_utc(local, zone)
    offset = moment.replace(tzinfo=None) - local.naive
    text = datetime.isoformat(local.naive)
    minutes = -int(offset.total_seconds() // 60)
    sign = "-" if minutes < 0 else "+"
    return f"{text}{sign}{abs(minutes) // 60:02d}:{abs(minutes) % 60:02d}"
