"""The runner: one event loop thread a process that holds all dialogs, started when the first task needs it.

Owns the loop thread, the bus, the leases, the database threads and the gathered calls. A Celery task hands
it a coroutine and waits for the outcome; it must never be started at import, nor before a fork.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

import structlog
import uvloop
from django.conf import settings

from hes import redis as hes_redis
from meters import claims, counters
from workers import contexts, errors, plans
from workers.bus import Bus
from workers.contexts import CounterRequest, MeterContext
from workers.database import Database, Gathered
from workers.leases import Leases
from workers.pipe import Pipe

log = structlog.get_logger()

T = TypeVar("T")

START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 5.0


class Runner:
    """Made by `get()`; everything but `submit` and `drain` belongs to its loop thread."""

    def __init__(self) -> None:
        self._ready = threading.Event()
        self.loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
        self.database = Database()
        self.draining = False
        self._stop_wanted = asyncio.Event()
        self.load_context: Gathered[int, MeterContext] = Gathered(self.database, contexts.load_many)  # type: ignore[arg-type]
        self._reserve: Gathered[CounterRequest, contexts.Reserved] = Gathered(self.database, contexts.reserve)  # type: ignore[arg-type]
        #: (key id, system title, counter): kept before the lease is given back, so that no later dialog
        #: takes a replay
        self.keep_received: Gathered[tuple[str, str, int], bool] = Gathered(self.database, _keep_received)
        self.known_profile: Gathered[tuple[MeterContext, bytes], plans.KnownProfile | None] = Gathered(
            self.database, plans.known_profiles
        )
        self.note_clock: Gathered[tuple[int, float], bool] = Gathered(self.database, plans.note_clocks)
        #: type register -> (scaler, unit), as first told by a meter of the type
        self.scalers: dict[int, tuple[int, int]] = {}
        self.settle: Gathered[claims.Outcome, bool] = Gathered(self.database, _settle, linger_s=0.05)
        self.bus: Bus
        self.leases: Leases
        self.cache: Pipe
        self._thread = threading.Thread(target=self._run, name="runner", daemon=True)
        self._thread.start()
        if not self._ready.wait(START_TIMEOUT_S):
            raise errors.InternalError("the runner's event loop did not start")

    def submit(self, coroutine: Coroutine[Any, Any, T]) -> Future[T]:
        """Hand a coroutine to the loop; from any thread."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop)

    def drain(self) -> None:
        """Claim nothing more; dialogs that run go on to their end or deadline."""
        self.draining = True

    def stop(self) -> None:
        """End the loop and the database threads; nothing can be submitted after that."""
        self.loop.call_soon_threadsafe(self._stop_wanted.set)
        self._thread.join(STOP_TIMEOUT_S)
        self.database.close()

    async def reserve(self, context: MeterContext) -> contexts.Reserved:
        return await self._reserve(CounterRequest(context))

    async def raise_counter(self, context: MeterContext, value: int, cause: str) -> bool:
        """Lift the meter's counter to a hint; False where the hint is refused."""
        title = settings.HES_SYSTEM_TITLE.hex()
        lifted = await self.database.call(counters.raise_to, title, context.key_id, value, cause)
        log.info("counter_hint", meter=context.serial, value=value, cause=cause, taken=lifted)
        return lifted

    async def learn_title(self, context: MeterContext, system_title: str) -> None:
        """Note the title that a ciphered dialog proved: from now on another one, or a replay, is refused."""
        try:
            learnt = await self.database.call(contexts.keep_system_title, context.meter_id, system_title)
        except Exception as error:
            log.warning("system_title_not_kept", meter=context.serial, error=str(error).strip())
            return
        log.info("system_title_learnt", meter=context.serial, system_title=system_title, kept=learnt)

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        try:
            self.loop.run_until_complete(self._main())
        except BaseException:
            # Tasks would wait for ever on a loop that is gone: end the process, its manager starts another.
            log.critical("runner_died", exc_info=True)
            os._exit(70)

    async def _main(self) -> None:
        self.bus = Bus(hes_redis.async_bus())
        self.cache = Pipe(hes_redis.async_cache())
        self.leases = Leases(self.bus.pipe, self.bus.incarnation, settings.HES_LEASE_S)
        log.info("runner_started", incarnation=self.bus.incarnation)
        self._ready.set()
        async with asyncio.TaskGroup() as group:
            running = [group.create_task(self.bus.run()), group.create_task(self.leases.run())]
            await self._stop_wanted.wait()
            for task in running:
                task.cancel()


def _keep_received(received: list[tuple[str, str, int]]) -> list[bool]:
    highest: dict[tuple[str, str], int] = {}
    for key_id, title, counter in received:
        highest[key_id, title] = max(counter, highest.get((key_id, title), -1))
    counters.note_received(highest)
    return [True] * len(received)


def _settle(outcomes: list[claims.Outcome]) -> list[bool]:
    held = claims.settle(outcomes)
    return [outcome.token in held for outcome in outcomes]


_lock = threading.Lock()
_runner: Runner | None = None


def get() -> Runner:
    """The process's runner, started by the first call."""
    global _runner
    with _lock:
        if _runner is None:
            _runner = Runner()
        return _runner


def started() -> Runner | None:
    """The runner where one was started."""
    return _runner
