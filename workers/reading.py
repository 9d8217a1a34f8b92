"""What is read inside an open association, and where it goes: profile ranges, register sets, event logs, the
clock.

Every reading ends as an entry of the readings stream (`readings.entries`); registers also enter the
latest-value cache at once. Nothing here waits for the database to store a row.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import structlog
from django.conf import settings

from dlms import axdr, client, clock, obis, profile
from dlms.axdr import CompactArray, Data
from dlms.enums import DataType, unit_symbol
from dlms.errors import DlmsError, RemoteProtocolError, ServiceError
from dlms.profile import NO_TIME
from dlms.profile.coding import encode_cell
from readings import entries, latest
from readings.entries import RegisterReading
from readings.values import value_json
from workers import plans
from workers.contexts import Register
from workers.errors import BusAway, NotStored
from workers.plans import KnownProfile
from workers.session import Session

if TYPE_CHECKING:
    from workers.runner import Runner

log = structlog.get_logger()

NO_UNIT = 255
#: The rows have another number of columns than the layout (`dlms.profile`).
LAYOUT_MISMATCH = "PROFILE_COLUMNS"
SCALER_UNIT_INVALID = "SCALER_UNIT_INVALID"
STORED_POLL_S = 0.05
#: A letter that was buried a moment ago is among the newest.
DEAD_LOOKED_AT = 200
#: How far back rows are looked at to learn the types of a profile's columns.
TYPE_PROBE_DAYS = (1, 31)
CLOCK = bytes((0, 0, 1, 0, 0, 255))
#: class -> attributes that its scaler_unit is of: Register, Extended register, Demand register
SCALED_ATTRIBUTES = {3: (2,), 4: (2,), 5: (2, 3)}


@dataclass(frozen=True, slots=True)
class ProfileResult:
    """`rows` rows of layout `layout_id`, captured from `first` to `last` (None where there was no row).

    No layout: the profile is empty, and which types its columns have is not known yet.
    """

    layout_id: int | None
    rows: int
    first: dt.datetime | None
    last: dt.datetime | None


async def read_profile(
    session: Session, logical_name: bytes, start: dt.datetime, end: dt.datetime, origin: str
) -> ProfileResult:
    """Read [start, end] of a profile and put its rows on the stream."""
    found = await _profile_table(session, logical_name, start, end)
    if found is None:
        return ProfileResult(None, 0, None, None)
    known, table = found
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
    found = await _profile_table(session, log, start, end)
    if found is None:
        return 0
    known, table = found
    names = [column.capture_object.logical_name for column in known.layout.channels]
    records = entries.event_records(table, next((n for n, name in enumerate(names) if _is_code(name)), 0))
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
                "value": value_json(reading.coding, reading.value, reading.scaler, reading.extra),
                "unit": unit_symbol(reading.unit),
                "timestamp": iso_z(_from_us(reading.captured_at_us)),
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


def _is_code(logical_name: bytes) -> bool:
    """Event codes are 0-b:96.11.x (object identification system of the Blue Book)."""
    return logical_name[0] == 0 and logical_name[2:4] == bytes((96, 11))


async def _profile_table(
    session: Session, logical_name: bytes, start: dt.datetime, end: dt.datetime
) -> tuple[KnownProfile, profile.Table] | None:
    """The rows and their layout; None for an empty profile whose layout is not known."""
    assert session.connection is not None
    known = await session.runner.known_profile((session.context, logical_name))
    fresh = known is None
    if known is None:
        known = await _learn_layout(session, logical_name, start, end)
    if known is None:
        return None
    try:
        return known, await session.run(client.read_profile(session.connection, known.layout, start, end))
    except DlmsError as error:
        if error.code != LAYOUT_MISMATCH or fresh:
            raise
    # The meter's capture_objects were changed since they were read.
    known = await _learn_layout(session, logical_name, start, end)
    if known is None:
        return None
    return known, await session.run(client.read_profile(session.connection, known.layout, start, end))


async def _learn_layout(
    session: Session, logical_name: bytes, start: dt.datetime, end: dt.datetime
) -> KnownProfile | None:
    """Ask the meter what its profile captures; types, scalers and units only where no meter of the type told
    them yet. None where there is no row to learn the types from: a layout is for all meters of the type and
    for ever."""
    assert session.connection is not None
    captured = await session.run(client.read_capture_objects(session.connection, logical_name))
    request = plans.LayoutRequest(
        session.context, logical_name, captured, await _capture_period(session, logical_name)
    )
    known = await session.runner.database.call(plans.find_layout, request)
    if known is not None:
        return known
    codings = await _codings(session, request, start, end)
    if not codings:
        return None
    scaler_units = {
        (obis.to_text(item.logical_name), item.attribute): await _scaler_unit(
            session, item.class_id, item.logical_name, item.attribute
        )
        or (0, NO_UNIT)
        for item in captured
    }
    return await session.runner.database.call(plans.create_layout, request, scaler_units, codings)


async def _capture_period(session: Session, logical_name: bytes) -> int:
    """0, captured on events, also where the meter does not tell it."""
    assert session.connection is not None
    try:
        period = (await session.run(client.get(session.connection, 7, logical_name, 4))).value
    except ServiceError as error:
        if error.retryable:
            raise
        return 0
    return period if isinstance(period, int) else 0


async def _codings(
    session: Session, request: plans.LayoutRequest, start: dt.datetime, end: dt.datetime
) -> dict[int, str]:
    """The coding of each column, by the types in the newest rows, or those from `start` to `end`; a column
    without any value is taken for int. Empty: no row was found."""
    assert session.connection is not None
    now = dt.datetime.now(dt.UTC)
    layout = plans.provisional_layout(request)
    newest, older = ((now - dt.timedelta(days=days), now) for days in TYPE_PROBE_DAYS)
    for first, last in (newest, (start, end), older):
        access = client.range_access(layout, first, last)
        try:
            raw = await session.run(client.get_raw(session.connection, 7, request.logical_name, 2, access))
        except ServiceError as error:
            if error.retryable:
                raise
            continue  # some refuse a range without rows, or a long one
        codings: dict[int, str] = {}
        for row in _rows(axdr.decode_all(raw)):
            for place, cell in enumerate(row.value):
                if place not in codings and cell.type != DataType.NULL_DATA:
                    codings[place] = str(profile.coding_for(cell))
        if codings:
            return codings
    return {}


def _rows(buffer: Data) -> list[Data]:
    """The rows of a buffer in any of its forms; null-data is an empty one."""
    rows: tuple[Data, ...] = ()
    if isinstance(buffer.value, CompactArray):
        rows = buffer.value.elements
    elif buffer.type == DataType.ARRAY:
        rows = buffer.value
    return [row for row in rows if row.type == DataType.STRUCTURE]


async def _scaler_unit(
    session: Session, class_id: int, logical_name: bytes, attribute: int
) -> tuple[int, int] | None:
    """None where the attribute has none or the meter does not tell it; a temporary failure is an error."""
    assert session.connection is not None
    if attribute not in SCALED_ATTRIBUTES.get(class_id, ()):
        return None
    try:
        found = await session.run(client.read_scaler_unit(session.connection, class_id, logical_name))
    except ServiceError as error:
        if error.retryable:
            raise
        code = error.code
    except RemoteProtocolError as error:
        if error.code != SCALER_UNIT_INVALID:
            raise
        code = error.code
    else:
        return found.scaler, found.unit
    log.warning("scaler_not_told", meter=session.context.serial, obis=obis.to_text(logical_name), code=code)
    return None


async def _with_scaler(session: Session, register: Register) -> Register:
    """Scaler and unit belong to the type: the first meter that tells them answers for all."""
    if register.scaler is not None:
        return register
    known = session.runner.scalers.get(register.type_register_id)
    if known is None:
        known = await _scaler_unit(session, register.class_id, register.logical_name, register.attribute)
        if known is None:
            return register
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
    packed = entries.encode(entry)
    entry_id = await session.runner.bus.pipe.execute("XADD", entries.STREAM, "*", entries.FIELD, packed)
    session.published.append(entry_id)


async def wait_stored(runner: Runner, published: list[bytes], timeout_s: float) -> bool:
    """Until ingest has taken the entries from the stream; False: they wait there still, and nothing is lost.

    Raises NotStored where one of them ended among the dead letters.
    """
    deadline = time.monotonic() + timeout_s
    for entry_id in published:
        while await runner.bus.pipe.execute("XRANGE", entries.STREAM, entry_id, entry_id):
            if time.monotonic() > deadline:
                return False
            await asyncio.sleep(STORED_POLL_S)
    letters = await runner.bus.pipe.execute(
        "XREVRANGE", entries.DEAD_STREAM, "+", "-", "COUNT", DEAD_LOOKED_AT
    )
    for _, fields in letters if published else ():
        if fields.get(b"id") in published:
            raise NotStored(fields.get(b"code", b"").decode())
    return True


def _now_us() -> int:
    return time.time_ns() // 1000


def iso_z(moment: dt.datetime) -> str:
    """UTC as the API writes it, in results of commands too."""
    return moment.astimezone(dt.UTC).isoformat().replace("+00:00", "Z")


def _from_us(microseconds: int) -> dt.datetime:
    return dt.datetime.fromtimestamp(microseconds / 1_000_000, dt.UTC)
