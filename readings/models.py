"""Tables of readings. The interval tables are partitioned by RunSQL (`readings.partitions`)."""

from __future__ import annotations

from django.contrib.postgres.fields import ArrayField
from django.db import models

from meters.models import Meter, MeterType


class ProfileLayout(models.Model):
    """The columns of a profile as meters of a type capture them; shared, versioned, never changed."""

    meter_type = models.ForeignKey(MeterType, on_delete=models.PROTECT, related_name="layouts")
    logical_name = models.CharField(max_length=32)
    version = models.PositiveIntegerField(default=1)
    capture_period_s = models.PositiveIntegerField(help_text="0: captured on events.")
    fingerprint = models.CharField(max_length=64, help_text="SHA-256 over period and columns.")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("meter_type", "logical_name", "version")
        constraints = [
            models.UniqueConstraint(fields=("meter_type", "logical_name", "version"), name="layout_version"),
            models.UniqueConstraint(
                fields=("meter_type", "logical_name", "fingerprint"), name="layout_fingerprint"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.logical_name} v{self.version}"


class LayoutColumn(models.Model):
    """One captured object. Channels are numbered in `position` order; clock and status are no channels."""

    class Role(models.TextChoices):
        CLOCK = "clock", "clock"
        STATUS = "status", "status"
        CHANNEL = "channel", "channel"

    layout = models.ForeignKey(ProfileLayout, on_delete=models.CASCADE, related_name="columns")
    position = models.PositiveSmallIntegerField()
    role = models.CharField(max_length=8, choices=Role)
    class_id = models.PositiveSmallIntegerField()
    logical_name = models.CharField(max_length=32)
    attribute = models.SmallIntegerField()
    data_index = models.PositiveIntegerField(default=0)
    scaler = models.SmallIntegerField(default=0)
    unit = models.PositiveSmallIntegerField(default=255, help_text="Blue Book unit code; 255: no unit.")
    coding = models.CharField(max_length=8, default="int")
    null_repeats = models.BooleanField(
        default=False, help_text="null-data repeats the value of the row before."
    )

    class Meta:
        ordering = ("layout", "position")
        constraints = [models.UniqueConstraint(fields=("layout", "position"), name="column_position")]

    def __str__(self) -> str:
        return self.logical_name


class MeterProfile(models.Model):
    """Which layout a meter's profile has, as read from the meter itself, and how far its rows are stored."""

    #: found by the constraint's index
    meter = models.ForeignKey(Meter, on_delete=models.PROTECT, related_name="profiles", db_index=False)
    logical_name = models.CharField(max_length=32)
    layout = models.ForeignKey(ProfileLayout, on_delete=models.PROTECT, related_name="+")
    verified_at = models.DateTimeField()
    high_water = models.DateTimeField(null=True, help_text="captured_at of the newest stored row.")

    class Meta:
        constraints = [models.UniqueConstraint(fields=("meter", "logical_name"), name="profile_per_meter")]

    def __str__(self) -> str:
        return f"{self.meter_id} {self.logical_name}"


class IntervalRow(models.Model):
    """One row of a profile buffer: all channels of one meter at one time. Partitioned by `captured_at`."""

    pk = models.CompositePrimaryKey("meter_id", "layout_id", "captured_at", "ordinal")
    meter = models.ForeignKey(Meter, on_delete=models.DO_NOTHING, db_constraint=False, related_name="+")
    layout = models.ForeignKey(
        ProfileLayout, on_delete=models.DO_NOTHING, db_constraint=False, related_name="+"
    )
    captured_at = models.DateTimeField()
    ordinal = models.SmallIntegerField(default=0)
    clock_status = models.SmallIntegerField(default=0)
    status = models.BigIntegerField(null=True)
    values = ArrayField(models.BigIntegerField(null=True))
    extra = models.BinaryField(null=True)
    read_at = models.DateTimeField()

    class Meta:
        managed = True
        db_table = "readings_interval"

    def __str__(self) -> str:
        return f"{self.meter_id} {self.captured_at:%Y-%m-%dT%H:%M}"


class IntervalRevision(models.Model):
    """An earlier version of a row, kept when a later read differs."""

    meter_id = models.BigIntegerField()
    layout_id = models.BigIntegerField()
    captured_at = models.DateTimeField()
    ordinal = models.SmallIntegerField(default=0)
    clock_status = models.SmallIntegerField(default=0)
    status = models.BigIntegerField(null=True)
    values = ArrayField(models.BigIntegerField(null=True))
    extra = models.BinaryField(null=True)
    read_at = models.DateTimeField()
    replaced_at = models.DateTimeField()

    class Meta:
        db_table = "readings_interval_revision"
        constraints = [
            models.UniqueConstraint(
                fields=("meter_id", "layout_id", "captured_at", "ordinal", "read_at"),
                name="interval_revision_key",
            )
        ]

    def __str__(self) -> str:
        return f"{self.meter_id} {self.captured_at:%Y-%m-%dT%H:%M} read {self.read_at:%Y-%m-%dT%H:%M}"


class RejectedRow(models.Model):
    """A row that could not be stored (out of the window ...), with the code of the cause; none is lost."""

    meter_id = models.BigIntegerField()
    layout_id = models.BigIntegerField(null=True)
    captured_at = models.DateTimeField(null=True)
    code = models.CharField(max_length=64)
    row = models.JSONField(default=dict)
    digest = models.CharField(max_length=32, help_text="Of the row: it is kept once, however often it comes.")
    rejected_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=("meter_id", "layout_id", "digest"), name="rejected_row_once", nulls_distinct=False
            )
        ]
        indexes = [models.Index(fields=("meter_id", "-rejected_at"), name="rejected_row_meter")]

    def __str__(self) -> str:
        return f"{self.meter_id} {self.code}"


class RegisterValue(models.Model):
    """One register as read at a time: `value` x 10^`scaler` in `unit`, or its A-XDR in `extra`."""

    #: found by the constraint's index
    meter = models.ForeignKey(Meter, on_delete=models.PROTECT, related_name="register_values", db_index=False)
    logical_name = models.CharField(max_length=32)
    attribute = models.SmallIntegerField(default=2)
    captured_at = models.DateTimeField()
    coding = models.CharField(max_length=8, default="int")
    value = models.BigIntegerField(null=True)
    scaler = models.SmallIntegerField(default=0)
    unit = models.PositiveSmallIntegerField(default=255)
    extra = models.BinaryField(null=True)
    read_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=("meter", "logical_name", "attribute", "captured_at"), name="register_value_key"
            )
        ]

    def __str__(self) -> str:
        return f"{self.meter_id} {self.logical_name}"
