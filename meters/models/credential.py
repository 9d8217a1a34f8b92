"""Keys, passwords and the invocation counters that belong to them."""

from __future__ import annotations

from django.db import models

from meters.models.meter import Meter


class Credential(models.Model):
    """One secret of a meter, enveloped (`meters.credentials`); write-only everywhere outside the workers."""

    class Kind(models.TextChoices):
        GUEK = "guek", "global unicast encryption key"
        GAK = "gak", "global authentication key"
        LLS_PASSWORD = "lls_password", "LLS password"

    meter = models.ForeignKey(Meter, on_delete=models.PROTECT, related_name="credentials")
    kind = models.CharField(max_length=16, choices=Kind)
    sealed = models.BinaryField()
    changed_at = models.DateTimeField(auto_now=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=("meter", "kind"), name="credential_kind_per_meter")]

    def __str__(self) -> str:
        return f"{self.meter_id}: {self.kind}"


class InvocationCounter(models.Model):
    """The next counter that we may send under a key with a system title of ours.

    Part of every GCM nonce: it never repeats for a key and never falls. Blocks are reserved by
    `meters.counters` in a committed statement of its own before the first one is used. A key that changes
    gets a new row (`key_id`).
    """

    credential = models.ForeignKey(Credential, on_delete=models.PROTECT, related_name="counters")
    key_id = models.CharField(max_length=32, help_text="Fingerprint of the key that the counter belongs to.")
    system_title = models.CharField(max_length=16, help_text="Our own, 16 hex digits.")
    next_value = models.BigIntegerField(default=0)
    last_jump = models.BigIntegerField(default=0)
    last_jump_cause = models.CharField(max_length=64, blank=True)
    last_jump_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=("key_id", "system_title"), name="invocation_counter_per_key_and_title"
            ),
            models.CheckConstraint(
                condition=models.Q(next_value__gte=0, next_value__lte=0x1_0000_0000),
                name="invocation_counter_32_bits",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.system_title}: {self.next_value}"


class ReceivedCounter(models.Model):
    """The highest counter accepted from a meter's system title under a key; a lower one is always refused."""

    key_id = models.CharField(max_length=32)
    system_title = models.CharField(max_length=16)
    highest = models.BigIntegerField()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=("key_id", "system_title"), name="received_counter_per_key_and_title"
            )
        ]

    def __str__(self) -> str:
        return f"{self.system_title}: {self.highest}"
