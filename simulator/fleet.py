"""A fleet of simulated meters in one event loop: makes the meters, keeps their connections, counts.

Each meter dials one of the gateway's ports, the next one each time its link is cut, with backoff and jitter.
With `listen_port` the first meter waits for a client instead (for tests with independent clients).
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from simulator import truth_http
from simulator.faults import Fault, share_out
from simulator.identity import MeterIdentity, derive_identity
from simulator.link import MeterLink
from simulator.meter import Meter, MeterSettings

CONCURRENT_DIALS = 64
BACKOFF_FIRST_S = 0.5
#: A link that lived this long starts the backoff anew.
SETTLED_S = 5.0


@dataclass(frozen=True, slots=True)
class FleetSettings:
    seed: str = field(repr=False)
    meters: int = 1
    first: int = 1
    host: str = "127.0.0.1"
    ports: tuple[int, ...] = ()
    listen_port: int | None = None
    truth_port: int | None = None
    heartbeat_s: float = 60.0
    backoff_max_s: float = 10.0
    faults: tuple[tuple[Fault, int], ...] = ()
    stop_after: int = 4
    late_s: float = 30.0
    meter: MeterSettings = field(default_factory=MeterSettings)

    @property
    def numbers(self) -> range:
        return range(self.first, self.first + self.meters)

    def identities(self) -> Iterator[MeterIdentity]:
        """The meters as the shipment file names them."""
        return (derive_identity(self.seed, number) for number in self.numbers)


class Fleet:
    """`async with Fleet(settings) as fleet:` runs it; `fleet.meters` by serial."""

    def __init__(self, settings: FleetSettings) -> None:
        shares = share_out(settings.numbers, settings.faults)
        self.settings = settings
        self.meters = {
            identity.serial: Meter(settings.seed, identity, settings.meter, shares.get(identity.number))
            for identity in settings.identities()
        }
        self.links: set[MeterLink] = set()
        self.ports: dict[str, int] = {}
        self._counts: Counter[str] = Counter()
        self._tasks: list[asyncio.Task[None]] = []
        self._servers: list[asyncio.Server] = []
        self._dials = asyncio.Semaphore(CONCURRENT_DIALS)

    def count(self, what: str) -> None:
        self._counts[what] += 1

    def counts(self) -> dict[str, Any]:
        return {"meters": len(self.meters), "connected": len(self.links), **self._counts}

    async def __aenter__(self) -> Self:
        settings = self.settings
        loop = asyncio.get_running_loop()
        if settings.truth_port is not None:
            self._keep(await truth_http.serve(self, settings.truth_port), "truth")
        if settings.listen_port is not None:
            meter = next(iter(self.meters.values()))
            server = await loop.create_server(
                lambda: MeterLink(self, meter), settings.host, settings.listen_port
            )
            self._keep(server, "listen")
        elif settings.ports:
            self._tasks = [
                loop.create_task(self._keep_connected(meter, index))
                for index, meter in enumerate(self.meters.values())
            ]
        return self

    def _keep(self, server: asyncio.Server, name: str) -> None:
        self._servers.append(server)
        self.ports[name] = server.sockets[0].getsockname()[1]

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for server in self._servers:
            server.close()
        for link in tuple(self.links):
            link.close()
        await asyncio.sleep(0)

    async def wait_connected(self, count: int | None = None) -> None:
        """Until so many meters (all of them by default) have a connection."""
        wanted = len(self.meters) if count is None else count
        while len(self.links) < wanted:  # noqa: ASYNC110 - a test's wait, many small events
            await asyncio.sleep(0.02)

    async def _keep_connected(self, meter: Meter, index: int) -> None:
        jitter = random.Random(meter.number)
        failures = 0
        for attempt in _forever():
            port = self.settings.ports[(index + attempt) % len(self.settings.ports)]
            lived_s = await self._dial(meter, port)
            failures = 1 if lived_s >= SETTLED_S else failures + 1
            backoff_s = min(self.settings.backoff_max_s, BACKOFF_FIRST_S * 2 ** min(failures - 1, 16))
            self.count("redials")
            await asyncio.sleep(backoff_s * jitter.uniform(0.5, 1.0))

    async def _dial(self, meter: Meter, port: int) -> float:
        """Connect and stay until the link is cut; the seconds it lived."""
        loop = asyncio.get_running_loop()
        closed: asyncio.Future[None] = loop.create_future()
        try:
            async with self._dials:
                await loop.create_connection(lambda: MeterLink(self, meter, closed), self.settings.host, port)
        except OSError:
            self.count("dials_failed")
            return 0.0
        began = loop.time()
        await closed
        return loop.time() - began


def _forever() -> Iterator[int]:
    attempt = 0
    while True:
        yield attempt
        attempt += 1


@contextlib.asynccontextmanager
async def connected_fleet(settings: FleetSettings, timeout_s: float = 30.0) -> AsyncIterator[Fleet]:
    """A running fleet of which every meter has its connection."""
    async with Fleet(settings) as fleet:
        async with asyncio.timeout(timeout_s):
            await fleet.wait_connected()
        yield fleet
