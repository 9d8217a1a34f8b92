"""Commands to meters. A command is a row; its task only carries the row's id."""

from __future__ import annotations

import uuid

from django.conf import settings
from django.db import models

from meters.models.meter import Meter


class Command(models.Model):
    """One order to one meter and what came of it. State table:

    | from    | to        | when |
    |---------|-----------|------|
    | queued  | running   | a worker has the meter's lease and claims the row |
    | queued  | expired   | not_after passed before anything was sent |
    | queued  | failed    | refused before anything was sent (meter not operated, no credential ...) |
    | running | confirmed | done, and where it acts: the state read back shows it |
    | running | failed    | an error; certain that nothing acted, or the read-back shows the old state |
    | running | unknown   | an ACTION was sent and not read back by the deadline, or its worker was lost |
    | running | queued    | the dialog ended before anything that acts was sent; the deadline is ahead |
    """

    class Kind(models.TextChoices):
        ASSOCIATION_TEST = "association_test", "association test"
        CLOCK_READ = "clock_read", "read the clock"
        REGISTERS_READ = "registers_read", "read registers"
        PROFILE_READ = "profile_read", "read a profile range"
        EVENTS_READ = "events_read", "read the event log"
        RELAY_DISCONNECT = "relay_disconnect", "disconnect the relay"
        RELAY_RECONNECT = "relay_reconnect", "reconnect the relay"

    class State(models.TextChoices):
        QUEUED = "queued", "queued"
        RUNNING = "running", "running"
        CONFIRMED = "confirmed", "confirmed"
        FAILED = "failed", "failed"
        UNKNOWN = "unknown", "unknown"
        EXPIRED = "expired", "expired"

    TRANSITIONS = {
        State.QUEUED: (State.RUNNING, State.EXPIRED, State.FAILED),
        State.RUNNING: (State.CONFIRMED, State.FAILED, State.UNKNOWN, State.QUEUED),
        State.CONFIRMED: (),
        State.FAILED: (),
        State.UNKNOWN: (),
        State.EXPIRED: (),
    }
    ACTING = (Kind.RELAY_DISCONNECT, Kind.RELAY_RECONNECT)

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    meter = models.ForeignKey(Meter, on_delete=models.PROTECT, related_name="commands")
    kind = models.CharField(max_length=24, choices=Kind)
    parameters = models.JSONField(default=dict, blank=True)
    state = models.CharField(max_length=16, choices=State, default=State.QUEUED)
    reason = models.CharField(max_length=500, blank=True)
    requested_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, related_name="+"
    )
    created_at = models.DateTimeField(auto_now_add=True)
    not_after = models.DateTimeField()
    idempotency_key = models.CharField(max_length=200, null=True, blank=True)  # noqa: DJ001 null is never equal
    claim_token = models.UUIDField(null=True)
    claimed_until = models.DateTimeField(null=True)
    acted_at = models.DateTimeField(null=True, help_text="Set and committed before the ACTION is sent.")
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    attempts = models.PositiveIntegerField(default=0)
    error_code = models.CharField(max_length=64, blank=True)
    error_detail = models.CharField(max_length=500, blank=True)
    result = models.JSONField(
        null=True, blank=True, help_text="What was read, evidence of a switch, links to rows."
    )

    class Meta:
        ordering = ("-created_at", "id")
        constraints = [
            models.UniqueConstraint(
                fields=("requested_by", "idempotency_key"), name="command_idempotency_key_per_user"
            ),
        ]
        indexes = [
            models.Index(fields=("meter", "-created_at"), name="command_meter_recent"),
            models.Index(fields=("-created_at", "id"), name="command_recent"),
            models.Index(
                fields=("not_after",),
                name="command_open",
                condition=models.Q(state__in=("queued", "running")),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.meter_id} {self.state}"
