"""Reading plans and what they make due."""

from __future__ import annotations

from django.core.validators import MaxValueValidator
from django.db import models
from django_celery_beat.models import PeriodicTask

from meters.models.meter import Meter
from meters.models.type import MeterType


class ReadingPlan(models.Model):
    """What is read from the meters of a type, and when (`schedule` is a django-celery-beat row)."""

    class Kind(models.TextChoices):
        PROFILE = "profile", "profile by range"
        REGISTERS = "registers", "instantaneous registers of the type"
        EVENTS = "events", "standard event log"

    name = models.CharField(max_length=64, unique=True)
    meter_type = models.ForeignKey(MeterType, on_delete=models.PROTECT, related_name="plans")
    kind = models.CharField(max_length=16, choices=Kind, default=Kind.PROFILE)
    logical_name = models.CharField(
        max_length=32, blank=True, help_text="Of the profile; blank for register sets."
    )
    enabled = models.BooleanField(default=True)
    priority = models.SmallIntegerField(default=5, help_text="Smaller is read first.")
    spread_s = models.PositiveIntegerField(
        default=0,
        validators=[MaxValueValidator(86400)],
        help_text="Due times are spread over this many seconds.",
    )
    schedule = models.OneToOneField(
        PeriodicTask, on_delete=models.SET_NULL, null=True, blank=True, related_name="reading_plan"
    )

    class Meta:
        ordering = ("priority", "name")

    def __str__(self) -> str:
        return self.name


class DueRead(models.Model):
    """One (meter, plan): when it is due, who holds it, how often it was tried.

    Claimed: `claim_token` set, `claimed_until` in the future; every later write names the token. A claim that
    has expired is free again: that is all the recovery there is. Done: `next_due_at` null until the plan's
    next tick.
    """

    meter = models.ForeignKey(Meter, on_delete=models.PROTECT, related_name="due_reads")
    plan = models.ForeignKey(ReadingPlan, on_delete=models.CASCADE, related_name="due_reads")
    next_due_at = models.DateTimeField(null=True)
    priority = models.SmallIntegerField(default=5)
    claim_token = models.UUIDField(null=True)
    claimed_until = models.DateTimeField(null=True)
    attempts = models.PositiveIntegerField(default=0)
    last_error = models.CharField(max_length=64, blank=True)
    last_tried_at = models.DateTimeField(null=True)
    last_ok_at = models.DateTimeField(null=True)
    backfill_from = models.DateTimeField(
        null=True, help_text="Earlier rows are still owed down to this time."
    )

    class Meta:
        constraints = [models.UniqueConstraint(fields=("meter", "plan"), name="due_read_per_meter_and_plan")]
        indexes = [
            models.Index(
                fields=("priority", "next_due_at"),
                name="due_read_due",
                condition=models.Q(next_due_at__isnull=False),
            )
        ]

    def __str__(self) -> str:
        return f"{self.meter_id}/{self.plan_id}"
