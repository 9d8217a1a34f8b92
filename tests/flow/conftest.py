"""Dialogs through real parts: a gateway process, a simulated fleet, the runner of this process.

Celery and beat are left out here: what they would send, the tests call. tests/flow/test_stack.py runs
everything.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import redis

from meters import importer, presence
from meters import seed as meters_seed
from meters.models import Command, Link, Meter
from meters.services import order_command
from simulator.fleet import Fleet, FleetSettings
from simulator.shipment import write_shipment
from simulator.threaded import running_fleet
from tests.conftest import GatewayNode
from workers import commands, runner

SEED = "flow"
PRESENT_TIMEOUT_S = 15.0


@pytest.fixture
def active_runner(
    transactional_db: None, live_redis: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> runner.Runner:
    """The runner of this process. It lives as long as the process, as in a worker; tests share it."""
    monkeypatch.setattr("meters.services.send", lambda ids: None)
    # most of these tests run no ingest
    monkeypatch.setattr("workers.commands.STORE_WAIT_S", 0.1)
    return runner.get()


@pytest.fixture
def start_fleet(
    active_runner: runner.Runner, live_redis: redis.Redis, gateway_node: GatewayNode, tmp_path: Path
) -> Iterator[Callable[..., Fleet]]:
    """start_fleet(meters, **settings) -> Fleet: imported, dialled in, present."""
    with ExitStack() as exits:

        def start(meters: int = 1, *, ports: tuple[int, ...] = (), **settings: object) -> Fleet:
            chosen = FleetSettings(seed=SEED, meters=meters, ports=ports or (gateway_node.port,), **settings)  # type: ignore[arg-type]
            meters_seed.seed_demo(None)
            path = tmp_path / "shipment.csv"
            write_shipment(path, chosen.identities(), meter_type=meters_seed.DEMO_TYPE)
            with path.open(newline="") as file:
                report = importer.import_meters(file, source="test")
            assert report.bad == []
            fleet = exits.enter_context(running_fleet(chosen))
            wait_until_present(live_redis, meters)
            return fleet

        yield start


def wait_until_present(client: redis.Redis, count: int) -> None:
    deadline = time.monotonic() + PRESENT_TIMEOUT_S
    while Link.objects.filter(state=Link.State.PRESENT).count() < count:
        assert time.monotonic() < deadline, f"{Link.objects.count()} links of {count}"
        presence.project_once(client, block_ms=200)


@pytest.fixture
def carry(active_runner: runner.Runner) -> Callable[..., Command]:
    """carry(serial, kind, parameters, not_after=) -> the command's row after its end."""

    def run(serial: str, kind: str, parameters: dict[str, object] | None = None, **more: object) -> Command:
        meter = Meter.objects.get(serial=serial)
        command, _ = order_command(
            meter=meter, kind=kind, parameters=parameters or {}, user=None, reason="test", **more
        )  # type: ignore[arg-type]
        active_runner.submit(commands.run(active_runner, command.pk)).result(60)
        command.refresh_from_db()
        return command

    return run
