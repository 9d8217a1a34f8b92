"""Invocation counters through real parts: whatever the meter holds, the first dialog ends well; what it sent
once is not taken again."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
import redis

from meters.models import Command, InvocationCounter, Meter, ReceivedCounter
from meters.services import order_command
from simulator.fleet import Fleet
from simulator.meter import MeterSettings
from workers import commands
from workers.leases import lease_key
from workers.runner import Runner

Carry = Callable[..., Command]
StartFleet = Callable[..., Fleet]
SERIAL = "SIM00000001"


@pytest.mark.parametrize("first_counter", [1, 30, 63, 64, 65, 1 << 27])
def test_first_contact_with_any_counter_succeeds_at_once(
    start_fleet: StartFleet, carry: Carry, first_counter: int
) -> None:
    start_fleet(meter=MeterSettings(first_counter=first_counter))
    command = carry(SERIAL, "clock_read")
    assert (command.state, command.error_code) == ("confirmed", "")


@pytest.mark.parametrize("ahead", [10, 64, 5000])
def test_meter_ahead_of_us_is_caught_up_with_in_the_same_dialog(
    start_fleet: StartFleet, carry: Carry, ahead: int
) -> None:
    fleet = start_fleet()
    assert carry(SERIAL, "clock_read").state == "confirmed"
    fleet.meters[SERIAL].received_counter = InvocationCounter.objects.get().next_value - 1 + ahead
    command = carry(SERIAL, "clock_read")
    assert (command.state, command.error_code) == ("confirmed", "")
    assert Meter.objects.get().last_error_code == ""


def test_counter_received_while_a_command_waited_is_not_accepted_again(
    start_fleet: StartFleet, active_runner: Runner, carry: Carry, live_redis: redis.Redis
) -> None:
    start_fleet()
    first = carry(SERIAL, "clock_read")
    key = lease_key(first.meter_id)
    live_redis.set(key, "1:another dialog")
    command, _ = order_command(meter=first.meter, kind="clock_read", parameters={}, user=None, reason="test")
    ended = active_runner.submit(commands.run(active_runner, command.pk))
    time.sleep(1.0)
    ReceivedCounter.objects.update(highest=0xFFFFFFF0)
    live_redis.delete(key)
    ended.result(30)
    command.refresh_from_db()
    assert (command.state, command.error_code) == ("failed", "COUNTER_NOT_RISING")
