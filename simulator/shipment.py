"""The shipment file of a fleet: what a maker sends with its meters, as `manage.py import_meters` takes it."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable
from pathlib import Path

from simulator.identity import MeterIdentity

COLUMNS = (
    "serial",
    "system_title",
    "meter_type",
    "server_address",
    "time_zone",
    "guek",
    "gak",
    "lls_password",
)


def write_shipment(
    path: Path, meters: Iterable[MeterIdentity], *, meter_type: str, time_zone: str = "UTC"
) -> int:
    """Write the file, readable by its owner alone (it holds keys); the number of meters in it."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.fchmod(descriptor, 0o600)
    count = 0
    with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for meter in meters:
            writer.writerow(
                (
                    meter.serial,
                    meter.system_title.hex(),
                    meter_type,
                    meter.server_address,
                    time_zone,
                    meter.encryption_key.hex(),
                    meter.authentication_key.hex(),
                    meter.lls_password,
                )
            )
            count += 1
    return count
