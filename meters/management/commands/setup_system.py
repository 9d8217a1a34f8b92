"""manage.py setup_system: roles and the system's own periodic tasks; run it after each migration."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from meters.seed import ensure_system


class Command(BaseCommand):
    help = "Make the roles and periodic tasks that the head-end needs, where they are missing."

    def handle(self, *args: Any, **options: Any) -> None:
        made = ensure_system()
        self.stdout.write("\n".join(made) if made else "nothing was missing")
