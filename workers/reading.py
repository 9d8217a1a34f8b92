"""What is read inside an open association, and where it goes: profile ranges, register sets, event logs, the
clock.

Every reading ends as an entry of the readings stream (`readings.entries`); registers also enter the
latest-value cache at once. Nothing here waits for the database to store a row.
"""

from __future__ import annotations

import datetime as dt
import time
from dataclasses import dataclass
from typing import Any

import structlog
from django.conf import settings

from dlms import axdr, client, clock, obis, profile
from dlms.axdr import Data
from dlms.enums import DataType
from dlms.errors import DlmsError, RemoteProtocolError, ServiceError
from dlms.profile import NO_TIME
from dlms.profile.coding import encode_cell
from readings import entries, latest
from readings.entries import RegisterReading
from workers import plans
from workers.contexts import Register
from workers.errors import BusAway
from workers.plans import KnownProfile
from workers.session import Session

log = structlog.get_logger()

NO_UNIT = 255
#: The rows have another number of columns than the layout (`dlms.profile`).
LAYOUT_MISMATCH = "PROFILE_COLUMNS"
#: How far back rows are looked at to learn the types of a profile's columns.
TYPE_PROBE_DAYS = (1, 31)
CLOCK = bytes((0, 0, 1, 0, 0, 255))
#: classes whose attribute 2 is scaled by their attribute 3 (Register, Extended register), and Demand
#: register's 4
SCALER_ATTRIBUTE = {3: 3, 4: 3, 5: 4}


@dataclass(frozen=True, slots=True)
class ProfileResult:
    """`rows` rows of layout `layout_id`, captured from `first` to `last` (None where there was no row)."""

    layout_id: int
    rows: int
    first: dt.datetime | None
    last: dt.datetime | None


async def read_profile(
    session: Session, logical_name: bytes, start: dt.datetime, end: dt.datetime, origin: str
) -> ProfileResult:
    """Read [start, end] of a profile and put its rows on the stream."""
    known, table = await _profile_table(session, logical_name, start, end)
    rows = len(table.captured_at)
    if rows:
        entry = entries.ProfileEntry.from_table(
            table,
            meter_id=session.context.meter_id,
            layout_id=known.layout_id,
            read_at_us=_now_us(),
            origin=origin,
        )
        await _publish(session, entry)
    times = table.captured_at[table.captured_at != NO_TIME]
    return ProfileResult(
        known.layout_id,
        rows,
        _from_us(int(times.min())) if len(times) else None,
        _from_us(int(times.max())) if len(times) else None,
    )


async def read_events(session: Session, start: dt.datetime, end: dt.datetime, origin: str) -> int:
    """Read [start, end] of the type's standard event log; returns how many entries it held."""
    log = session.context.type.event_log
    _, table = await _profile_table(session, log, start, end)
    records = entries.event_records(table)
    if records:
        await _publish(
            session,
            entries.EventEntry(
                meter_id=session.context.meter_id,
                log=obis.to_text(log),
                read_at_us=_now_us(),
                events=records,
                origin=origin,
            ),
        )
    return len(records)


async def read_registers(
    session: Session, registers: tuple[Register, ...], origin: str
) -> list[dict[str, Any]]:
    """Read a set of registers, one after the other. A register that the meter refuses is told of in the
    answer and does not keep the others from being read."""
    readings: list[RegisterReading] = []
    answers: list[dict[str, Any]] = []
    assert session.connection is not None
    for register in registers:
        name = obis.to_text(register.logical_name)
        try:
            register = await _with_scaler(session, register)
            data = await session.run(
                client.get(session.connection, register.class_id, register.logical_name, register.attribute)
            )
        except ServiceError as error:
            answers.append({"obis": name, "attribute": register.attribute, "error": error.code})
            continue
        reading = register_reading(register, data, _now_us())
        readings.append(reading)
        answers.append(
            {
                "obis": name,
                "attribute": register.attribute,
                "at": _from_us(reading.captured_at_us).isoformat(),
            }
        )
    if readings:
        entry = entries.RegisterEntry(
            meter_id=session.context.meter_id, read_at_us=_now_us(), values=tuple(readings), origin=origin
        )
        await _cache(session, entry)
        await _publish(session, entry)
    return answers


def register_reading(register: Register, data: Data, at_us: int) -> RegisterReading:
    """One value as the stream takes it: integers in their coding, all else as A-XDR in `extra`."""
    coding = profile.coding_for(data)
    value = encode_cell(coding, data)
    return RegisterReading(
        logical_name=obis.to_text(register.logical_name),
        attribute=register.attribute,
        captured_at_us=at_us,
        coding=str(coding),
        value=value,
        scaler=register.scaler or 0,
        unit=NO_UNIT if register.unit is None else register.unit,
        extra=axdr.encode(data) if value is None else None,
    )


