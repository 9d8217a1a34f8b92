"""Meter types: how a kind of meter is spoken to and what it offers, as data."""

from __future__ import annotations

from django.contrib.postgres.fields import ArrayField
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models


class Purpose(models.TextChoices):
    """What an association of a type may be used for; the first fitting one is taken, by its position."""

    READ = "read", "read registers, profiles, clock"
    COMMAND = "command", "switch the relay"
    PUBLIC = "public", "read the invocation counter without keys"


class Authentication(models.TextChoices):
    """Authentication mechanisms (Green Book, COSEM authentication mechanism names)."""

    LOWEST = "lowest", "lowest (0): none"
    LLS = "lls", "low (1): password"
    HLS_GMAC = "hls_gmac", "high (5): GMAC"


class MeterType(models.Model):
    name = models.CharField(max_length=64, unique=True)
    manufacturer = models.CharField(max_length=64, blank=True)
    description = models.TextField(blank=True)
    server_address = models.PositiveIntegerField(default=1, help_text="Wrapper wPort of the logical device.")
    time_zone = models.CharField(
        max_length=64,
        default="UTC",
        help_text="IANA zone of the meter's clock, where its time stamps carry no deviation.",
    )
    deviation_inverted = models.BooleanField(
        default=False, help_text="The maker sends the deviation with the opposite sign."
    )
    null_data_repeats = models.BooleanField(
        default=False,
        help_text="In profiles, null-data in a channel means the value of the row before; "
        "otherwise: no value.",
    )
    request_pause_s = models.FloatField(
        default=0.0,
        validators=[MinValueValidator(0.0), MaxValueValidator(10.0)],
        help_text="Wait this long before each request, for meters that miss one that comes at once.",
    )
    max_pdu_bytes = models.PositiveIntegerField(
        default=65535,
        validators=[MinValueValidator(64), MaxValueValidator(65535)],
        help_text="Proposed in the AARQ.",
    )
    response_timeout_s = models.FloatField(
        default=20.0, validators=[MinValueValidator(0.1), MaxValueValidator(600)]
    )
    event_log = models.CharField(
        max_length=32, default="0-0:99.98.0.255", help_text="Logical name of the standard log."
    )
    disconnect_control = models.CharField(max_length=32, default="0-0:96.3.10.255", blank=True)
    invocation_counter = models.CharField(
        max_length=32,
        default="0-0:43.1.0.255",
        blank=True,
        help_text="Readable over the public client, or blank.",
    )

    class Meta:
        ordering = ("name",)

    def __str__(self) -> str:
        return self.name


class Association(models.Model):
    """One application association that meters of a type accept."""

    class Ciphering(models.TextChoices):
        NONE = "none", "plain"
        AUTHENTICATED_ENCRYPTION = (
            "authenticated_encryption",
            "suite 0, global keys, authenticated encryption",
        )

    meter_type = models.ForeignKey(MeterType, on_delete=models.CASCADE, related_name="associations")
    name = models.CharField(max_length=32)
    position = models.PositiveSmallIntegerField(default=0)
    client_address = models.PositiveIntegerField(
        help_text="Wrapper wPort of the client: 16 public, 1 management."
    )
    authentication = models.CharField(max_length=16, choices=Authentication, default=Authentication.HLS_GMAC)
    ciphering = models.CharField(max_length=32, choices=Ciphering, default=Ciphering.AUTHENTICATED_ENCRYPTION)
    purposes = ArrayField(models.CharField(max_length=16, choices=Purpose), default=list)

    class Meta:
        ordering = ("meter_type", "position", "id")
        constraints = [
            models.UniqueConstraint(fields=("meter_type", "name"), name="association_name_per_type"),
        ]

    def __str__(self) -> str:
        return f"{self.meter_type}: {self.name}"


class TypeRegister(models.Model):
    """One register of the type's instantaneous set. A null scaler is read from the meter and kept here."""

    meter_type = models.ForeignKey(MeterType, on_delete=models.CASCADE, related_name="registers")
    position = models.PositiveSmallIntegerField(default=0)
    class_id = models.PositiveSmallIntegerField(default=3)
    logical_name = models.CharField(max_length=32)
    attribute = models.SmallIntegerField(default=2)
    scaler = models.SmallIntegerField(null=True, blank=True)
    unit = models.PositiveSmallIntegerField(null=True, blank=True, help_text="Blue Book unit code.")

    class Meta:
        ordering = ("meter_type", "position", "id")
        constraints = [
            models.UniqueConstraint(
                fields=("meter_type", "logical_name", "attribute"), name="register_per_type"
            ),
        ]

    def __str__(self) -> str:
        return self.logical_name
