"""The meter: one row a device, never deleted."""

from __future__ import annotations

from django.core.validators import RegexValidator
from django.db import models

from meters.models.type import MeterType


class Meter(models.Model):
    """`serial` is what the meter says in its login frame. `last_*` columns are written by the workers."""

    class State(models.TextChoices):
        PLANNED = "planned", "planned"
        INSTALLED = "installed", "installed"
        COMMISSIONED = "commissioned", "commissioned"
        ACTIVE = "active", "active"
        SUSPENDED = "suspended", "suspended"
        REMOVED = "removed", "removed"

    #: in these states scheduled reads and commands are carried out
    OPERATED = (State.INSTALLED, State.COMMISSIONED, State.ACTIVE)

    serial = models.CharField(
        max_length=64,
        unique=True,
        validators=[RegexValidator(r"\A[A-Za-z0-9._:-]{1,64}\Z", "1 to 64 of A-Z a-z 0-9 . _ : -")],
    )
    meter_type = models.ForeignKey(MeterType, on_delete=models.PROTECT, related_name="meters")
    state = models.CharField(max_length=16, choices=State, default=State.ACTIVE)
    system_title = models.CharField(
        max_length=16,
        null=True,
        blank=True,
        unique=True,
        validators=[RegexValidator(r"\A[0-9a-f]{16}\Z", "16 lower-case hex digits")],
    )
    logical_device_name = models.CharField(max_length=32, blank=True)
    server_address = models.PositiveIntegerField(null=True, blank=True, help_text="Blank: the type's.")
    time_zone = models.CharField(max_length=64, blank=True, help_text="Blank: the type's.")
    note = models.TextField(blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    last_ok_at = models.DateTimeField(null=True, blank=True, editable=False)
    last_error_code = models.CharField(max_length=64, blank=True, editable=False)
    last_error_detail = models.CharField(max_length=500, blank=True, editable=False)
    last_error_at = models.DateTimeField(null=True, blank=True, editable=False)
    clock_drift_s = models.FloatField(null=True, blank=True, editable=False)
    output_state = models.BooleanField(null=True, blank=True, editable=False)
    control_state = models.PositiveSmallIntegerField(null=True, blank=True, editable=False)
    control_mode = models.PositiveSmallIntegerField(null=True, blank=True, editable=False)
    relay_read_at = models.DateTimeField(null=True, blank=True, editable=False)

    class Meta:
        ordering = ("serial",)
        permissions = [
            ("read_meter_now", "Can order a read from a meter"),
            ("associate_meter", "Can order an association test"),
            ("disconnect_meter", "Can disconnect a meter"),
            ("reconnect_meter", "Can reconnect a meter"),
        ]
        indexes = [
            models.Index(fields=("state",), name="meter_state"),
            models.Index(
                fields=("last_error_code",), name="meter_last_error", condition=~models.Q(last_error_code="")
            ),
        ]

    def __str__(self) -> str:
        return self.serial

    @property
    def effective_server_address(self) -> int:
        return self.server_address or self.meter_type.server_address

    @property
    def effective_time_zone(self) -> str:
        return self.time_zone or self.meter_type.time_zone
