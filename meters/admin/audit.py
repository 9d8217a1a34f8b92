"""The audit trail, to look at."""

from __future__ import annotations

from django.contrib import admin

from meters.admin.base import ReadOnlyAdmin
from meters.models import AuditEntry


@admin.register(AuditEntry)
class AuditEntryAdmin(ReadOnlyAdmin):
    list_display = ("at", "actor", "action", "meter", "subject", "reason")
    list_select_related = ("actor", "meter")
    search_fields = ("meter__serial__startswith", "subject__startswith")
    search_help_text = "Beginning of a meter's serial, or of the subject."
    sortable_by = ()
