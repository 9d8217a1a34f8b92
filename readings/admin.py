"""The operator's site: a meter's readings in a view of their own, layouts, rejected rows.

Interval rows have a composite key, which Django's admin does not take; nobody edits them anyway.
"""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.urls import path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from meters.admin.base import ReadOnlyAdmin
from readings.meter_page import meter_readings
from readings.models import LayoutColumn, MeterProfile, ProfileLayout, RejectedRow


class LayoutColumnInline(admin.TabularInline):
    model = LayoutColumn
    extra = 0
    can_delete = False
    fields = (
        "position",
        "role",
        "class_id",
        "logical_name",
        "attribute",
        "scaler",
        "unit",
        "coding",
        "null_repeats",
    )

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(ProfileLayout)
class ProfileLayoutAdmin(ReadOnlyAdmin):
    list_display = ("meter_type", "logical_name", "version", "capture_period_s", "created_at")
    list_select_related = ("meter_type",)
    list_filter = ("meter_type",)
    search_fields = ("logical_name__startswith",)
    inlines = (LayoutColumnInline,)


@admin.register(MeterProfile)
class MeterProfileAdmin(ReadOnlyAdmin):
    list_display = ("meter", "logical_name", "layout", "high_water", "verified_at", "readings")
    list_select_related = ("meter", "layout")
    search_fields = ("meter__serial__startswith",)
    search_help_text = "Beginning of a meter's serial."
    sortable_by = ()
    ordering = ("meter_id", "logical_name")

    @admin.display(description="")
    def readings(self, profile: MeterProfile) -> SafeString:
        url = reverse("admin:readings_meter", args=[profile.meter_id])
        return format_html('<a href="{}?profile={}">readings</a>', url, profile.logical_name)


@admin.register(RejectedRow)
class RejectedRowAdmin(ReadOnlyAdmin):
    list_display = ("rejected_at", "meter_id", "layout_id", "captured_at", "code")
    list_filter = ("code",)
    search_fields = ("=meter_id",)
    search_help_text = "Number of a meter."
    sortable_by = ()
    ordering = ("-id",)


def _with_readings(site: admin.AdminSite) -> None:
    """Add the view to the site's own URLs: it belongs to no model's."""
    inner = site.get_urls

    def get_urls() -> list[Any]:
        view = site.admin_view(meter_readings)
        return [path("readings/meter/<int:meter_id>/", view, name="readings_meter"), *inner()]

    site.get_urls = get_urls  # type: ignore[method-assign]


_with_readings(admin.site)
