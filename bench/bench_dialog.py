"""A whole ciphered dialog: CPU of the client's thread, ours against gurux-dlms' Python client."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

from bench import day, gurux_client, gurux_meter, own_client
from bench.figures import Figure, in_turn, times_less
from bench.meters import listening
from bench.registry import BenchError, register
from bench.wire import Wire
from simulator.identity import derive_identity

SEED, NUMBER = "bench", 1
CLIENT_TITLE = b"HES\x00\x00\x00\x00\x01"
#: Dialogs in one run: the run's figure is their mean.
OWN_DIALOGS, GURUX_DIALOGS = 40, 4
OWN_DIALOGS_SLOW_SERVER = 8
RUNS, RUNS_SLOW_SERVER = 9, 5
CLOCK_TOLERANCE = timedelta(minutes=15)
WORK = (
    "associate (HLS-GMAC, authenticated encryption), clock, 5 registers, 96 rows x (time, status, 8), release"
)


class Sides:
    """The two clients against one meter; its counter rises over both."""

    def __init__(self, port: int, guek: bytes, gak: bytes, *, counter_restarts: bool = False) -> None:
        self._port = port
        self._guek, self._gak = guek, gak
        self._counter = 1
        self._received: int | None = None
        self._counter_restarts = counter_restarts
        self._layout = day.layout()
        self._objects = gurux_client.Objects()
        self._settings = own_client.settings(CLIENT_TITLE, guek, gak)
        self.first, self.last = day.yesterday()
        self.round_trips: dict[str, int] = {}

    def _next_counter(self) -> int:
        self._counter += day.COUNTERS
        return self._counter

    def own(self, wire: Wire) -> tuple[float, day.Answer]:
        """CPU seconds of one dialog, and what it gave."""
        counter = self._next_counter()
        began = time.thread_time()
        connection = own_client.connect(self._settings, counter, self._received)
        found = own_client.whole(wire, connection, self._layout, self.first, self.last)
        took = time.thread_time() - began
        self._received = None if self._counter_restarts else connection.received_counter
        return took, own_client.answer_of(*found)

    def gurux(self, wire: Wire) -> tuple[float, day.Answer]:
        counter = self._next_counter()
        began = time.thread_time()
        dialog = gurux_client.Dialog(wire, CLIENT_TITLE, self._guek, self._gak, counter)
        with gurux_client.silenced():
            found = dialog.whole(self._objects, self.first, self.last)
        took = time.thread_time() - began
        self._received = None
        return took, gurux_client.answer_of(*found)

    def compare(self) -> None:
        """Both must give the same day; BenchError."""
        answers = {}
        for name, side in (("ours", self.own), ("gurux", self.gurux)):
            with Wire(self._port) as wire:
                _, answers[name] = side(wire)
                self.round_trips[name] = wire.frames
        ours, theirs = answers["ours"], answers["gurux"]
        if len(ours.stamps_s) != day.ROWS or not ours.same_day(theirs):
            raise BenchError("the two clients do not give the same day")
        now = datetime.now(UTC)
        if max(abs(one.clock - now) for one in (ours, theirs)) > CLOCK_TOLERANCE:
            raise BenchError(f"the clocks differ: {ours.clock}, {theirs.clock}")

    def run_of(self, side: Callable[[Wire], tuple[float, day.Answer]], dialogs: int) -> Callable[[], float]:
        """Milliseconds of CPU per dialog, mean of `dialogs` over one connection."""

        def run() -> float:
            with Wire(self._port) as wire:
                return sum(side(wire)[0] for _ in range(dialogs)) / dialogs * 1000

        return run


def measure(
    name: str, sides: Sides, runs: int, server: str, own_dialogs: int = OWN_DIALOGS
) -> Iterator[Figure]:
    sides.compare()
    ours, theirs = in_turn(
        runs, sides.run_of(sides.own, own_dialogs), sides.run_of(sides.gurux, GURUX_DIALOGS)
    )
    facts = {"work": WORK, "round_trips": sides.round_trips["ours"], "server": server}
    yield Figure(
        name,
        "ms",
        ours,
        times_less(ours, theirs),
        "gurux-dlms 1.0.203 Python client, same server and dialog: its CPU / ours",
        facts,
    )
    yield Figure(f"{name}.gurux", "ms", theirs, facts={**facts, "round_trips": sides.round_trips["gurux"]})


@register("dialog")
def dialog() -> Iterator[Figure]:
    """client CPU of a whole ciphered dialog with a day's profile, against gurux-dlms' client"""
    words = ["--listen", "PORT", "--seed", SEED, "--first", str(NUMBER), "--first-counter", "0"]
    identity = derive_identity(SEED, NUMBER)
    with listening("simulator", words) as port:
        sides = Sides(port, identity.encryption_key, identity.authentication_key)
        yield from measure("dialog.cpu_ms", sides, RUNS, "our simulator")
    with listening("bench.gurux_meter", ["PORT"]) as port:
        sides = Sides(port, gurux_meter.GUEK, gurux_meter.GAK, counter_restarts=True)
        server = "gurux-dlms 1.0.203 Python server"
        runs, dialogs = RUNS_SLOW_SERVER, OWN_DIALOGS_SLOW_SERVER
        yield from measure("dialog.cpu_ms.gurux_server", sides, runs, server, dialogs)
