"""Links as the gateway nodes reported them; written only by `meters.presence`."""

from __future__ import annotations

from django.db import models

from meters.models.meter import Meter


class Link(models.Model):
    class State(models.TextChoices):
        PRESENT = "present", "present"
        ABSENT = "absent", "absent"

    meter = models.OneToOneField(Meter, on_delete=models.PROTECT, related_name="link", primary_key=True)
    state = models.CharField(max_length=8, choices=State)
    node = models.CharField(max_length=128, blank=True)
    incarnation = models.CharField(max_length=32, blank=True)
    connection = models.BigIntegerField(default=0)
    peer = models.CharField(max_length=64, blank=True)
    since = models.DateTimeField()
    last_seen = models.DateTimeField()
    reason = models.CharField(max_length=32, blank=True, help_text="Why it is absent.")
    clashes = models.PositiveIntegerField(
        default=0, help_text="Other connections that claimed this identity."
    )
    last_clash_at = models.DateTimeField(null=True)

    class Meta:
        indexes = [
            models.Index(
                fields=("incarnation",), name="link_incarnation", condition=models.Q(state="present")
            ),
            models.Index(fields=("state",), name="link_state"),
        ]

    def __str__(self) -> str:
        return f"{self.meter_id} {self.state}"


class UnknownPeer(models.Model):
    """Somebody who logged in with an identity that is no meter's; bounded by `meters.presence`."""

    identity = models.CharField(max_length=64, unique=True)
    peer = models.CharField(max_length=64, blank=True)
    node = models.CharField(max_length=128, blank=True)
    first_seen = models.DateTimeField()
    last_seen = models.DateTimeField()
    logins = models.PositiveIntegerField(default=1)

    class Meta:
        ordering = ("-last_seen",)

    def __str__(self) -> str:
        return self.identity
