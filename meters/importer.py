"""Meters out of a maker's shipment file (CSV): all lines or none. Owns the file's columns and its checks.

A line whose serial and system title are known already is left as it is, so that a file can be given twice;
what people edited since stays. Secrets go from the line into their envelope and appear in no message.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TextIO

from django.contrib.auth.models import AbstractUser
from django.db import transaction

from meters import audit
from meters.credentials import parse_secret, seal
from meters.errors import FieldProblem, Invalid
from meters.models import AuditEntry, Credential, Meter, MeterType
from meters.registration import WPORT_MAX, make_new_due, zone_names

REQUIRED = ("serial", "meter_type")
SECRETS = tuple(Credential.Kind.values)
COLUMNS = ("serial", "system_title", "meter_type", "server_address", "time_zone", *SECRETS)
BATCH = 5000


@dataclass(frozen=True, slots=True)
class BadLine:
    """What is wrong with a line of the file (1 is the header)."""

    line: int
    field: str
    code: str
    detail: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.code}: {self.field}: {self.detail}"


@dataclass(slots=True)
class Line:
    number: int
    meter: Meter
    secrets: dict[str, bytes] = field(repr=False)


@dataclass(slots=True)
class Report:
    """What an import did, or would do; nothing was written where `bad` is not empty."""

    created: int = 0
    known: int = 0
    bad: list[BadLine] = field(default_factory=list)


def import_meters(
    file: TextIO, *, source: str, user: AbstractUser | None = None, dry_run: bool = False
) -> Report:
    """Read a shipment file, opened with newline="". Raises Invalid when it is no such file at all."""
    report = Report()
    lines = _without_duplicates(_parse(file, report), report)
    new = _only_new(lines, report)
    if report.bad or dry_run:
        report.bad.sort(key=lambda bad: bad.line)
        report.created = 0 if report.bad else len(new)
        return report
    with transaction.atomic():
        _write(new, source, user)
    report.created = len(new)
    return report


def _parse(file: TextIO, report: Report) -> Iterator[Line]:
    reader = csv.reader(file, strict=True)
    types = {meter_type.name: meter_type for meter_type in MeterType.objects.all()}
    try:
        header = [name.strip() for name in next(reader, [])]
        _check_header(header)
        for cells in reader:
            number = reader.line_num
            if not cells:
                continue
            problems: list[FieldProblem] = []
            line = _parse_line(number, header, cells, types, problems)
            if problems:
                report.bad += [BadLine(number, p.field, p.code, p.detail) for p in problems]
            elif line is not None:
                yield line
    except (csv.Error, UnicodeDecodeError) as error:
        raise Invalid(
            f"not a CSV file in UTF-8, near line {reader.line_num}: {error}", code="FILE_INVALID"
        ) from None


def _check_header(header: list[str]) -> None:
    if missing := [name for name in REQUIRED if name not in header]:
        raise Invalid(f"the header lacks {', '.join(missing)}", code="COLUMN_MISSING")
    if unknown := [name for name in header if name not in COLUMNS]:
        raise Invalid(f"the header has unknown columns: {', '.join(unknown)[:200]}", code="COLUMN_UNKNOWN")
    if len(set(header)) != len(header):
        raise Invalid("the header has a column twice", code="COLUMN_TWICE")


def _parse_line(
    number: int,
    header: list[str],
    cells: list[str],
    types: dict[str, MeterType],
    problems: list[FieldProblem],
) -> Line | None:
    if len(cells) != len(header):
        problems.append(FieldProblem("", "CELL_COUNT", f"has {len(cells)} cells, the header {len(header)}"))
        return None
    row = dict(zip(header, (cell.strip() for cell in cells), strict=True))
    meter = Meter(
        serial=row["serial"],
        system_title=row.get("system_title", "").lower() or None,
        time_zone=row.get("time_zone", ""),
    )
    for name in ("serial", "system_title"):
        _check_pattern(meter, name, problems)
    if (meter_type := types.get(row["meter_type"])) is None:
        problems.append(FieldProblem("meter_type", "METER_TYPE_UNKNOWN", _shown(row["meter_type"])))
    else:
        meter.meter_type = meter_type
    if meter.time_zone and meter.time_zone not in zone_names():
        problems.append(FieldProblem("time_zone", "TIME_ZONE_UNKNOWN", _shown(meter.time_zone)))
    meter.server_address = _server_address(row.get("server_address", ""), problems)
    secrets = {}
    for kind in SECRETS:
        if row.get(kind):
            try:
                secrets[kind] = parse_secret(kind, row[kind])
            except Invalid as error:
                problems += error.problems
    return Line(number, meter, secrets)


def _shown(value: str) -> str:
    """A cell in a message; what looks like a key has slipped in from another column."""
    return "hex digits, not shown" if re.search(r"[0-9A-Fa-f]{32}", value) else repr(value[:64])


def _check_pattern(meter: Meter, name: str, problems: list[FieldProblem]) -> None:
    value = getattr(meter, name)
    if value is None:
        return
    validator = Meter._meta.get_field(name).validators[0]
    if not validator.regex.search(value):
        problems.append(
            FieldProblem(name, f"{name.upper()}_INVALID", f"{_shown(value)}: {validator.message}")
        )


def _server_address(text: str, problems: list[FieldProblem]) -> int | None:
    if not text:
        return None
    if text.isascii() and text.isdecimal() and len(text) <= 5 and 1 <= int(text) <= WPORT_MAX:
        return int(text)
    problems.append(FieldProblem("server_address", "SERVER_ADDRESS_INVALID", f"must be 1 to {WPORT_MAX}"))
    return None


def _without_duplicates(lines: Iterable[Line], report: Report) -> list[Line]:
    seen: dict[tuple[str, str], int] = {}
    kept = []
    for line in lines:
        for name in ("serial", "system_title"):
            value = getattr(line.meter, name)
            first = seen.setdefault((name, value), line.number) if value else line.number
            if first != line.number:
                detail = f"{value!r} stands in line {first} already"
                report.bad.append(BadLine(line.number, name, "DUPLICATE_IN_FILE", detail))
                break
        else:
            kept.append(line)
    return kept


def _only_new(lines: list[Line], report: Report) -> list[Line]:
    titles = dict(
        Meter.objects.filter(serial__in=[line.meter.serial for line in lines]).values_list(
            "serial", "system_title"
        )
    )
    wanted = [line.meter.system_title for line in lines if line.meter.system_title]
    owners = dict(Meter.objects.filter(system_title__in=wanted).values_list("system_title", "serial"))
    new = []
    for line in lines:
        serial, title = line.meter.serial, line.meter.system_title
        if title and owners.get(title, serial) != serial:
            detail = f"{title} belongs to meter {owners[title]}"
            report.bad.append(BadLine(line.number, "system_title", "SYSTEM_TITLE_TAKEN", detail))
        elif serial not in titles:
            new.append(line)
        elif titles[serial] == title:
            report.known += 1
        else:
            detail = f"{serial} is known with system title {titles[serial] or 'blank'}"
            report.bad.append(BadLine(line.number, "serial", "METER_DIFFERS", detail))
    return new


def _write(lines: list[Line], source: str, user: AbstractUser | None) -> None:
    Meter.objects.bulk_create((line.meter for line in lines), batch_size=BATCH)
    Credential.objects.bulk_create(
        (
            Credential(meter=line.meter, kind=kind, sealed=seal(line.meter.pk, kind, secret))
            for line in lines
            for kind, secret in line.secrets.items()
        ),
        batch_size=BATCH,
    )
    AuditEntry.objects.bulk_create(
        (
            audit.entry(
                "meter.import",
                meter=line.meter,
                subject=line.meter.serial,
                actor=user,
                facts={"source": source, "line": line.number, "secrets": sorted(line.secrets)},
            )
            for line in lines
        ),
        batch_size=BATCH,
    )
    make_new_due([line.meter.pk for line in lines])
