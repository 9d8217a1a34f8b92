"""The real ingest process: ended, killed, without its database; every row once in the end."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable
from urllib.parse import urlsplit, urlunsplit

import numpy as np
import pytest
from django.db import connection

from readings.entries import DEAD_STREAM, GROUP, STREAM, publish
from readings.models import IntervalRow, MeterProfile
from tests.readings.proxy import Proxy

pytestmark = pytest.mark.django_db(transaction=True)

COMMAND = (sys.executable, "manage.py", "ingest", "--no-presence")


def wait_until(condition: Callable[[], bool], child, timeout_s: float = 30.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert child.exit_status() is None, child.log_tail(30)
        assert time.monotonic() < deadline, child.log_tail(30)
        time.sleep(0.05)


def all_stored(client) -> bool:
    return client.xlen(STREAM) == 0 and client.xpending(STREAM, GROUP)["pending"] == 0


def test_sigterm_ends_it_after_the_batch_in_hand(live_redis, entry, start_process):
    publish(live_redis, [entry(4)])
    child = start_process("ingest", *COMMAND)
    wait_until(lambda: IntervalRow.objects.count() == 4, child)
    child.send(signal.SIGTERM)
    assert child.wait(15) == 0
    assert all_stored(live_redis)


def test_sigkill_in_between_loses_nothing_and_stores_nothing_twice(live_redis, entry, start_process):
    quick = {"HES_INGEST_CLAIM_S": "1", "HES_INGEST_BATCH": "5"}
    chunks = [entry(20, first=20 * n - 3000, read_at_s=n) for n in range(150)]
    publish(live_redis, chunks)
    for killed in range(3):
        child = start_process("ingest", *COMMAND, **quick)
        before = IntervalRow.objects.count()
        wait_until(lambda before=before: IntervalRow.objects.count() > before, child)
        child.send(signal.SIGKILL)
        child.wait(10)
        if killed == 0:
            assert not all_stored(live_redis)
    last = start_process("ingest", *COMMAND, **quick)
    wait_until(lambda: all_stored(live_redis), last)
    assert IntervalRow.objects.count() == 3000
    with connection.cursor() as cursor:
        cursor.execute('SELECT sum("values"[1]), count(DISTINCT captured_at) FROM readings_interval')
        assert cursor.fetchone() == (150 * sum(range(20)), 3000)
    newest = max(int(chunk.captured_at.max()) for chunk in chunks)
    high_water = MeterProfile.objects.get().high_water
    assert int(high_water.timestamp() * 1_000_000) == newest
    assert live_redis.xlen(DEAD_STREAM) == 0


def test_database_that_goes_away_and_comes_back(live_redis, entry, start_process, process_env):
    parts = urlsplit(process_env["DATABASE_URL"])
    with Proxy((parts.hostname, parts.port)) as proxy:
        address = parts.netloc.rpartition("@")[0] + f"@127.0.0.1:{proxy.port}"
        url = urlunsplit(parts._replace(netloc=address))
        child = start_process("ingest", *COMMAND, DATABASE_URL=url)
        publish(live_redis, [entry(4)])
        wait_until(lambda: IntervalRow.objects.count() == 4, child)
        proxy.cut()
        publish(live_redis, [entry(4, first=4)])
        wait_until(lambda: "ingest_waits" in child.log_tail(30), child)
        time.sleep(1)
        assert live_redis.xlen(STREAM) == 1
        assert IntervalRow.objects.count() == 4
        proxy.open()
        wait_until(lambda: all_stored(live_redis), child)
        assert IntervalRow.objects.count() == 8
        child.send(signal.SIGTERM)
        assert child.wait(15) == 0
    assert live_redis.xlen(DEAD_STREAM) == 0


def test_two_processes_share_the_work_and_the_rows_of_one_meter(live_redis, entry, start_process):
    both = [start_process("ingest", *COMMAND, HES_INGEST_BATCH="3") for _ in range(2)]
    rng = np.random.default_rng(1)
    versions = [
        entry(10, first=first, read_at_s=n, base=1000 * n) for n, first in enumerate(rng.integers(0, 40, 60))
    ]
    publish(live_redis, versions)
    wait_until(lambda: all_stored(live_redis), both[0])
    wanted: dict[int, int] = {}
    for version in versions:
        wanted |= {int(at): int(row[0]) for at, row in zip(version.captured_at, version.values, strict=True)}
    stored = IntervalRow.objects.order_by("captured_at").values_list("captured_at", "values")
    assert {round(at.timestamp() * 1_000_000): values[0] for at, values in stored} == wanted
    assert live_redis.xlen(DEAD_STREAM) == 0
