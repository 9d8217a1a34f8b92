"""The whole path on this machine: due rows, beat, worker, Redis, gateway, meters, back, ingest, PostgreSQL.

Every part is a real process, the simulated fleet one more.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from bench import day
from bench.figures import Figure
from bench.processes import spent_s
from bench.registry import BenchError, register
from bench.system import System, running
from simulator import truth

METERS, METERS_LONG = 500, 2000
RUNS = 5
PERIOD_S = 900
#: A run must not lie across the end of a capture period: it would meet one more row.
MARGIN_S = 40
WARM_UP_TIMEOUT_S = 400.0
RUN_TIMEOUT_S = 120.0
IDLE_S = 5.0
#: Not of the head-end.
FOREIGN = "simulator"
STREAM = "rd:in"
WORK = (
    "one dialog a meter: HLS-GMAC and authenticated encryption, 96 rows x (time, status, 8) by range; "
    "counters, layout and scalers known from an earlier read"
)

_UNSETTLED = "SELECT count(*) FROM meters_dueread WHERE next_due_at IS NOT NULL OR claim_token IS NOT NULL"
_STORED = "SELECT count(*) FROM readings_meterprofile WHERE logical_name = %s AND high_water >= %s"
_PROFILE_PLANS = "SELECT id FROM meters_readingplan WHERE kind = 'profile' AND logical_name = %s"


@dataclass(slots=True)
class Run:
    """One day read from every meter."""

    seconds: float
    claimed_after_s: float
    cpu_s: dict[str, float] = field(default_factory=dict)

    @property
    def own_cpu_s(self) -> float:
        return sum(seconds for name, seconds in self.cpu_s.items() if name != FOREIGN)


def warm_up(system: System) -> None:
    """The fleet's first reads, with first contacts and layouts; then no plan's tick comes any more."""
    system.wait("links of all meters", lambda: _present(system) == system.meters, WARM_UP_TIMEOUT_S)
    system.wait("the first reads", lambda: _settled(system) and _stored(system, None), WARM_UP_TIMEOUT_S)
    failed = system.rows("SELECT last_error, count(*) FROM meters_dueread WHERE last_error <> '' GROUP BY 1")
    if failed:
        raise BenchError(f"first reads failed: {failed}")
    system.rows(
        "UPDATE django_celery_beat_periodictask SET enabled = false "
        "WHERE name LIKE 'Plan:%%' OR task LIKE '%%partitions%%'"
    )
    system.rows("UPDATE django_celery_beat_periodictasks SET last_update = now()")
    time.sleep(IDLE_S)  # beat looks for changes each HES_BEAT_MAX_INTERVAL_S


def _present(system: System) -> int:
    return system.number("SELECT count(*) FROM meters_link WHERE state = 'present'")


def _settled(system: System) -> bool:
    return system.number(_UNSETTLED) == 0 and system.stream_length(STREAM) == 0


def _stored(system: System, newest: datetime | None) -> bool:
    mark = newest or datetime(2000, 1, 1, tzinfo=UTC)
    return system.number(_STORED, day.PROFILE, mark) == system.meters


def rewind() -> datetime:
    """The newest row's time that a run is to reach; waits where its end would lie too near."""
    left_s = PERIOD_S - time.time() % PERIOD_S
    if left_s < MARGIN_S:
        time.sleep(left_s + 1)
    return datetime.fromtimestamp(time.time() // PERIOD_S * PERIOD_S, UTC)


def one_run(system: System) -> Run:
    newest = rewind()
    oldest = newest - timedelta(days=1)
    system.rows("TRUNCATE readings_interval")
    system.rows(
        "UPDATE readings_meterprofile SET high_water = %s WHERE logical_name = %s", oldest, day.PROFILE
    )
    time.sleep(1)
    before = system.cpu()
    due_at = system.rows("SELECT clock_timestamp()")[0][0]
    began = time.monotonic()
    system.rows(
        f"UPDATE meters_dueread SET next_due_at = now(), attempts = 0 WHERE plan_id IN ({_PROFILE_PLANS})",
        day.PROFILE,
    )
    ended = system.wait("all rows stored", lambda: _stored(system, newest), RUN_TIMEOUT_S)
    system.wait("all claims settled", lambda: _settled(system), RUN_TIMEOUT_S)
    spent = spent_s(before, system.cpu())
    claimed_at = system.rows(
        "SELECT min(last_tried_at) FROM meters_dueread WHERE last_tried_at >= %s", due_at
    )
    verify(system, oldest)
    return Run(ended - began, (claimed_at[0][0] - due_at).total_seconds(), spent)


def verify(system: System, after: datetime) -> None:
    """Every row of every meter is what the meter holds; BenchError."""
    first_s, last_s = int(after.timestamp()) + PERIOD_S, int(after.timestamp()) + truth.DAY_S
    stamps = truth.interval_ends(first_s, last_s)
    stored: dict[str, list[tuple[int, int, list[int]]]] = {}
    for serial, at, status, values in system.rows(
        """SELECT m.serial, extract(epoch FROM i.captured_at)::bigint, i.status, i."values"
        FROM readings_interval i JOIN meters_meter m ON m.id = i.meter_id ORDER BY 1, 2, i.ordinal"""
    ):
        stored.setdefault(serial, []).append((at, status, values))
    if len(stored) != system.meters:
        raise BenchError(f"rows of {len(stored)} meters, {system.meters} were read")
    for serial, rows in stored.items():
        source = truth.source_of(system.seed, int(serial[3:]))
        held = zip(
            stamps.tolist(),
            source.interval_status(stamps).tolist(),
            source.interval_values(stamps).tolist(),
            strict=True,
        )
        if rows != [(at, status, values) for at, status, values in held]:
            raise BenchError(f"{serial}: {len(rows)} rows stored, and not those that the meter holds")


def idle_ms_per_s(system: System) -> float:
    before, began = system.cpu(), time.monotonic()
    time.sleep(IDLE_S)
    spent = spent_s(before, system.cpu())
    own_s = sum(seconds for name, seconds in spent.items() if name != FOREIGN)
    return own_s / (time.monotonic() - began) * 1000


def measure(name: str, system: System, runs: int) -> Iterator[Figure]:
    warm_up(system)
    idle = idle_ms_per_s(system)
    one_run(system)  # processes have met everything once
    done = [one_run(system) for _ in range(runs)]
    meters = system.meters
    scale = {kind: len(system.stack.supervisor.of_kind(kind)) for kind in done[0].cpu_s}
    facts = {"meters": meters, "rows_per_meter": day.ROWS, "work": WORK}
    yield Figure(
        f"{name}.meters_per_s",
        "1/s",
        [meters / run.seconds for run in done],
        facts={
            **facts,
            "claimed_after_s": [round(run.claimed_after_s, 2) for run in done],
            "processes": {kind: count for kind, count in scale.items() if count},
        },
    )
    yield Figure(
        f"{name}.cpu_ms_per_meter",
        "ms",
        [run.own_cpu_s / meters * 1000 for run in done],
        facts={**facts, "without": FOREIGN, "idle_cpu_ms_per_s": round(idle, 1)},
    )
    for kind in sorted(done[0].cpu_s, key=lambda kind: -done[0].cpu_s[kind]):
        yield Figure(f"{name}.cpu_ms.{kind}", "ms", [run.cpu_s[kind] / meters * 1000 for run in done])
    for kind, megabytes in sorted(system.memory().items(), key=lambda pair: -pair[1]):
        yield Figure(f"{name}.memory_mb.{kind}", "MB", [megabytes])


@register("path")
def path() -> Iterator[Figure]:
    """the whole path with 500 meters: meters per second, CPU per meter and per kind of process"""
    with running(METERS, HES_FIRST_READ_DAYS="1") as system:
        yield from measure("path", system, RUNS)


@register("path-2000", is_long=True)
def path_long() -> Iterator[Figure]:
    """as path, with 2,000 meters: more dialogs than one worker process holds at once"""
    with running(METERS_LONG, HES_FIRST_READ_DAYS="1") as system:
        yield from measure("path-2000", system, 3)
