"""The operator's site: events, newest first, and the tables of codes."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import OuterRef, Q, QuerySet, Subquery
from django.http import HttpRequest
from django.utils.safestring import SafeString

from events.models import Event, EventCode
from meters.admin.base import BigTableAdmin, ReadOnlyAdmin, badge

LOOKS = {
    EventCode.Severity.INFO: "plain",
    EventCode.Severity.WARNING: "warn",
    EventCode.Severity.ALARM: "bad",
}


@admin.register(Event)
class EventAdmin(ReadOnlyAdmin):
    list_display = ("captured_at", "meter", "meaning", "code", "log", "clock_status", "read_at")
    list_select_related = ("meter",)
    search_fields = ("meter__serial__startswith",)
    search_help_text = "Beginning of a meter's serial."
    sortable_by = ()
    ordering = ("-captured_at", "-id")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Event]:
        # the type's own row goes before the one of no type
        rows = EventCode.objects.filter(
            Q(meter_type=OuterRef("meter__meter_type")) | Q(meter_type=None),
            log=OuterRef("log"),
            code=OuterRef("code"),
        ).order_by("meter_type")
        return (
            super()
            .get_queryset(request)
            .annotate(
                code_name=Subquery(rows.values("name")[:1]),
                code_severity=Subquery(rows.values("severity")[:1]),
            )
        )

    @admin.display(description="event")
    def meaning(self, event: Any) -> SafeString:
        if event.code_name is None:
            return badge(f"code {event.code}", "plain", "no table names this code")
        return badge(event.code_name, LOOKS[event.code_severity])


@admin.register(EventCode)
class EventCodeAdmin(BigTableAdmin):
    list_display = ("log", "code", "name", "severity", "meter_type")
    list_select_related = ("meter_type",)
    list_filter = ("severity", "meter_type")
    search_fields = ("name__istartswith",)
    autocomplete_fields = ("meter_type",)
