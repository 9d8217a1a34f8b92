"""manage.py ingest: store readings and events from the stream, and project the meters' links, until SIGTERM.

Any number of these may run. This is where the apps meet: `readings` stores profiles and registers, `events`
its logs, `meters` keeps the links.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
import uuid
from typing import Any

import structlog
from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser
from django.db import connection

from events import storing
from hes.redis import bus, cache
from meters import presence
from readings.ingest import Ingest

log = structlog.get_logger(__name__)

PRESENCE_RESTART_S = 5.0
PRESENCE_JOIN_S = 10.0


class Command(BaseCommand):
    help = "Store what waits in the stream of readings; SIGTERM ends it after the batch in hand."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--no-presence", action="store_true", help="do not project the meters' links")

    def handle(self, *args: Any, **options: Any) -> None:
        consumer = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        ingest = Ingest(
            bus=bus(),
            cache=cache(),
            connection=connection,
            store_events=storing.store,
            consumer=consumer,
            batch=settings.HES_INGEST_BATCH,
            claim_s=settings.HES_INGEST_CLAIM_S,
            latest_ttl_s=settings.HES_LATEST_TTL_S,
        )
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: ingest.stop.set())
        projector = None
        if not options["no_presence"]:
            projector = threading.Thread(target=_project, args=(ingest.stop,), name="presence", daemon=True)
            projector.start()
        log.info("ingest_started", consumer=consumer)
        ingest.run()
        if projector is not None:
            projector.join(PRESENCE_JOIN_S)
        log.info("ingest_stopped", consumer=consumer)


def _project(stop: threading.Event) -> None:
    """The projector has its own waits for servers that are away; what it did not expect must not end it."""
    while not stop.is_set():
        try:
            presence.run(stop)
        except Exception:
            log.exception("presence_failed")
            stop.wait(PRESENCE_RESTART_S)
