"""Transitions of commands: each is conditional, whoever comes late changes nothing."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable

import pytest
from django.utils import timezone

from meters.models import Command, Meter
from workers import command_rows


@pytest.mark.django_db
def test_sweep_leaves_a_command_whose_worker_renewed_its_claim_meanwhile(
    add_meter: Callable[..., Meter],
) -> None:
    soon = timezone.now() + dt.timedelta(minutes=2)
    command = Command.objects.create(meter=add_meter("M"), kind="relay_disconnect", not_after=soon)
    token = command_rows.claim(command.pk)
    assert token is not None
    assert command_rows.mark_acted(command.pk, token)
    Command.objects.update(claimed_until=timezone.now() - dt.timedelta(seconds=1))
    seen = Command.objects.get()
    assert command_rows.renew(command.pk, token)
    command_rows._lose(seen)
    assert Command.objects.get().state == "running"
    Command.objects.update(claimed_until=timezone.now() - dt.timedelta(seconds=1))
    command_rows.sweep()
    command.refresh_from_db()
    assert (command.state, command.error_code) == ("unknown", "WORKER_LOST")
