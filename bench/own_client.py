"""Our client doing the dialog of `bench.day`, carried by a plain loop over a blocking socket."""

from __future__ import annotations

from datetime import UTC, datetime

from bench import day
from bench.wire import Wire
from dlms import axdr, client, obis
from dlms.clock import parse_datetime
from dlms.connection import Connection, Counters, Settings
from dlms.enums import Authentication
from dlms.profile import Layout, Table

_CLOCK = obis.parse(day.CLOCK)
_REGISTERS = tuple(obis.parse(name) for name in day.REGISTERS)


def settings(title: bytes, guek: bytes, gak: bytes) -> Settings:
    """HLS-GMAC with authenticated encryption as the management client."""
    return Settings(
        client_address=1,
        authentication=Authentication.HLS_GMAC,
        ciphered=True,
        client_system_title=title,
        encryption_key=guek,
        authentication_key=gak,
    )


def whole(
    wire: Wire, connection: Connection, layout: Layout, first: datetime, last: datetime
) -> tuple[datetime, list[axdr.Data], Table]:
    """The dialog that is measured; the clock is read as far as a moment in UTC, as gurux does."""
    wire.carry(client.associate(connection))
    clock = parse_datetime(wire.carry(client.get(connection, 8, _CLOCK, 2)).value, UTC).utc
    registers = [wire.carry(client.get(connection, 3, name, 2)) for name in _REGISTERS]
    table = wire.carry(client.read_profile(connection, layout, first, last))
    wire.carry(client.release(connection))
    return clock, registers, table


def connect(known: Settings, counter: int, received: int | None) -> Connection:
    return Connection(known, Counters(counter, day.COUNTERS), received)


def answer_of(clock: datetime, registers: list[axdr.Data], table: Table) -> day.Answer:
    """Our values in the common form; not part of what is measured."""
    return day.Answer(
        clock=clock,
        registers=tuple(int(data.value) for data in registers),
        stamps_s=tuple(stamp // 1_000_000 for stamp in table.captured_at.tolist()),
        status=tuple(table.status.tolist()),
        values=tuple(tuple(row) for row in table.values.tolist()),
    )
