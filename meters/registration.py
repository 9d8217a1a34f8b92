"""Meters as the utility registers and changes them, with an audit entry for each change.

Owns the rules that a meter's fields keep; `last_*` and relay columns belong to the workers and are never
written here.
"""

from __future__ import annotations

import zoneinfo
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

from django.contrib.auth.models import AbstractUser
from django.core.exceptions import ValidationError
from django.db import IntegrityError, connection, transaction

from meters import audit
from meters.credentials import parse_secret, set_credential
from meters.errors import FieldProblem, Invalid
from meters.models import DueRead, Meter

#: what people may set; all else on the row is written by machines
FIELDS = (
    "serial",
    "meter_type",
    "state",
    "system_title",
    "logical_device_name",
    "server_address",
    "time_zone",
    "note",
)
WPORT_MAX = 0xFFFF


def create_meter(
    *,
    user: AbstractUser | None,
    reason: str = "",
    secrets: Mapping[str, str] | None = None,
    **fields: Any,
) -> Meter:
    """A new meter, due at once for the plans of its type. `secrets`: kind to text. Raises Invalid."""
    meter = Meter(**fields)
    check_meter(meter)
    with transaction.atomic():
        _write(meter, force_insert=True)
        audit.record(
            "meter.create", meter=meter, subject=meter.serial, actor=user, reason=reason, facts=_facts(meter)
        )
        _store_secrets(meter, secrets, user, reason)
        make_new_due([meter.pk])
    return meter


def change_meter(
    meter: Meter,
    changes: Mapping[str, Any],
    *,
    user: AbstractUser | None,
    reason: str = "",
    secrets: Mapping[str, str] | None = None,
) -> Meter:
    """Change fields and secrets of a meter; what stays as it was is not written. Raises Invalid."""
    with transaction.atomic():
        meter = Meter.objects.select_for_update(of=("self",)).select_related("meter_type").get(pk=meter.pk)
        if changes.get("serial", meter.serial) != meter.serial:
            raise Invalid.field("serial", "FIXED", "never changes: a new device is a new meter")
        before = _facts(meter)
        type_before = meter.meter_type_id
        for name, value in changes.items():
            if name not in FIELDS:
                raise Invalid.field(name, "READ_ONLY", "cannot be changed")
            setattr(meter, name, value)
        check_meter(meter)
        after = _facts(meter)
        changed = [name for name in FIELDS if before[name] != after[name]]
        if changed:
            _write(meter, update_fields=changed)
            facts = {name: [before[name], after[name]] for name in changed}
            audit.record(
                "meter.change", meter=meter, subject=meter.serial, actor=user, reason=reason, facts=facts
            )
        if meter.meter_type_id != type_before:
            DueRead.objects.filter(meter=meter).exclude(plan__meter_type_id=meter.meter_type_id).delete()
            make_new_due([meter.pk])
        _store_secrets(meter, secrets, user, reason)
    return meter


def check_meter(meter: Meter) -> None:
    """Put fields into their one form and raise Invalid for all that is wrong with them at once."""
    meter.system_title = (meter.system_title or "").strip().lower() or None
    meter.time_zone = (meter.time_zone or "").strip()
    problems = []
    try:
        meter.full_clean(exclude=["meter_type"], validate_constraints=False)
    except ValidationError as error:
        for field, errors in error.error_dict.items():
            problems += [FieldProblem(field, _code(found), " ".join(found.messages)) for found in errors]
    if meter.meter_type_id is None:
        problems.append(FieldProblem("meter_type", "REQUIRED", "is missing"))
    if meter.time_zone and meter.time_zone not in zone_names():
        problems.append(FieldProblem("time_zone", "TIME_ZONE_UNKNOWN", "is no IANA time zone"))
    if meter.server_address is not None and not 1 <= meter.server_address <= WPORT_MAX:
        problems.append(FieldProblem("server_address", "OUT_OF_RANGE", f"must be 1 to {WPORT_MAX}"))
    if problems:
        raise Invalid("; ".join(f"{p.field}: {p.detail}" for p in problems), problems=tuple(problems))


@cache
def zone_names() -> frozenset[str]:
    """IANA zones known here."""
    return frozenset(zoneinfo.available_timezones())


def make_new_due(meter_ids: Iterable[int]) -> int:
    """Rows for the enabled plans of these meters' types where they have none, due now; returns how many."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO meters_dueread (meter_id, plan_id, next_due_at, priority, attempts, last_error)
            SELECT m.id, p.id, now(), p.priority, 0, ''
            FROM meters_meter m JOIN meters_readingplan p ON p.meter_type_id = m.meter_type_id AND p.enabled
            WHERE m.id = ANY(%s) ORDER BY m.id, p.id
            ON CONFLICT (meter_id, plan_id) DO NOTHING
            """,
            [list(meter_ids)],
        )
        return int(cursor.rowcount)


def _write(meter: Meter, **how: Any) -> None:
    """Save; a row that another transaction wrote in between is a duplicate like any other."""
    try:
        with transaction.atomic():
            meter.save(**how)
    except IntegrityError as error:
        field = "system_title" if "system_title" in str(error) else "serial"
        raise Invalid.field(field, "DUPLICATE", "belongs to another meter") from None


def _store_secrets(
    meter: Meter, secrets: Mapping[str, str] | None, user: AbstractUser | None, reason: str
) -> None:
    for kind, text in (secrets or {}).items():
        set_credential(meter, kind, parse_secret(kind, text), user, reason)


def _facts(meter: Meter) -> dict[str, Any]:
    facts = {name: getattr(meter, name) for name in FIELDS if name != "meter_type"}
    return facts | {"meter_type": meter.meter_type.name if meter.meter_type_id else None}


def _code(error: ValidationError) -> str:
    return {"unique": "DUPLICATE", "blank": "REQUIRED", "null": "REQUIRED"}.get(error.code or "", "INVALID")
