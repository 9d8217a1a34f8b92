"""Commands that meet what is rare: the row tells what is certain, and ends."""

from __future__ import annotations

import datetime as dt
import time
import uuid
from collections.abc import Callable

import pytest
from django.db import OperationalError
from django.utils import timezone

from dlms.device import ActionRefusedError
from dlms.enums import ActionResult
from meters.models import Command, Meter
from meters.services import order_command
from simulator.fleet import Fleet
from simulator.meter import MeterSettings
from simulator.relay import DisconnectControl
from workers import command_rows, commands
from workers.runner import Runner

Carry = Callable[..., Command]
StartFleet = Callable[..., Fleet]
SERIAL = "SIM00000001"


def order(kind: str, **more: object) -> Command:
    command, _ = order_command(
        meter=Meter.objects.get(serial=SERIAL), kind=kind, parameters={}, user=None, reason="test", **more
    )  # type: ignore[arg-type]
    return command


def test_action_that_is_refused_but_moved_the_relay_is_confirmed(
    start_fleet: StartFleet, carry: Carry, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet = start_fleet()
    does = DisconnectControl.order

    def moves_and_refuses(*words: object) -> None:
        does(*words)  # type: ignore[arg-type]
        raise ActionRefusedError(ActionResult.OTHER_REASON)

    monkeypatch.setattr(DisconnectControl, "order", moves_and_refuses)
    command = carry(SERIAL, "relay_disconnect")
    assert (command.state, command.error_code) == ("confirmed", "")
    assert command.result["after"]["output_state"] is False
    assert len(fleet.meters[SERIAL].relay.movements) == 1


def test_action_that_is_refused_fails_with_the_state_as_evidence(
    start_fleet: StartFleet, carry: Carry, monkeypatch: pytest.MonkeyPatch
) -> None:
    start_fleet()

    def refuses(*_: object) -> None:
        raise ActionRefusedError(ActionResult.HARDWARE_FAULT)

    monkeypatch.setattr(DisconnectControl, "order", refuses)
    command = carry(SERIAL, "relay_disconnect")
    assert (command.state, command.error_code) == ("failed", "ACTION_HARDWARE_FAULT")
    assert command.result["after"]["output_state"] is True


def test_relay_that_never_moves_does_not_hold_its_meter_until_a_far_deadline(
    start_fleet: StartFleet, carry: Carry, settings: object
) -> None:
    settings.HES_COMMAND_DEADLINE_S = 5  # type: ignore[attr-defined]
    start_fleet(meter=MeterSettings(relay_delay_s=3600))
    began = time.monotonic()
    command = carry(SERIAL, "relay_disconnect", not_after=dt.datetime.now(dt.UTC) + dt.timedelta(days=1))
    assert (command.state, command.error_code) == ("failed", "RELAY_NOT_MOVED")
    assert time.monotonic() - began < 10


def test_command_that_another_worker_had_for_a_moment_is_still_done(
    start_fleet: StartFleet, active_runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    start_fleet()
    command = order("clock_read")
    claim = command_rows.claim

    def too_late(command_id: uuid.UUID) -> None:
        """The other's dialog ends without an outcome just after ours had found the row taken."""
        other = claim(command_id)
        assert other is not None
        assert claim(command_id) is None
        command_rows.requeue(command_id, other)
        monkeypatch.setattr(command_rows, "claim", claim)

    monkeypatch.setattr(command_rows, "claim", too_late)
    active_runner.submit(commands.run(active_runner, command.pk)).result(30)
    command.refresh_from_db()
    assert (command.state, command.error_code) == ("confirmed", "")


def test_command_whose_time_passes_at_its_claim_is_expired(
    start_fleet: StartFleet, active_runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    start_fleet()
    command = order("clock_read", not_after=timezone.now() + dt.timedelta(seconds=2))
    claim = command_rows.claim

    def slow(command_id: uuid.UUID) -> uuid.UUID | None:
        time.sleep(2.5)
        return claim(command_id)

    monkeypatch.setattr(command_rows, "claim", slow)
    assert active_runner.submit(commands.run(active_runner, command.pk)).result(30) == "expired"
    command.refresh_from_db()
    assert (command.state, command.error_code) == ("expired", "COMMAND_EXPIRED")


def test_outcome_is_written_when_the_database_is_back(
    start_fleet: StartFleet, carry: Carry, monkeypatch: pytest.MonkeyPatch
) -> None:
    start_fleet()
    monkeypatch.setattr("workers.database.RETRY_WAITS_S", (0.1,))
    finish = command_rows.finish
    until = time.monotonic() + 3

    def away(*words: object) -> str:
        if time.monotonic() < until:
            raise OperationalError("connection refused")
        return finish(*words)  # type: ignore[arg-type]

    monkeypatch.setattr(command_rows, "finish", away)
    assert carry(SERIAL, "relay_disconnect").state == "confirmed"
