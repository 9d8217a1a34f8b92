"""PostgreSQL and Redis go away while the fleet is read, and come back: the day completes, each row once."""

from __future__ import annotations

import time

from hes.stack import Stack
from tests.adversity.test_killed_processes import METERS, prove_day, stack, stored_meters, wait_until

AWAY_S = 25.0

__all__ = ["stack"]


def test_servers_away_for_a_while_the_day_completes_once(stack: Stack) -> None:
    wait_until(stack, lambda: 3 <= stored_meters(stack) < METERS // 2)
    for name in ("postgres", "redis"):
        stack.servers[name].stop()
    time.sleep(AWAY_S)
    for name in ("postgres", "redis"):
        stack.servers[name].start()
    prove_day(stack)
