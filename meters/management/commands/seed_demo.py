"""manage.py seed_demo: what the simulated fleet needs, and a user `operator` (HES_OPERATOR_PASSWORD)."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from hes.env import env_str
from meters.seed import seed_demo


class Command(BaseCommand):
    help = "Make the meter type, reading plans and operator of the demonstration, where they are missing."

    def handle(self, *args: Any, **options: Any) -> None:
        made = seed_demo(env_str("HES_OPERATOR_PASSWORD", "") or None)
        self.stdout.write("\n".join(made) if made else "nothing was missing")
