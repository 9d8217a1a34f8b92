from __future__ import annotations

import io
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from meters.credentials import load_secrets
from meters.errors import Invalid
from meters.importer import COLUMNS, import_meters
from meters.models import AuditEntry, Credential, DueRead, Meter, MeterType, ReadingPlan

HEADER = ",".join(COLUMNS)
KEY = "00112233445566778899aabbccddeeff"


def line(number: int, **cells: str) -> str:
    given = {
        "serial": f"SIM{number:08d}",
        "system_title": f"53494d{number:010x}",
        "meter_type": "SIM-1",
        "guek": KEY,
        "gak": KEY[::-1],
        "lls_password": "password",
    } | cells
    return ",".join(given.get(name, "") for name in COLUMNS)


def shipment(*lines: str) -> io.StringIO:
    return io.StringIO("\n".join((HEADER, *lines)) + "\n")


def test_import_stores_meters_secrets_due_reads_and_audit(plan: ReadingPlan) -> None:
    report = import_meters(shipment(line(1), line(2, guek="", server_address="17")), source="f.csv")
    assert (report.created, report.known, report.bad) == (2, 0, [])
    first, second = Meter.objects.all()
    assert (first.serial, first.system_title) == ("SIM00000001", "53494d0000000001")
    assert second.server_address == 17
    secrets = load_secrets([first.pk, second.pk])
    assert secrets[first.pk]["guek"] == bytes.fromhex(KEY)
    assert set(secrets[second.pk]) == {"gak", "lls_password"}
    assert set(DueRead.objects.values_list("meter_id", flat=True)) == {first.pk, second.pk}
    assert all(due.next_due_at is not None for due in DueRead.objects.all())
    assert AuditEntry.objects.filter(action="meter.import").count() == 2
    assert KEY not in str(list(AuditEntry.objects.values()))


def test_import_dry_run_writes_nothing(meter_type: MeterType) -> None:
    assert import_meters(shipment(line(1)), source="f", dry_run=True).created == 1
    assert not Meter.objects.exists()


def test_import_the_same_file_twice_leaves_what_was_edited(meter_type: MeterType) -> None:
    import_meters(shipment(line(1)), source="f")
    Meter.objects.update(note="edited", time_zone="Europe/Berlin")
    report = import_meters(shipment(line(1), line(2)), source="f")
    assert (report.created, report.known) == (1, 1)
    assert Meter.objects.get(serial="SIM00000001").note == "edited"


@pytest.mark.parametrize(
    ("bad", "field", "code"),
    [
        (line(2, serial="a b"), "serial", "SERIAL_INVALID"),
        (line(2, serial=""), "serial", "SERIAL_INVALID"),
        (line(2, system_title="53494d"), "system_title", "SYSTEM_TITLE_INVALID"),
        (line(2, meter_type="none"), "meter_type", "METER_TYPE_UNKNOWN"),
        (line(2, server_address="0"), "server_address", "SERVER_ADDRESS_INVALID"),
        (line(2, server_address="70000"), "server_address", "SERVER_ADDRESS_INVALID"),
        (line(2, server_address="\u0661"), "server_address", "SERVER_ADDRESS_INVALID"),
        (line(2, time_zone="Mars/Base"), "time_zone", "TIME_ZONE_UNKNOWN"),
        (line(2, guek="xyz"), "guek", "SECRET_NOT_HEX"),
        (line(2, gak="00"), "gak", "SECRET_LENGTH"),
        ("SIM2,x", "", "CELL_COUNT"),
        (line(2, serial="SIM00000001"), "serial", "DUPLICATE_IN_FILE"),
        (line(2, system_title="53494d0000000001"), "system_title", "DUPLICATE_IN_FILE"),
        (line(2, system_title="53494D0000000001"), "system_title", "DUPLICATE_IN_FILE"),
        (line(2, serial="OLD"), "serial", "METER_DIFFERS"),
        (line(2, system_title="53494d00000000aa"), "system_title", "SYSTEM_TITLE_TAKEN"),
    ],
)
def test_import_with_a_bad_line_names_it_and_writes_nothing(
    meter_type: MeterType, bad: str, field: str, code: str
) -> None:
    Meter.objects.create(serial="OLD", meter_type=meter_type, system_title="53494d00000000aa")
    report = import_meters(shipment(line(1), bad, line(3)), source="f")
    assert [(b.line, b.field, b.code) for b in report.bad] == [(3, field, code)]
    assert report.created == 0
    assert Meter.objects.count() == 1
    assert not Credential.objects.exists()


def test_import_lists_every_bad_line_in_order_and_no_secret(meter_type: MeterType) -> None:
    report = import_meters(
        shipment(line(1, guek="secret1"), line(1, serial="a b"), line(1, guek="secret2")), source="f"
    )
    assert [bad.line for bad in report.bad] == [2, 3, 4]
    assert "secret" not in " ".join(map(str, report.bad))


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "COLUMN_MISSING"),
        ("serial\n", "COLUMN_MISSING"),
        ("serial,meter_type,colour\n", "COLUMN_UNKNOWN"),
        ("serial,meter_type,serial\n", "COLUMN_TWICE"),
        (HEADER + '\n"open', "FILE_INVALID"),
    ],
)
def test_import_of_what_is_no_shipment_is_refused(meter_type: MeterType, text: str, code: str) -> None:
    with pytest.raises(Invalid) as caught:
        import_meters(io.StringIO(text), source="f")
    assert caught.value.code == code


def test_import_of_a_thousand_lines_takes_few_queries(
    plan: ReadingPlan, django_assert_max_num_queries
) -> None:
    file = shipment(*(line(number) for number in range(1000)))
    with django_assert_max_num_queries(12):
        assert import_meters(file, source="f").created == 1000
    assert Credential.objects.count() == 3000


def test_import_command_reads_a_file_with_byte_order_mark(
    meter_type: MeterType, tmp_path: Path, capsys
) -> None:
    path = tmp_path / "shipment.csv"
    path.write_text("\ufeff" + HEADER + "\r\n" + line(1) + "\r\n", encoding="utf-8", newline="")
    call_command("import_meters", str(path))
    assert "1 meters imported" in capsys.readouterr().out


def test_import_command_with_bad_lines_ends_in_error_listing_them(
    meter_type: MeterType, tmp_path: Path, capsys
) -> None:
    path = tmp_path / "shipment.csv"
    path.write_text(shipment(line(1, meter_type="none")).getvalue())
    with pytest.raises(CommandError, match="nothing was imported"):
        call_command("import_meters", str(path))
    assert "line 2: METER_TYPE_UNKNOWN" in capsys.readouterr().err


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00serial", b"serial,meter_type\n\xff\xff,x\n"])
def test_import_command_of_an_unreadable_file_says_so(
    meter_type: MeterType, tmp_path: Path, content: bytes | None
) -> None:
    path = tmp_path / "shipment.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CommandError):
        call_command("import_meters", str(path))


@pytest.mark.parametrize("address", ["0", "65536", "0655359", "000001", "-1", "1.0", "٣"])
def test_import_server_address_out_of_range_is_a_bad_line(meter_type: MeterType, address: str) -> None:
    report = import_meters(shipment(line(1, server_address=address)), source="f")
    assert [bad.code for bad in report.bad] == ["SERVER_ADDRESS_INVALID"]


@pytest.mark.parametrize("column", ["meter_type", "time_zone"])
def test_import_key_in_another_column_is_in_no_message(meter_type: MeterType, column: str) -> None:
    report = import_meters(shipment(line(1, **{column: KEY})), source="f")
    assert len(report.bad) == 1
    assert KEY not in str(report.bad[0])
