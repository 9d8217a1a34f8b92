"""Scheduled reads: claim what is due up to the free capacity, one dialog a meter, refill as dialogs end.

Recovery is by claim expiry alone: a worker that dies leaves claims that run out. A retry is `next_due_at`
moved.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import random
import uuid
from dataclasses import dataclass

import structlog
from django.conf import settings
from django.db import DatabaseError, InterfaceError

from dlms.errors import DlmsError
from meters import claims
from meters.claims import Claim, Outcome
from meters.models import ReadingPlan
from meters.models.type import Purpose
from readings import backlog
from workers import errors, plans, reading
from workers.contexts import MeterContext
from workers.plans import Item
from workers.runner import Runner
from workers.session import Session, open_session

log = structlog.get_logger()

#: How long a collector with nothing due looks on before it ends (the next tick starts it again).
IDLE_ENDS_S = 1.0
POLL_S = 0.25
AWAY_PAUSE_S = 1.0
#: At most this many meters a claim: one statement stays short.
CLAIM_BATCH = 500
ATTEMPTS_MAX = 6
BACKOFF_S = (5.0, 15.0, 60.0, 180.0, 300.0)
#: Soon again: somebody else holds the meter, or its link is about to come back.
SOON = {
    "METER_BUSY": 3.0,
    "LEASE_LOST": 5.0,
    "LINK_QUARANTINED": 5.0,
    "GATEWAY_LOST": 1.0,
    "GATEWAY_DRAINING": 1.0,
    "BUS_AWAY": 3.0,
    # The table still has the link that Redis has not. The meter's next link makes it due at once.
    "METER_OFFLINE": 5.0,
}
#: These say nothing about the meter: they do not count as attempts.
NOT_THE_METERS = {
    "METER_BUSY",
    "LEASE_LOST",
    "GATEWAY_LOST",
    "GATEWAY_DRAINING",
    "METER_OFFLINE",
    "BUS_AWAY",
}


@dataclass(slots=True)
class Job:
    """All that was claimed for one meter."""

    context: MeterContext
    items: list[tuple[Claim, Item]]


class Collector:
    """The reads of one worker process; at most one runs at a time, however many ticks arrive."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._running: set[asyncio.Task[None]] = set()
        self._tokens: set[uuid.UUID] = set()
        self._none_running = asyncio.Event()
        self._active = False

    async def collect(self) -> int:
        """Carry dialogs until nothing is due; returns how many meters were tried."""
        if self._active:
            return 0
        self._active = True
        try:
            async with asyncio.TaskGroup() as group:
                renewing = group.create_task(self._renew())
                tried = await self._fill(group)
                renewing.cancel()
            return tried
        finally:
            self._active = False

    async def _fill(self, group: asyncio.TaskGroup) -> int:
        tried = 0
        idle_s = 0.0
        while True:
            try:
                started = await self._start_due(group)
            except (errors.BusAway, DatabaseError, InterfaceError) as error:
                # Dialogs that run go on; nothing new is claimed meanwhile.
                log.warning("claiming_interrupted", error=str(error).strip())
                started = 0
                await asyncio.sleep(AWAY_PAUSE_S)
            tried += started
            if started:
                idle_s = 0.0
                continue
            if self._running:
                # Not at each dialog's end: a claim is a statement, and it fills many places at once.
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(POLL_S):
                        await self._none_running.wait()
                continue
            idle_s += POLL_S
            if self._runner.draining or idle_s >= IDLE_ENDS_S:
                return tried
            await asyncio.sleep(POLL_S)

    async def _start_due(self, group: asyncio.TaskGroup) -> int:
        free = min(settings.HES_MAX_DIALOGS - len(self._running), CLAIM_BATCH)
        # Claiming for a few free places at a time would be a statement a dialog.
        if free <= 0 or (self._running and free < settings.HES_MAX_DIALOGS // 10):
            return 0
        if self._runner.draining or await self._backlog_is_full():
            return 0
        database = self._runner.database
        claimed = await database.call(claims.claim_due, free, settings.HES_CLAIM_S)
        if not claimed:
            return 0
        self._tokens.update(claim.token for claim in claimed)
        try:
            jobs = await database.call(load_jobs, claimed)
        except Exception as error:
            log.exception("claims_not_loaded", claims=len(claimed))
            await asyncio.gather(*(self._settle(claim, _as_dlms(error)) for claim in claimed))
            return 0
        for job in jobs:
            task = group.create_task(self._read(job))
            self._running.add(task)
            self._none_running.clear()
            task.add_done_callback(self._ended)
        return len(jobs)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if not self._running:
            self._none_running.set()

    async def _backlog_is_full(self) -> bool:
        used = await backlog.backlog_bytes_async(self._runner.bus.pipe.execute)
        if used < settings.HES_BACKLOG_BYTES:
            return False
        log.warning("backlog_full", bytes=used, bound=settings.HES_BACKLOG_BYTES)
        return True

    async def _read(self, job: Job) -> None:
        left = list(job.items)
        try:
            async with open_session(
                self._runner, job.context, settings.HES_DIALOG_DEADLINE_S, "read"
            ) as session:
                await session.associate(Purpose.READ)
                while left:
                    claim, item = left[0]
                    try:
                        await _read_item(session, claim, item)
                    except DlmsError as error:
                        if error.cause_class != "service":
                            raise
                        await self._settle(claim, error)
                    else:
                        await self._settle(claim, None)
                    left.pop(0)
        except asyncio.CancelledError:
            raise
        except Exception as error:
            await asyncio.gather(*(self._settle(claim, _as_dlms(error)) for claim, _ in left))
        finally:
            # A claim that was not settled must run out, not be renewed.
            self._tokens.difference_update(claim.token for claim, _ in job.items)

    async def _settle(self, claim: Claim, error: DlmsError | None) -> None:
        outcome = Outcome(claim.due_id, claim.meter_id, claim.token)
        if error is not None:
            outcome = Outcome(
                claim.due_id,
                claim.meter_id,
                claim.token,
                error_code=error.code,
                error_detail=error.detail,
                retry_in_s=retry_in_s(error, claim.attempts),
                counts_as_attempt=error.code not in NOT_THE_METERS,
            )
        try:
            await self._runner.settle(outcome)
        except Exception:
            log.exception("claim_not_settled", due_id=claim.due_id)
        finally:
            self._tokens.discard(claim.token)

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(settings.HES_CLAIM_S / 3)
            try:
                await self._runner.database.call(claims.renew, list(self._tokens), settings.HES_CLAIM_S)
            except Exception as error:
                log.warning("claims_not_renewed", error=str(error).strip())


def retry_in_s(error: DlmsError, attempts: int) -> float | None:
    """Seconds until the next try, or None: not before the plan's next tick."""
    if error.code in SOON:
        return SOON[error.code] * random.uniform(0.7, 1.3)
    if not error.retryable or attempts + 1 >= ATTEMPTS_MAX:
        return None
    return BACKOFF_S[min(attempts, len(BACKOFF_S) - 1)] * random.uniform(0.7, 1.3)


def load_jobs(claimed: list[Claim]) -> list[Job]:
    """Contexts and ranges of claims, in a handful of queries. Runs in a database thread."""
    from workers import contexts

    found = contexts.load({claim.meter_id for claim in claimed})
    items = plans.items_of([(claim.meter_id, claim.plan_id) for claim in claimed], dt.datetime.now(dt.UTC))
    jobs: dict[int, Job] = {}
    for claim, item in zip(claimed, items, strict=True):
        job = jobs.setdefault(claim.meter_id, Job(found[claim.meter_id], []))
        job.items.append((claim, item))
    return list(jobs.values())


async def _read_item(session: Session, claim: Claim, item: Item) -> None:
    match item.kind:
        case ReadingPlan.Kind.PROFILE:
            for start, end in item.chunks():
                await reading.read_profile(session, item.logical_name, start, end, "plan")
                if item.owed and end < item.end:
                    await session.runner.database.call(plans.owe_from, claim.due_id, claim.token, end)
        case ReadingPlan.Kind.EVENTS:
            await reading.read_events(session, item.start, item.end, "plan")
        case ReadingPlan.Kind.REGISTERS:
            _, drift_s, _ = await reading.read_clock(session)
            await session.runner.note_clock((session.context.meter_id, drift_s))
            await reading.read_registers(session, session.context.type.registers, "plan")


def _as_dlms(error: Exception) -> DlmsError:
    return error if isinstance(error, DlmsError) else errors.InternalError(repr(error)[:300])
