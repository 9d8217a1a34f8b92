"""manage.py import_meters FILE: meters and their keys out of a maker's shipment file, all lines or none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError, CommandParser

from meters.errors import Invalid
from meters.importer import COLUMNS, import_meters


class Command(BaseCommand):
    help = f"Import meters from a CSV file with the columns {', '.join(COLUMNS)}; all lines or none."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", type=Path)
        parser.add_argument("--dry-run", action="store_true", help="check the file, write nothing")
        parser.add_argument("--user", help="user name for the audit")

    def handle(self, *args: Any, **options: Any) -> None:
        users = get_user_model().objects
        user = users.filter(username=options["user"]).first() if options["user"] else None
        if options["user"] and user is None:
            raise CommandError(f"there is no user {options['user']!r}")
        path: Path = options["file"]
        try:
            with path.open(encoding="utf-8-sig", newline="") as file:
                report = import_meters(file, source=path.name, user=user, dry_run=options["dry_run"])
        except OSError as error:
            raise CommandError(f"{path}: {error.strerror}") from None
        except Invalid as error:
            raise CommandError(str(error)) from None
        for bad in report.bad:
            self.stderr.write(str(bad))
        if report.bad:
            raise CommandError(f"{len(report.bad)} problems; nothing was imported")
        done = "would be imported" if options["dry_run"] else "imported"
        self.stdout.write(
            f"{report.created} meters {done}, {report.known} known already and left as they are"
        )
