"""Orders to meters and changes of meters: the one way in, for API, admin and management commands alike.

Each service writes the row and its audit entry in one transaction. Who may do what is asked here too, so that
no way in can forget it; `user=None` is the system itself.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import structlog
from django.conf import settings
from django.contrib.auth.models import AbstractUser
from django.db import IntegrityError, transaction
from django.utils import timezone
from kombu.exceptions import OperationalError as BrokerAway

from hes.tasknames import COMMANDS_RUN
from meters import audit, parameters
from meters.errors import IdempotencyConflict, Invalid, MeterNotOperated, NotAllowed
from meters.models import AuditEntry, Command, Meter

log = structlog.get_logger(__name__)

Kind = Command.Kind

#: what a user needs to order a kind of command
PERMISSIONS: dict[str, str] = {
    Kind.ASSOCIATION_TEST: "meters.associate_meter",
    Kind.CLOCK_READ: "meters.read_meter_now",
    Kind.REGISTERS_READ: "meters.read_meter_now",
    Kind.PROFILE_READ: "meters.read_meter_now",
    Kind.EVENTS_READ: "meters.read_meter_now",
    Kind.RELAY_DISCONNECT: "meters.disconnect_meter",
    Kind.RELAY_RECONNECT: "meters.reconnect_meter",
}
NOT_AFTER_MAX = dt.timedelta(days=7)
REASON_MAX = 500
KEY_MAX = 200


def order_command(
    *,
    meter: Meter,
    kind: str,
    parameters: Mapping[str, Any] | None = None,
    user: AbstractUser | None,
    reason: str = "",
    not_after: dt.datetime | None = None,
    idempotency_key: str = "",
) -> tuple[Command, bool]:
    """Order one command; returns it and whether it is new.

    With a key that this user has used before, the command of then is returned when the order is the same,
    else IdempotencyConflict. Raises Invalid, MeterNotOperated, NotAllowed.
    """
    check_permission(user, kind)
    if len(idempotency_key) > KEY_MAX:
        raise Invalid.field("Idempotency-Key", "TOO_LONG", f"must have at most {KEY_MAX} characters")
    command = _build(meter, kind, parameters or {}, user, reason, not_after)
    if not idempotency_key:
        _store([command], user)
        return command, True
    command.idempotency_key = idempotency_key
    if (earlier := _earlier(command, not_after)) is not None:
        return earlier, False
    try:
        _store([command], user)
    except IntegrityError:
        if (earlier := _earlier(command, not_after)) is None:
            raise
        return earlier, False
    return command, True


def order_commands(
    *,
    meters: Sequence[Meter],
    kind: str,
    user: AbstractUser | None,
    reason: str,
    parameters: Mapping[str, Any] | None = None,
    idempotency_key: str = "",
) -> list[Command]:
    """The same order for many meters, all or nothing, in a handful of statements.

    A key that was used before, for the same or for other meters, is a conflict: nothing is ordered twice.
    """
    check_permission(user, kind)
    commands = [_build(meter, kind, parameters or {}, user, reason, None) for meter in meters]
    if idempotency_key:
        for command in commands:
            command.idempotency_key = f"{idempotency_key}:{command.meter_id}"
    try:
        _store(commands, user)
    except IntegrityError:
        if not idempotency_key:
            raise
        raise IdempotencyConflict("this was ordered before") from None
    return commands


def check_permission(user: AbstractUser | None, kind: str) -> None:
    """Raises NotAllowed when the user may not order this kind. An unknown kind is left to the parameters."""
    needed = PERMISSIONS.get(kind)
    if user is not None and needed is not None and not user.has_perm(needed):
        raise NotAllowed(f"needs the permission {needed}")


def send(command_ids: Sequence[uuid.UUID]) -> None:
    """Hand commands to the workers. A broker that is away is no loss: the sweep finds queued rows."""
    from hes.celery import app

    try:
        with app.producer_or_acquire() as producer:
            for command_id in command_ids:
                app.send_task(
                    COMMANDS_RUN,
                    args=[str(command_id)],
                    producer=producer,
                    retry=True,
                    retry_policy={"max_retries": 2, "interval_start": 0, "interval_step": 0.2},
                )
    except BrokerAway as error:
        log.warning("command_send_failed", commands=len(command_ids), error=repr(error))


def _build(
    meter: Meter,
    kind: str,
    given: Mapping[str, Any],
    user: AbstractUser | None,
    reason: str,
    not_after: dt.datetime | None,
) -> Command:
    """What is asked for, well formed; whether it can be done now is `_check_possible`'s."""
    reason = reason.strip()
    if len(reason) > REASON_MAX:
        raise Invalid.field("reason", "TOO_LONG", f"must have at most {REASON_MAX} characters")
    if not reason and kind in Command.ACTING:
        raise Invalid.field("reason", "REQUIRED", "is needed for what acts on a customer's supply")
    default = timezone.now() + dt.timedelta(seconds=settings.HES_COMMAND_DEADLINE_S)
    return Command(
        meter=meter,
        kind=kind,
        parameters=parameters.normalise(meter, kind, given),
        reason=reason,
        requested_by=user,
        not_after=default if not_after is None else parameters.parse_time("not_after", not_after),
    )


def _check_possible(command: Command) -> None:
    if command.meter.state not in Meter.OPERATED:
        raise MeterNotOperated(f"{command.meter.serial} is {command.meter.get_state_display()}")
    now = timezone.now()
    if not now < command.not_after <= now + NOT_AFTER_MAX:
        raise Invalid.field(
            "not_after", "OUT_OF_RANGE", f"must be in the future, within {NOT_AFTER_MAX.days} days"
        )


def _store(commands: list[Command], user: AbstractUser | None) -> None:
    for command in commands:
        _check_possible(command)
    with transaction.atomic():
        Command.objects.bulk_create(commands)
        AuditEntry.objects.bulk_create(
            audit.entry(
                "command.order",
                meter=command.meter,
                subject=str(command.pk),
                actor=user,
                reason=command.reason,
                facts={"kind": str(command.kind), "parameters": command.parameters},
            )
            for command in commands
        )
        ids = [command.pk for command in commands]
        transaction.on_commit(lambda: send(ids))


def _earlier(wanted: Command, not_after: dt.datetime | None) -> Command | None:
    """The command that this user's key stands for, if any. Raises IdempotencyConflict on another order."""
    found = (
        Command.objects.select_related("meter", "requested_by")
        .filter(requested_by=wanted.requested_by, idempotency_key=wanted.idempotency_key)
        .first()
    )
    if found is None:
        return None
    same = all(
        getattr(found, name) == getattr(wanted, name) for name in ("meter_id", "kind", "parameters", "reason")
    )
    if not same or (not_after is not None and found.not_after != wanted.not_after):
        raise IdempotencyConflict(f"this Idempotency-Key was used for command {found.pk}, another order")
    return found
