"""Processes that are killed or stopped while the fleet is read: the day still completes, each row once."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg2
import pytest

from hes.demo import serials
from hes.proof import Day, DayProof
from hes.reaper import ROOT
from hes.stack import Stack, StackSettings

METERS = 60
#: few dialogs at a time, so that the reading lasts long enough to be killed in its middle
ENV = {"HES_CLAIM_S": "10", "HES_LEASE_S": "5", "HES_INGEST_CLAIM_S": "5", "HES_MAX_DIALOGS": "3"}
COMPLETE_WITHIN_S = 60.0


@pytest.fixture
def stack(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stack]:
    """Everything twice, on servers of its own; the supervisor starts again what ends."""
    for name in ("DATABASE_URL", "REDIS_URL"):
        monkeypatch.delenv(name)
    folder = Path(tempfile.mkdtemp(prefix="kill-", dir=ROOT / "var"))
    scale = {"gateway": 2, "worker-reads": 2, "ingest": 2}
    try:
        with Stack(StackSettings(folder, METERS, scale=scale, env=ENV)) as running:
            yield running
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def query(stack: Stack, statement: str) -> int:
    with psycopg2.connect(stack.env["DATABASE_URL"]) as connection, connection.cursor() as cursor:
        cursor.execute(statement)
        (number,) = cursor.fetchone() or (0,)
        return int(number)


def stored_meters(stack: Stack) -> int:
    return query(stack, "SELECT count(*) FROM readings_meterprofile WHERE high_water IS NOT NULL")


def wait_until(stack: Stack, condition: Callable[[], bool], timeout_s: float = 60.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "the reading did not get going"
        stack.supervisor.restart_ended()
        time.sleep(0.05)


def prove_day(stack: Stack) -> None:
    proof = DayProof(stack.web_url, stack.api_token(), stack.truth_url, Day.last_full())
    try:
        outcome = proof.wait(serials(METERS), COMPLETE_WITHIN_S, lambda done: restart(stack))
    finally:
        proof.close()
    missing = [one for one in outcome.comparisons if not one.proved]
    assert not missing, f"{len(missing)} meters after {outcome.seconds:.0f} s: {missing[:3]}"
    times = "SELECT 1 FROM readings_interval GROUP BY meter_id, captured_at HAVING count(*) > 1"
    assert query(stack, f"SELECT count(*) FROM ({times}) doubled") == 0
    assert query(stack, "SELECT count(*) FROM readings_interval_revision") == 0
    assert query(stack, "SELECT count(*) FROM readings_rejectedrow") == 0


def restart(stack: Stack) -> None:
    stack.supervisor.restart_ended()


def test_killed_worker_gateway_and_ingest_the_day_completes_once(stack: Stack) -> None:
    wait_until(stack, lambda: 3 <= stored_meters(stack) < METERS // 2)
    for kind in ("worker-reads", "gateway", "ingest"):
        before = stored_meters(stack)
        victim = stack.supervisor.of_kind(kind)[0]
        os.kill(victim.pid, signal.SIGKILL)
        assert before < METERS, f"nothing was left to read when {kind} was killed"
        time.sleep(0.3)
    prove_day(stack)


def test_worker_stopped_for_longer_than_its_lease_changes_nothing(stack: Stack) -> None:
    wait_until(stack, lambda: 3 <= stored_meters(stack) < METERS // 2)
    victim = stack.supervisor.of_kind("worker-reads")[0]
    os.kill(victim.pid, signal.SIGSTOP)
    try:
        time.sleep(12)
    finally:
        os.kill(victim.pid, signal.SIGCONT)
    prove_day(stack)
