"""Commands that only read: what each kind reads, and what its result tells.

They may be tried again freely; nothing here acts on the meter.
"""

from __future__ import annotations

import datetime as dt
from typing import Any
from urllib.parse import urlencode

from django.conf import settings

from dlms import obis
from dlms.errors import DlmsError
from meters.models import Command, ReadingPlan
from meters.models.type import Purpose
from workers import errors, plans, reading
from workers.session import Session

Kind = Command.Kind


async def read(session: Session, command: Command) -> dict[str, Any]:
    """Carry it; what stands in the command's result. `rows_at` is where the API shows what was read."""
    parameters = command.parameters
    serial = session.context.serial
    origin = f"command:{command.pk}"
    if command.kind == Kind.ASSOCIATION_TEST:
        return await _test_associations(session)
    await session.associate(Purpose.READ)
    match command.kind:
        case Kind.CLOCK_READ:
            now, drift_s, status = await reading.read_clock(session)
            await session.runner.note_clock((session.context.meter_id, drift_s))
            return {"clock": reading.iso_z(now), "drift_s": drift_s, "clock_status": status}
        case Kind.REGISTERS_READ:
            wanted = set(parameters.get("logical_names", ()))
            registers = tuple(
                r
                for r in session.context.type.registers
                if not wanted or obis.to_text(r.logical_name) in wanted
            )
            found = await reading.read_registers(session, registers, origin)
            return {"registers": found, "rows_at": _link("/api/instantaneous", meter=serial)}
        case Kind.PROFILE_READ:
            name = obis.parse(parameters["logical_name"])
            start, end = _time(parameters["from"]), _time(parameters["to"])
            await _owe_below(session, ReadingPlan.Kind.PROFILE, obis.to_text(name), start)
            rows = await reading.read_profile(session, name, start, end - dt.timedelta(seconds=1), origin)
            span = {"from": reading.iso_z(start), "to": reading.iso_z(end)}
            link = _link("/api/profile/read", meter=serial, profile=parameters["logical_name"], **span)
            return {"rows": rows.rows, **span, "rows_at": link}
        case Kind.EVENTS_READ:
            end = _time(parameters["to"]) if parameters else dt.datetime.now(dt.UTC)
            start = (
                _time(parameters["from"])
                if parameters
                else end - dt.timedelta(days=settings.HES_FIRST_READ_DAYS)
            )
            await _owe_below(session, ReadingPlan.Kind.EVENTS, "", start)
            count = await reading.read_events(session, start, end, origin)
            span = {"from": reading.iso_z(start), "to": reading.iso_z(end)}
            return {"events": count, **span, "rows_at": _link("/api/event", meter=serial, **span)}
    raise errors.InternalError(f"no such kind of command: {command.kind}")


async def _test_associations(session: Session) -> dict[str, Any]:
    """Each association of the type once; the command fails with the first error, the result tells all."""
    found: list[dict[str, Any]] = []
    first_error: DlmsError | None = None
    for association in session.context.type.associations:
        fact: dict[str, Any] = {"association": association.name, "client_address": association.client_address}
        try:
            connection = await session.associate_as(association)
            assert connection.negotiated is not None
            fact |= {
                "ok": True,
                "server_max_receive_pdu_size": connection.negotiated.server_max_receive_pdu_size,
            }
            await session.release()
        except errors.CarriageError as error:
            if error.cause_class in ("link", "timeout"):
                raise
            fact |= {"ok": False, "code": error.code, "detail": error.detail}
            first_error = first_error or error
        except DlmsError as error:
            fact |= {"ok": False, "code": error.code, "detail": error.detail}
            first_error = first_error or error
        found.append(fact)
    if first_error is not None:
        first_error.result = {"associations": found}  # type: ignore[attr-defined]
        raise first_error
    return {"associations": found}


async def _owe_below(session: Session, kind: str, logical_name: str, start: dt.datetime) -> None:
    await session.runner.database.call(plans.owe_below, session.context.meter_id, kind, logical_name, start)


def _link(path: str, **query: str) -> str:
    return f"{path}?{urlencode(query)}"


def _time(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text)
