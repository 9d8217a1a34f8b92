"""The rows of commands as the workers write them. One method a transition, each a conditional UPDATE.

Runs in database threads. See `meters.models.command` for the state table.
"""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

import structlog
from django.conf import settings
from django.db import transaction
from django.db.models import F, Q
from django.utils import timezone

from dlms.errors import DlmsError
from meters import audit, claims
from meters.models import Command, Meter
from workers.relay import RelayState

log = structlog.get_logger()

State = Command.State

#: A queued command that no worker says it waits for is handed out again after this.
WAITER_S = 15.0


def load(command_id: uuid.UUID) -> Command | None:
    return Command.objects.filter(pk=command_id).first()


def seconds_left(command: Command) -> float:
    return (command.not_after - timezone.now()).total_seconds()


def wait(command_id: uuid.UUID) -> bool:
    """Tell that a worker waits for the meter of this queued command; False: it is no longer queued."""
    until = timezone.now() + dt.timedelta(seconds=WAITER_S)
    return bool(Command.objects.filter(pk=command_id, state=State.QUEUED).update(claimed_until=until))


def claim(command_id: uuid.UUID) -> uuid.UUID | None:
    """queued -> running, once; None where somebody else has it or its time has passed."""
    now = timezone.now()
    token = uuid.uuid4()
    taken = Command.objects.filter(pk=command_id, state=State.QUEUED, not_after__gt=now).update(
        state=State.RUNNING,
        claim_token=token,
        claimed_until=now + dt.timedelta(seconds=settings.HES_CLAIM_S),
        started_at=now,
        attempts=F("attempts") + 1,
    )
    return token if taken else None


def renew(command_id: uuid.UUID, token: uuid.UUID) -> bool:
    until = timezone.now() + dt.timedelta(seconds=settings.HES_CLAIM_S)
    return bool(Command.objects.filter(pk=command_id, claim_token=token).update(claimed_until=until))


def mark_acted(command_id: uuid.UUID, token: uuid.UUID) -> bool:
    """Commit that the ACTION is about to leave; False: not after all, the claim or the time is gone."""
    now = timezone.now()
    held = Command.objects.filter(pk=command_id, state=State.RUNNING, claim_token=token, acted_at=None)
    return bool(held.filter(not_after__gt=now, claimed_until__gt=now).update(acted_at=now))


def requeue(command_id: uuid.UUID, token: uuid.UUID) -> bool:
    """running -> queued: nothing that acts was sent."""
    held = Command.objects.filter(pk=command_id, state=State.RUNNING, claim_token=token, acted_at=None)
    return bool(held.update(state=State.QUEUED, claim_token=None, claimed_until=None))


def finish(
    command_id: uuid.UUID,
    token: uuid.UUID | None,
    state: str,
    result: dict[str, Any] | None,
    code: str = "",
    detail: str = "",
) -> str:
    """running (with our token), or queued where nothing was claimed, -> an end state; the meter's record and
    the audit follow in the same transaction. Returns the state the row has."""
    with transaction.atomic():
        rows = Command.objects.filter(pk=command_id)
        held = (
            rows.filter(state=State.QUEUED)
            if token is None
            else rows.filter(state=State.RUNNING, claim_token=token)
        )
        written = held.update(
            state=state,
            finished_at=timezone.now(),
            result=result,
            error_code=code,
            error_detail=detail[:500],
            claimed_until=None,
        )
        command = rows.get()
        if not written:
            log.warning("command_not_settled", command=str(command_id), state=command.state, wanted=state)
            return str(command.state)
        claims.record_contact(command.meter_id, code, detail)
        _audit(command)
    return state


def expire(command_id: uuid.UUID, last: DlmsError | None) -> str:
    """queued -> expired: nothing was sent in time; the code tells what it waited for."""
    return _expire(
        Command.objects.filter(pk=command_id),
        last.code if last else "COMMAND_EXPIRED",
        last.detail if last else "its time had passed before it was begun",
    )


def sweep() -> list[uuid.UUID]:
    """Put an end to what was left behind; returns queued commands that nobody waits for, to be handed out
    again."""
    now = timezone.now()
    unattended = Q(claimed_until=None) | Q(claimed_until__lt=now)
    _expire(
        Command.objects.filter(unattended, not_after__lte=now), "COMMAND_EXPIRED", "no worker took it in time"
    )
    lost = Command.objects.filter(state=State.RUNNING, claimed_until__lt=now)
    lost.filter(acted_at=None, not_after__gt=now).update(
        state=State.QUEUED, claim_token=None, claimed_until=None
    )
    for command in list(lost):
        _lose(command)
    idle = Q(claimed_until=None, created_at__lt=now - dt.timedelta(seconds=5)) | Q(claimed_until__lt=now)
    waiting = Command.objects.filter(idle, state=State.QUEUED, not_after__gt=now)
    handed_out = list(waiting.values_list("pk", flat=True)[:1000])
    Command.objects.filter(pk__in=handed_out, state=State.QUEUED).update(
        claimed_until=now + dt.timedelta(seconds=WAITER_S)
    )
    return handed_out


def _lose(command: Command) -> None:
    """running -> unknown (an ACTION may have left) or failed: its worker is gone."""
    acted = command.acted_at is not None
    state = State.UNKNOWN if acted else State.FAILED
    with transaction.atomic():
        held = Command.objects.filter(pk=command.pk, state=State.RUNNING, claim_token=command.claim_token)
        if held.filter(claimed_until__lt=timezone.now()).update(
            state=state,
            finished_at=timezone.now(),
            error_code="WORKER_LOST",
            error_detail="its worker is gone",
        ):
            _audit(Command.objects.get(pk=command.pk))


def _expire(rows: Any, code: str, detail: str) -> str:
    ended = list(rows.filter(state=State.QUEUED)[:1000])
    for command in ended:
        with transaction.atomic():
            if Command.objects.filter(pk=command.pk, state=State.QUEUED).update(
                state=State.EXPIRED, finished_at=timezone.now(), error_code=code, error_detail=detail[:500]
            ):
                claims.record_contact(command.meter_id, code, detail)
                _audit(Command.objects.get(pk=command.pk))
    return str(State.EXPIRED)


def note_relay(meter_id: int, state: RelayState) -> None:
    Meter.objects.filter(pk=meter_id).update(
        output_state=state.output_state,
        control_state=state.control_state,
        control_mode=state.control_mode,
        relay_read_at=timezone.now(),
    )


def _audit(command: Command) -> None:
    audit.record(
        "command.end",
        meter=command.meter,
        subject=str(command.pk),
        actor=None,
        facts={"kind": command.kind, "state": command.state, "code": command.error_code},
    )