async def read_clock(session: Session) -> tuple[dt.datetime, float, int]:
    """(the meter's time in UTC, its drift in seconds: positive is ahead, clock_status)."""
    assert session.connection is not None
    asked = time.time()
    data = await session.run(client.get(session.connection, 8, CLOCK, 2))
    answered = time.time()
    if not isinstance(data.value, bytes):
        raise RemoteProtocolError(f"the clock's time is a {data.type.name}", code="CLOCK_TYPE")
    context = session.context
    now = clock.parse_datetime(data.value, context.zone, context.type.deviation_inverted)
    return now.utc, round(now.utc.timestamp() - (asked + answered) / 2, 3), now.status


async def _profile_table(
    session: Session, logical_name: bytes, start: dt.datetime, end: dt.datetime
) -> tuple[KnownProfile, profile.Table]:
    assert session.connection is not None
    known = await session.runner.known_profile((session.context, logical_name))
    fresh = known is None
    if known is None:
        known = await _learn_layout(session, logical_name)
    try:
        return known, await session.run(client.read_profile(session.connection, known.layout, start, end))
    except DlmsError as error:
        if error.code != LAYOUT_MISMATCH or fresh:
            raise
    # The meter's capture_objects were changed since they were read.
    known = await _learn_layout(session, logical_name)
    return known, await session.run(client.read_profile(session.connection, known.layout, start, end))


async def _learn_layout(session: Session, logical_name: bytes) -> KnownProfile:
    """Ask the meter what its profile captures; scalers and units only where no meter of the type told them
    yet."""
    assert session.connection is not None
    captured = await session.run(client.read_capture_objects(session.connection, logical_name))
    period = (await session.run(client.get(session.connection, 7, logical_name, 4))).value
    period_s = period if isinstance(period, int) else 0
    request = plans.LayoutRequest(session.context, logical_name, captured, period_s)
    known = await session.runner.database.call(plans.find_layout, request)
    if known is not None:
        return known
    scaler_units = {
        (obis.to_text(item.logical_name), item.attribute): await _scaler_unit(
            session, item.class_id, item.logical_name
        )
        for item in captured
    }
    codings = await _codings(session, request)
    return await session.runner.database.call(plans.create_layout, request, scaler_units, codings)


async def _codings(session: Session, request: plans.LayoutRequest) -> dict[int, str]:
    """The coding of each column, by the types in the newest rows; a column without any value is taken for
    int."""
    assert session.connection is not None
    now = dt.datetime.now(dt.UTC)
    layout = plans.provisional_layout(request)
    for days in TYPE_PROBE_DAYS:
        access = client.range_access(layout, now - dt.timedelta(days=days), now)
        raw = await session.run(client.get_raw(session.connection, 7, request.logical_name, 2, access))
        rows = axdr.decode_all(raw).value
        codings: dict[int, str] = {}
        for row in rows:
            for place, cell in enumerate(row.value):
                if place not in codings and cell.type != DataType.NULL_DATA:
                    codings[place] = str(profile.coding_for(cell))
        if codings:
            return codings
    return {}


async def _scaler_unit(session: Session, class_id: int, logical_name: bytes) -> tuple[int, int]:
    assert session.connection is not None
    if class_id not in SCALER_ATTRIBUTE:
        return 0, NO_UNIT
    try:
        found = await session.run(client.read_scaler_unit(session.connection, class_id, logical_name))
    except ServiceError:
        return 0, NO_UNIT
    return found.scaler, found.unit


async def _with_scaler(session: Session, register: Register) -> Register:
    """Scaler and unit belong to the type: the first meter that is asked answers for all."""
    if register.scaler is not None:
        return register
    known = session.runner.scalers.get(register.type_register_id)
    if known is None:
        known = await _scaler_unit(session, register.class_id, register.logical_name)
        session.runner.scalers[register.type_register_id] = known
        await session.runner.database.call(plans.keep_scaler, register.type_register_id, *known)
    return Register(
        register.type_register_id, register.class_id, register.logical_name, register.attribute, *known
    )


async def _cache(session: Session, entry: entries.RegisterEntry) -> None:
    """Show the values at once; a cache that is away costs nothing but their freshness."""
    script, _, key, arguments = latest.eval_args(
        entry.meter_id, latest.from_registers(entry), ttl_s=settings.HES_LATEST_TTL_S
    )
    try:
        await session.runner.cache.script(script, [key], list(arguments))
    except BusAway as error:
        log.warning("latest_not_cached", meter=session.context.serial, error=str(error))


async def _publish(session: Session, entry: entries.Entry) -> None:
    await session.runner.bus.pipe.execute("XADD", entries.STREAM, "*", entries.FIELD, entries.encode(entry))


def _now_us() -> int:
    return time.time_ns() // 1000


def _from_us(microseconds: int) -> dt.datetime:
    return dt.datetime.fromtimestamp(microseconds / 1_000_000, dt.UTC)
