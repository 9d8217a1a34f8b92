"""Identities by seed, the shipment file, shares of faults."""

from __future__ import annotations

import csv
import re
import stat
from pathlib import Path

import pytest

from simulator.faults import Fault, parse_fault, share_out
from simulator.identity import derive_identity
from simulator.shipment import COLUMNS, write_shipment


def test_same_seed_and_number_give_the_same_meter() -> None:
    assert derive_identity("s", 12) == derive_identity("s", 12)
    one, other = derive_identity("s", 12), derive_identity("t", 12)
    assert one.encryption_key != other.encryption_key
    assert one.system_title == other.system_title == b"SIM\x00\x00\x00\x00\x0c"


def test_secrets_differ_and_stay_out_of_repr() -> None:
    meter = derive_identity("s", 1)
    assert len(meter.encryption_key) == len(meter.authentication_key) == len(meter.lls_password) == 16
    assert meter.encryption_key != meter.authentication_key
    assert meter.encryption_key.hex() not in repr(meter)
    assert meter.lls_password not in repr(meter)
    assert repr(meter.encryption_key) not in repr(meter)


def test_shipment_names_each_meter_and_is_private(tmp_path: Path) -> None:
    path = tmp_path / "fleet.csv"
    path.write_text("old")
    path.chmod(0o644)
    meters = [derive_identity("s", number) for number in (1, 2, 30)]
    assert write_shipment(path, meters, meter_type="SIM-1") == 3
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS
    assert [row["serial"] for row in rows] == ["SIM00000001", "SIM00000002", "SIM00000030"]
    for row, meter in zip(rows, meters, strict=True):
        assert bytes.fromhex(row["system_title"]) == meter.system_title
        assert bytes.fromhex(row["guek"]) == meter.encryption_key
        assert bytes.fromhex(row["gak"]) == meter.authentication_key
        assert row["lls_password"] == meter.lls_password
        assert (row["meter_type"], row["server_address"], row["time_zone"]) == ("SIM-1", "1", "UTC")
        assert re.fullmatch(r"[A-Za-z0-9._:-]{1,64}", row["serial"])


def test_faults_go_to_the_last_meters() -> None:
    shares = share_out(range(1, 11), [parse_fault("silent=2"), parse_fault("late=1")])
    assert shares == {10: Fault.SILENT, 9: Fault.SILENT, 8: Fault.LATE}


@pytest.mark.parametrize("text", ["silent", "silent=", "silent=x", "silent=-1", "loud=1", ""])
def test_fault_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="fault"):
        parse_fault(text)


def test_more_faults_than_meters_are_refused() -> None:
    with pytest.raises(ValueError, match="late"):
        share_out(range(3), [(Fault.SILENT, 2), (Fault.LATE, 2)])
