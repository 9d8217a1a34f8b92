"""A dialog with one simulated meter, frame by frame, in a plain loop: no gateway, no Redis, no database.

    bin/python -m simulator --listen 4060 --seed training --csv var/training.csv
    bin/python docs/dialog.py var/training.csv 4060 reader

The second word is the port, the third the client: public (no key), reader (password) or management (keys).
With --profile the last hour of the load profile is read, too, and shown as OBIS -> value -> timestamp.
"""

from __future__ import annotations

import argparse
import csv
import json
import socket
import sys
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from dlms import client, obis, profile
from dlms.connection import Connection, Counters, Settings
from dlms.effects import Dialog, Pause, Receive, Send
from dlms.enums import UNIT_SYMBOLS, ApduTag, Authentication
from dlms.framing.wrapper import HEADER_OCTETS, WrapperFramer

CLIENTS = {"public": 16, "reader": 32, "management": 1}
CLIENT_TITLE = b"HES\0\0\0\0\1"
CLOCK = obis.parse("0-0:1.0.0.255")
INVOCATION_COUNTER = obis.parse("0-0:43.1.0.255")
ENERGY_IMPORT = obis.parse("1-0:1.8.0.255")
LOAD_PROFILE = obis.parse("1-0:99.1.0.255")


def show(arrow: str, frame: bytes) -> None:
    """One frame: its APDU's name, its wrapper header, its APDU."""
    header, apdu = frame[:HEADER_OCTETS], frame[HEADER_OCTETS:]
    name = ApduTag(apdu[0]).name.lower().replace("_", "-")
    print(f"{arrow} {name}, {len(frame)} octets\n  {header.hex(' ')}\n  {apdu.hex(' ')}")


def carry(dialog: Dialog[Any], link: socket.socket, framer: WrapperFramer) -> Any:
    """What the workers' runner does over the gateway, done over one blocking socket."""
    answer: bytes | None = None
    while True:
        try:
            effect = dialog.send(answer)
        except StopIteration as end:
            return end.value
        answer = None
        match effect:
            case Send(frame):
                show("->", frame)
                link.sendall(frame)
            case Receive(timeout_s):
                link.settimeout(timeout_s)
                while (cut := framer.next_frame()) is None:
                    framer.feed(link.recv(65536))
                answer = cut.raw
                show("<-", answer)
            case Pause():
                pass


def settings_of(meter: dict[str, str], name: str) -> Settings:
    """How the client `name` speaks to the meter of a line of the shipment file."""
    if name == "public":
        return Settings(CLIENTS[name])
    if name == "reader":
        password = meter["lls_password"].encode()
        return Settings(CLIENTS[name], authentication=Authentication.LLS, password=password)
    return Settings(
        CLIENTS[name],
        authentication=Authentication.HLS_GMAC,
        ciphered=True,
        client_system_title=CLIENT_TITLE,
        encryption_key=bytes.fromhex(meter["guek"]),
        authentication_key=bytes.fromhex(meter["gak"]),
        meter_system_title=bytes.fromhex(meter["system_title"]),
    )


def read_counter() -> Dialog[int]:
    """The counter that the meter has seen last, over the public client: no key is needed for it."""
    connection = Connection(Settings(CLIENTS["public"]))
    yield from client.associate(connection)
    counter = yield from client.get(connection, 1, INVOCATION_COUNTER, 2)
    yield from client.release(connection)
    return counter.value


def read_hour(connection: Connection) -> Dialog[list[dict[str, str]]]:
    """The last hour of the load profile, each value by its OBIS code, with its unit and its time."""
    objects = yield from client.read_capture_objects(connection, LOAD_PROFILE)
    columns = tuple(profile.Column(one, "clock" if one.class_id == 8 else "channel") for one in objects)
    units = []
    for one in objects:
        known = one.class_id == 3
        units.append((yield from client.read_scaler_unit(connection, 3, one.logical_name)) if known else None)
    layout = profile.Layout(LOAD_PROFILE, 900, columns, UTC)
    now = datetime.now(UTC)
    table = yield from client.read_profile(connection, layout, now - timedelta(hours=1), now)
    channels = [place for place, column in enumerate(columns) if column.role == "channel"]
    return [
        {
            "obis": obis.to_text(objects[place].logical_name),
            "value": str(Decimal(int(value)).scaleb(unit.scaler)),
            "unit": UNIT_SYMBOLS[unit.unit],
            "timestamp": datetime.fromtimestamp(int(at) / 1_000_000, UTC).isoformat(),
        }
        for at, row in zip(table.captured_at, table.values, strict=True)
        for place, value in zip(channels, row, strict=True)
        if (unit := units[place]) is not None
    ]


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("shipment", type=Path)
    words.add_argument("port", type=int)
    words.add_argument("client", choices=CLIENTS)
    words.add_argument("--profile", action="store_true")
    given = words.parse_args()
    with given.shipment.open(newline="") as file:
        meter = next(csv.DictReader(file))
    with socket.create_connection(("127.0.0.1", given.port)) as link:
        framer = WrapperFramer()

        def run(title: str, dialog: Dialog[Any]) -> Any:
            print(f"\n=== {title}")
            return carry(dialog, link, framer)

        counters = Counters()
        if given.client == "management":
            seen = run("which counter has the meter seen? (public client)", read_counter())
            print(f"{seen}: we begin above it")
            counters = Counters(seen + 1, 1000)
        connection = Connection(settings_of(meter, given.client), counters)
        info = run(f"associate as {given.client}", client.associate(connection))
        print(f"conformance {info.conformance:#08x}, APDUs up to {info.server_max_receive_pdu_size} octets")
        clock = run("clock", client.get(connection, 8, CLOCK, 2))
        print(clock.value.hex(" "))
        if given.client != "public":
            known = run("scaler and unit of 1-0:1.8.0", client.read_scaler_unit(connection, 3, ENERGY_IMPORT))
            value = run("value of 1-0:1.8.0", client.get(connection, 3, ENERGY_IMPORT, 2))
            print(f"{Decimal(value.value).scaleb(known.scaler)} {UNIT_SYMBOLS[known.unit]}")
        if given.profile:
            for reading in run("the last hour of the load profile", read_hour(connection)):
                print(json.dumps(reading))
        run("release", client.release(connection))


if __name__ == "__main__":
    main()
