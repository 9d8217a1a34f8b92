"""Sick meters: each ends its dialog with its own code, gives the lease back, and leaves the next meter
unharmed."""

from __future__ import annotations

import datetime as dt
import secrets
import time
from collections.abc import Callable

import pytest
import redis

from meters.credentials import set_credential
from meters.models import Command, Credential, Meter, MeterType
from simulator.faults import Fault
from simulator.fleet import Fleet
from workers.leases import lease_key

Carry = Callable[..., Command]
StartFleet = Callable[..., Fleet]
GOOD, SICK = "SIM00000001", "SIM00000002"


@pytest.fixture
def quick(transactional_db: None) -> None:
    """Meters of the type must answer within a second."""
    from meters import seed

    seed.seed_demo(None)
    MeterType.objects.update(response_timeout_s=1.0)


def assert_ended(
    command: Command,
    codes: set[str],
    live_redis: redis.Redis,
    carry: Carry,
    states: tuple[str, ...] = ("failed",),
) -> None:
    assert command.state in states, (command.error_code, command.error_detail)
    assert command.error_code in codes, (command.error_code, command.error_detail)
    assert command.finished_at <= command.not_after + dt.timedelta(seconds=1)
    command.meter.refresh_from_db()
    assert command.meter.last_error_code == command.error_code
    assert live_redis.get(lease_key(command.meter_id)) is None
    assert carry(GOOD, "clock_read").state == "confirmed"


@pytest.mark.parametrize(
    ("fault", "codes"),
    [
        (Fault.SILENT, {"RESPONSE_TIMEOUT"}),
        (Fault.STOP_MID_DIALOG, {"RESPONSE_TIMEOUT"}),
        (Fault.CUT_MID_DIALOG, {"LINK_LOST"}),
        (Fault.BAD_LENGTH, {"RESPONSE_TIMEOUT"}),
        (Fault.SHORT_LENGTH, {"ACSE_INVALID", "APDU_TRUNCATED"}),
        (Fault.BAD_TAG, {"TAG_MISMATCH"}),
        (Fault.WRONG_TITLE, {"SYSTEM_TITLE_MISMATCH"}),
        (
            Fault.WRONG_KEY,
            {"TAG_MISMATCH", "EXCEPTION_DECIPHERING_ERROR", "ASSOCIATION_AUTHENTICATION_FAILURE"},
        ),
    ],
)
def test_sick_meter_ends_with_its_code(
    fault: Fault, codes: set[str], quick: None, start_fleet: StartFleet, carry: Carry, live_redis: redis.Redis
) -> None:
    start_fleet(2, faults=((fault, 1),))
    not_after = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=20)
    command = carry(SICK, "registers_read", not_after=not_after)
    assert_ended(command, codes, live_redis, carry)


def test_wrong_key_on_our_side_ends_with_its_code(
    quick: None, start_fleet: StartFleet, carry: Carry, live_redis: redis.Redis
) -> None:
    start_fleet(2)
    set_credential(Meter.objects.get(serial=SICK), Credential.Kind.GUEK, secrets.token_bytes(16), None)
    command = carry(SICK, "clock_read")
    assert_ended(
        command, {"EXCEPTION_DECIPHERING_ERROR", "ASSOCIATION_AUTHENTICATION_FAILURE"}, live_redis, carry
    )


def test_missing_key_ends_before_anything_is_sent(
    quick: None, start_fleet: StartFleet, carry: Carry, live_redis: redis.Redis
) -> None:
    start_fleet(2)
    Credential.objects.filter(meter__serial=SICK, kind=Credential.Kind.GUEK).delete()
    command = carry(SICK, "clock_read")
    assert_ended(command, {"CREDENTIAL_MISSING"}, live_redis, carry)


def test_wrong_server_address_ends_as_timeout(
    quick: None, start_fleet: StartFleet, carry: Carry, live_redis: redis.Redis
) -> None:
    start_fleet(2)
    Meter.objects.filter(serial=SICK).update(server_address=9)
    command = carry(SICK, "clock_read")
    assert_ended(command, {"RESPONSE_TIMEOUT"}, live_redis, carry)


def test_offline_meter_ends_within_its_wait(
    quick: None, start_fleet: StartFleet, carry: Carry, live_redis: redis.Redis
) -> None:
    start_fleet(1)
    Meter.objects.create(serial=SICK, meter_type=MeterType.objects.get())
    started = time.monotonic()
    command = carry(SICK, "clock_read")
    assert_ended(command, {"METER_OFFLINE"}, live_redis, carry)
    assert time.monotonic() - started < 20


def test_busy_meter_expires_with_the_cause_and_nothing_sent(
    quick: None, start_fleet: StartFleet, carry: Carry, live_redis: redis.Redis
) -> None:
    start_fleet(2)
    meter = Meter.objects.get(serial=SICK)
    live_redis.set(lease_key(meter.pk), "1:another", px=60_000)
    not_after = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=2)
    command = carry(SICK, "relay_disconnect", not_after=not_after)
    assert (command.state, command.error_code, command.acted_at) == ("expired", "METER_BUSY", None)
    live_redis.delete(lease_key(meter.pk))
    assert carry(SICK, "relay_disconnect").state == "confirmed"


def test_busy_meter_is_waited_for(
    quick: None, start_fleet: StartFleet, carry: Carry, live_redis: redis.Redis
) -> None:
    start_fleet(1)
    meter = Meter.objects.get(serial=GOOD)
    live_redis.set(lease_key(meter.pk), "1:another", px=1500)
    started = time.monotonic()
    assert carry(GOOD, "clock_read").state == "confirmed"
    assert time.monotonic() - started > 1.2
