"""The database side of a worker process: a small group of threads, and calls gathered into batches.

psycopg2 blocks, so the event loop never touches the database. Thousands of dialogs share a few connections;
no connection is held while a meter is waited for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, ParamSpec, TypeVar

import structlog
from django.db import InterfaceError, OperationalError, close_old_connections, connection

log = structlog.get_logger()

P = ParamSpec("P")
T = TypeVar("T")
Item = TypeVar("Item")
Answer = TypeVar("Answer")

THREADS = 4
#: Waits between tries where the server is away; a dialog's own deadline ends the waiting of its owner.
RETRY_WAITS_S = (0.2, 1.0, 3.0, 5.0, 5.0, 5.0)


class Database:
    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="database")

    async def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `function` in a database thread, again when the server was away. It must be safe to repeat."""
        loop = asyncio.get_running_loop()
        for wait_s in (*RETRY_WAITS_S, None):
            try:
                return await loop.run_in_executor(
                    self._threads, lambda: _with_connection(function, *args, **kwargs)
                )
            except (OperationalError, InterfaceError) as error:
                log.warning("database_away", error=str(error).strip(), function=function.__name__)
                if wait_s is None:
                    raise
                await asyncio.sleep(wait_s)
        raise AssertionError("unreachable")

    def close(self) -> None:
        for _ in range(THREADS):
            self._threads.submit(connection.close)
        self._threads.shutdown()


def _with_connection(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    close_old_connections()
    try:
        return function(*args, **kwargs)
    except (OperationalError, InterfaceError):
        connection.close()
        raise
    finally:
        close_old_connections()


class Gathered(Generic[Item, Answer]):
    """Many callers, one call: items asked for within `linger_s` go to `function` as one list.

    `function` answers a list as long as its argument, in its order; an answer that is an exception is raised
    to the caller of that item alone.
    """

    def __init__(
        self,
        database: Database,
        function: Callable[[list[Item]], list[Answer]],
        *,
        linger_s: float = 0.01,
        max_batch: int = 500,
    ) -> None:
        self._database = database
        self._function = function
        self._linger_s = linger_s
        self._max_batch = max_batch
        self._waiting: list[tuple[Item, asyncio.Future[Answer]]] = []
        self._task: asyncio.Task[None] | None = None

    async def __call__(self, item: Item) -> Answer:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Answer] = loop.create_future()
        self._waiting.append((item, future))
        if self._task is None or self._task.done():
            self._task = loop.create_task(self._flush())
        return await future

    async def _flush(self) -> None:
        while self._waiting:
            await asyncio.sleep(self._linger_s)
            batch, self._waiting = self._waiting[: self._max_batch], self._waiting[self._max_batch :]
            try:
                answers = await self._database.call(self._function, [item for item, _ in batch])
            except Exception as error:
                for _, future in batch:
                    if not future.done():
                        future.set_exception(error)
                continue
            for (_, future), answer in zip(batch, answers, strict=True):
                if future.done():
                    continue
                if isinstance(answer, Exception):
                    future.set_exception(answer)
                else:
                    future.set_result(answer)
