"""Events as the meters logged them, and the tables that name their codes."""

from __future__ import annotations

from django.db import models

from meters.models import Meter, MeterType


class EventCode(models.Model):
    """What a code in a log means; a row with a type goes before one without."""

    class Severity(models.TextChoices):
        INFO = "info", "info"
        WARNING = "warning", "warning"
        ALARM = "alarm", "alarm"

    meter_type = models.ForeignKey(
        MeterType, on_delete=models.CASCADE, null=True, blank=True, related_name="event_codes"
    )
    log = models.CharField(max_length=32, default="0-0:99.98.0.255")
    code = models.BigIntegerField()
    name = models.CharField(max_length=128)
    severity = models.CharField(max_length=8, choices=Severity, default=Severity.INFO)

    class Meta:
        ordering = ("log", "code")
        constraints = [
            models.UniqueConstraint(
                fields=("meter_type", "log", "code"), name="event_code_per_log", nulls_distinct=False
            )
        ]

    def __str__(self) -> str:
        return f"{self.code} {self.name}"


class Event(models.Model):
    """One entry of a meter's log. Unknown codes are kept as they came."""

    #: found by the constraint's index
    meter = models.ForeignKey(Meter, on_delete=models.PROTECT, related_name="events", db_index=False)
    log = models.CharField(max_length=32)
    captured_at = models.DateTimeField()
    code = models.BigIntegerField()
    ordinal = models.SmallIntegerField(default=0)
    clock_status = models.SmallIntegerField(default=0)
    extra = models.BinaryField(null=True, help_text="Further columns of the entry, A-XDR.")
    read_at = models.DateTimeField()

    class Meta:
        ordering = ("-captured_at", "-id")
        constraints = [
            models.UniqueConstraint(
                fields=("meter", "log", "captured_at", "code", "ordinal"), name="event_key"
            )
        ]
        indexes = [
            models.Index(fields=("-captured_at", "-id"), name="event_recent"),
            models.Index(fields=("meter", "-captured_at", "-id"), name="event_meter_recent"),
        ]

    def __str__(self) -> str:
        return f"{self.meter_id} {self.code}"
