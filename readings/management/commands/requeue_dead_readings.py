"""manage.py requeue_dead_readings: put dead letters back into the stream, once their cause is mended."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from hes.redis import bus
from readings.stream import requeue_dead


class Command(BaseCommand):
    help = "Put dead letters back into the stream of readings."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--code", help="only those with this code, such as METER_UNKNOWN")

    def handle(self, *args: Any, **options: Any) -> None:
        self.stdout.write(f"{requeue_dead(bus(), options['code'])} entries put back")
