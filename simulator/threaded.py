"""A fleet in a thread of its own, for checks that are not asynchronous themselves."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator

from simulator.fleet import Fleet, FleetSettings


@contextlib.contextmanager
def running_fleet(settings: FleetSettings) -> Iterator[Fleet]:
    """The fleet runs until the block ends. Read `fleet.meters` freely; changes belong to its loop."""
    started: list[Fleet | BaseException] = []
    ready, stop_wanted = threading.Event(), asyncio.Event()
    loops: list[asyncio.AbstractEventLoop] = []

    async def run() -> None:
        loops.append(asyncio.get_running_loop())
        async with Fleet(settings) as fleet:
            started.append(fleet)
            ready.set()
            await stop_wanted.wait()

    def main() -> None:
        try:
            asyncio.run(run())
        except BaseException as error:  # handed to the caller below
            started.append(error)
        finally:
            ready.set()

    thread = threading.Thread(target=main, name="simulator", daemon=True)
    thread.start()
    ready.wait()
    fleet = started[0]
    if isinstance(fleet, BaseException):
        thread.join()
        raise fleet
    try:
        yield fleet
    finally:
        with contextlib.suppress(RuntimeError):
            loops[0].call_soon_threadsafe(stop_wanted.set)
        thread.join()
