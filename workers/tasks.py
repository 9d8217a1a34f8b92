"""The Celery tasks: thin doors to the runner. Arguments are ids, names are `hes.tasknames`.

Tasks acknowledge early: reads recover by claim expiry, commands by the sweep over their rows. Celery's own
time limits do not act on threads; every deadline is the runner's.
"""

from __future__ import annotations

import random
import time
import uuid
from typing import Any

import django
import structlog
from celery import shared_task
from celery.signals import worker_process_shutdown, worker_shutdown, worker_shutting_down

django.setup()

from django.db import InterfaceError, OperationalError, close_old_connections  # noqa: E402

from hes import tasknames  # noqa: E402
from meters import claims, services  # noqa: E402
from meters.models import ReadingPlan  # noqa: E402
from readings import partitions  # noqa: E402
from workers import command_rows, commands, runner  # noqa: E402
from workers.reads import Collector  # noqa: E402

log = structlog.get_logger()

#: Beyond a dialog's own deadline: waiting for the lease's release and the last statement.
SETTLE_S = 30.0
TICK_WAITS_S = (0.2, 1.0, 5.0, 10.0, 10.0)

_collectors: dict[int, Collector] = {}


@shared_task(name=tasknames.READS_MAKE_DUE)
def make_due(plan_id: int) -> None:
    """A plan's tick: its reads are due."""
    close_old_connections()
    plan = ReadingPlan.objects.filter(pk=plan_id).first()
    if plan is None:
        log.warning("plan_unknown", plan_id=plan_id)
        return
    if not plan.enabled:
        return
    log.info("plan_due", plan=plan.name, rows=_made_due(plan))


def _made_due(plan: ReadingPlan) -> int:
    """A tick comes once: a server that is away for a moment, or a deadlock, must not cost it."""
    for wait_s in TICK_WAITS_S:
        try:
            return claims.make_due(plan)
        except (OperationalError, InterfaceError) as error:
            log.warning("plan_not_due_yet", plan=plan.name, error=str(error).strip())
        close_old_connections()
        time.sleep(wait_s * random.uniform(0.7, 1.3))
    return claims.make_due(plan)


@shared_task(name=tasknames.READS_COLLECT)
def collect() -> None:
    """Read what is due, until nothing is. At most one runs in a process; others return at once."""
    active = runner.get()
    if active.draining:
        return
    collector = _collectors.setdefault(id(active), Collector(active))
    tried = active.submit(collector.collect()).result()
    if tried:
        log.info("reads_collected", meters=tried)


@shared_task(name=tasknames.COMMANDS_RUN)
def run_command(command_id: str) -> None:
    """Carry one command; the row says how it ended."""
    state = runner.get().submit(commands.run(runner.get(), uuid.UUID(command_id))).result()
    log.info("command_ended", command=command_id, state=state)


@shared_task(name=tasknames.COMMANDS_SWEEP)
def sweep_commands() -> None:
    """End what was left behind, hand out again what nobody waits for."""
    close_old_connections()
    services.send(command_rows.sweep())


@shared_task(name=tasknames.READINGS_MAINTAIN)
def maintain_partitions() -> None:
    """Make the coming partitions, drop those past retention."""
    close_old_connections()
    partitions.maintain()


@worker_shutting_down.connect
def _drain(**_: Any) -> None:
    active = runner.started()
    if active is not None:
        active.drain()


@worker_shutdown.connect
@worker_process_shutdown.connect
def _close(**_: Any) -> None:
    active = runner.started()
    if active is not None:
        active.stop()
