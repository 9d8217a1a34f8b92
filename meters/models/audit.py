"""Who did what, when and why. Rows are only ever added."""

from __future__ import annotations

from django.conf import settings
from django.db import models

from meters.models.meter import Meter


class AuditEntry(models.Model):
    at = models.DateTimeField(auto_now_add=True)
    actor = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, related_name="+")
    meter = models.ForeignKey(Meter, on_delete=models.PROTECT, null=True, related_name="audit_entries")
    action = models.CharField(
        max_length=64, help_text="noun.verb: command.order, meter.change, credential.set ..."
    )
    subject = models.CharField(max_length=128, blank=True, help_text="Id of the row acted on.")
    reason = models.CharField(max_length=500, blank=True)
    facts = models.JSONField(default=dict, blank=True, help_text="What changed, never a secret.")

    class Meta:
        verbose_name_plural = "audit entries"
        ordering = ("-at", "-id")
        indexes = [
            models.Index(fields=("meter", "-at"), name="audit_meter_recent"),
            models.Index(fields=("-at", "-id"), name="audit_recent"),
        ]

    def __str__(self) -> str:
        return f"{self.action} {self.subject}"
