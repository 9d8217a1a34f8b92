"""Parameters of each kind of command: what they may hold and the one form in which they are stored.

| kind | parameters |
|---|---|
| registers_read | `logical_names`: optional list out of the type's registers; none: all of them |
| profile_read | `logical_name`, `from`, `to` (UTC ISO 8601, from < to) |
| events_read | `from`, `to`: optional, both or none |
| others | none |
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from typing import Any

from django.utils.dateparse import parse_datetime

from dlms import obis
from meters.errors import Invalid
from meters.models import Command, Meter

#: A longer range is asked for in pieces: one dialog has one deadline.
RANGE_MAX = dt.timedelta(days=62)

Kind = Command.Kind


def normalise(meter: Meter, kind: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The stored form, the same for equal orders. Raises Invalid naming the field."""
    if kind not in Kind.values:
        raise Invalid.field("kind", "UNKNOWN_KIND", f"is none of {', '.join(Kind.values)}")
    if not isinstance(parameters, Mapping):
        raise Invalid.field("parameters", "NOT_AN_OBJECT", "must be an object")
    allowed, build = _KINDS.get(kind, (frozenset(), _nothing))
    for name in parameters:
        if name not in allowed:
            raise Invalid.field(f"parameters.{name}", "UNKNOWN_PARAMETER", f"is no parameter of {kind}")
    return build(meter, parameters)


def parse_logical_name(field: str, value: Any) -> str:
    """A logical name in the form stored everywhere, `A-B:C.D.E.F`."""
    if not isinstance(value, str):
        raise Invalid.field(field, "OBIS_INVALID", "must be a string such as 1-0:1.8.0.255")
    try:
        return obis.to_text(obis.parse(value))
    except obis.ObisError as error:
        raise Invalid.field(field, "OBIS_INVALID", str(error)) from None


def parse_time(field: str, value: Any) -> dt.datetime:
    """A point in time with its offset, as UTC."""
    try:
        moment = value if isinstance(value, dt.datetime) else parse_datetime(value)
    except (TypeError, ValueError):
        moment = None
    if moment is None:
        raise Invalid.field(field, "TIME_INVALID", "must be ISO 8601, such as 2026-01-31T00:00:00Z")
    if moment.tzinfo is None:
        raise Invalid.field(field, "TIME_WITHOUT_OFFSET", "must have an offset: Z or +01:00")
    try:
        return moment.astimezone(dt.UTC)
    except OverflowError:
        raise Invalid.field(field, "TIME_INVALID", "is outside the calendar") from None


def _nothing(meter: Meter, parameters: Mapping[str, Any]) -> dict[str, Any]:
    return {}


def _registers(meter: Meter, parameters: Mapping[str, Any]) -> dict[str, Any]:
    if "logical_names" not in parameters:
        return {}
    field, names = "parameters.logical_names", parameters["logical_names"]
    if not isinstance(names, list) or not names:
        raise Invalid.field(field, "EMPTY", "must be a list of logical names, or be left out")
    wanted = [parse_logical_name(field, name) for name in names]
    offered = set(meter.meter_type.registers.values_list("logical_name", flat=True))
    for name in wanted:
        if name not in offered:
            raise Invalid.field(field, "REGISTER_UNKNOWN", f"{name} is no register of the meter's type")
    return {"logical_names": sorted(set(wanted))}


def _profile(meter: Meter, parameters: Mapping[str, Any]) -> dict[str, Any]:
    for name in ("logical_name", "from", "to"):
        if name not in parameters:
            raise Invalid.field(f"parameters.{name}", "REQUIRED", "is missing")
    name = parse_logical_name("parameters.logical_name", parameters["logical_name"])
    return {"logical_name": name, **_range(parameters)}


def _events(meter: Meter, parameters: Mapping[str, Any]) -> dict[str, Any]:
    if not parameters:
        return {}
    for name in ("from", "to"):
        if name not in parameters:
            raise Invalid.field(f"parameters.{name}", "REQUIRED", "is missing")
    return _range(parameters)


def _range(parameters: Mapping[str, Any]) -> dict[str, str]:
    start = parse_time("parameters.from", parameters["from"])
    end = parse_time("parameters.to", parameters["to"])
    if end <= start:
        raise Invalid.field("parameters.to", "RANGE_EMPTY", "must be after from")
    if end - start > RANGE_MAX:
        raise Invalid.field(
            "parameters.to", "RANGE_TOO_LONG", f"must be within {RANGE_MAX.days} days of from"
        )
    return {"from": start.isoformat(), "to": end.isoformat()}


_KINDS: dict[str, tuple[frozenset[str], Callable[[Meter, Mapping[str, Any]], dict[str, Any]]]] = {
    Kind.REGISTERS_READ: (frozenset({"logical_names"}), _registers),
    Kind.PROFILE_READ: (frozenset({"logical_name", "from", "to"}), _profile),
    Kind.EVENTS_READ: (frozenset({"from", "to"}), _events),
}
