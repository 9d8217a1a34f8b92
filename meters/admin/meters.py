"""Meters: the list, and a page each with its link, its last error, its commands and what can be ordered."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.urls import URLPattern, path
from django.utils.safestring import SafeString

from meters.admin.base import BigTableAdmin, badge, error_badge, short_time
from meters.admin.links import presence_badge
from meters.admin.meter_forms import SECRET_FIELDS, MeterForm
from meters.admin.orders import ORDERS, confirmation, order_view
from meters.admin.panel import panel_of
from meters.models import Command, Link, Meter
from meters.registration import FIELDS, change_meter, create_meter
from meters.services import PERMISSIONS


class PresenceFilter(admin.SimpleListFilter):
    title = "presence"
    parameter_name = "presence"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("present", "present"), ("absent", "absent"), ("never", "never seen")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Meter]) -> QuerySet[Meter]:
        match self.value():
            case "present" | "absent" as state:
                return queryset.filter(link__state=state)
            case "never":
                return queryset.filter(link=None)
        return queryset


class LastErrorFilter(admin.SimpleListFilter):
    title = "last error"
    parameter_name = "error"
    #: codes offered: those that stand on records now
    CODES_MAX = 40

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        codes = Meter.objects.exclude(last_error_code="").order_by("last_error_code")
        found = codes.values_list("last_error_code", flat=True).distinct()[: self.CODES_MAX]
        return [("none", "none"), ("any", "any"), *((code, code) for code in found)]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Meter]) -> QuerySet[Meter]:
        match self.value():
            case None:
                return queryset
            case "none":
                return queryset.filter(last_error_code="")
            case "any":
                return queryset.exclude(last_error_code="")
            case code:
                return queryset.filter(last_error_code=code)


@admin.register(Meter)
class MeterAdmin(BigTableAdmin):
    form = MeterForm
    change_form_template = "admin/meters/meter/change_form.html"
    list_display = ("serial", "meter_type", "state", "presence", "shown_error", "last_ok", "relay")
    list_select_related = ("meter_type", "link")
    list_filter = ("state", PresenceFilter, LastErrorFilter, "meter_type")
    search_fields = ("serial__startswith", "system_title__startswith")
    search_help_text = "Beginning of a serial, or of a system title."
    sortable_by = ("serial",)
    autocomplete_fields = ("meter_type",)
    actions = tuple(f"order_{kind}" for kind in ORDERS)

    # --- the list

    @admin.display(description="presence")
    def presence(self, meter: Meter) -> SafeString:
        return presence_badge(link_of(meter))

    @admin.display(description="last error")
    def shown_error(self, meter: Meter) -> SafeString | str:
        return error_badge(meter.last_error_code, meter.last_error_detail)

    @admin.display(description="last good")
    def last_ok(self, meter: Meter) -> SafeString | str:
        return short_time(meter.last_ok_at)

    @admin.display(description="relay")
    def relay(self, meter: Meter) -> SafeString | str:
        return relay_badge(meter)

    # --- the page

    def get_fieldsets(self, request: HttpRequest, obj: Meter | None = None) -> Any:
        names = list(FIELDS)
        sections: list[tuple[str | None, dict[str, Any]]] = [(None, {"fields": names})]
        if self._may_set_secrets(request) and (obj is None or self.has_change_permission(request, obj)):
            text = "Write-only: what is stored is never shown. Leave blank what is to stay as it is."
            sections.append(("Secrets", {"fields": list(SECRET_FIELDS), "description": text}))
        if obj is None or self.has_change_permission(request, obj):
            sections.append(("For the audit", {"fields": ["reason"]}))
        return sections

    def get_form(self, request: HttpRequest, obj: Meter | None = None, **kwargs: Any) -> Any:
        form = super().get_form(request, obj, **kwargs)
        if "meter_type" in form.base_fields:
            widget = form.base_fields["meter_type"].widget
            widget.can_add_related = widget.can_change_related = widget.can_delete_related = False
        return form

    def get_readonly_fields(self, request: HttpRequest, obj: Meter | None = None) -> tuple[str, ...]:
        return ("serial",) if obj is not None else ()

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Meters are never deleted: they are set to removed."""
        return False

    def save_model(self, request: HttpRequest, meter: Meter, form: MeterForm, change: bool) -> None:
        cleaned = form.cleaned_data
        secrets = {kind: cleaned[kind] for kind in SECRET_FIELDS if cleaned.get(kind)}
        if secrets and not self._may_set_secrets(request):
            raise PermissionDenied
        facts = {name: cleaned[name] for name in FIELDS if name in cleaned}
        if change:
            facts = {name: value for name, value in facts.items() if name in form.changed_data}
            change_meter(meter, facts, user=request.user, reason=cleaned["reason"], secrets=secrets)
        else:
            made = create_meter(user=request.user, reason=cleaned["reason"], secrets=secrets, **facts)
            meter.pk = made.pk

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        meter = kwargs.get("obj")
        if meter is not None:
            context |= {"panel": panel_of(meter), "orders": self._orders(request)}
        return super().render_change_form(request, context, *args, **kwargs)

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        return [
            path("order/<str:kind>/", wrap(self.order), name="meters_meter_order"),
            path("<int:meter_id>/panel/", wrap(self.panel), name="meters_meter_panel"),
            *super().get_urls(),
        ]

    def panel(self, request: HttpRequest, meter_id: int) -> HttpResponse:
        """The live part of a meter's page, fetched again and again."""
        meters = Meter.objects.select_related("meter_type", "link")
        meter = get_object_or_404(meters, pk=meter_id)
        if not self.has_view_permission(request, meter):
            return HttpResponse(status=403)
        return render(request, "admin/meters/meter/panel.html", {"panel": panel_of(meter)})

    # --- orders

    def order(self, request: HttpRequest, kind: str) -> HttpResponse:
        return order_view(self, request, kind)

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        made = {}
        for kind, order in ORDERS.items():
            if request.user.has_perm(PERMISSIONS[kind]):
                made[f"order_{kind}"] = (_action(kind), f"order_{kind}", order.title)
        return made

    def _orders(self, request: HttpRequest) -> list[tuple[str, Any]]:
        return [(kind, order) for kind, order in ORDERS.items() if request.user.has_perm(PERMISSIONS[kind])]

    def _may_set_secrets(self, request: HttpRequest) -> bool:
        return request.user.has_perm("meters.change_credential")


def link_of(meter: Meter) -> Link | None:
    return getattr(meter, "link", None)


def relay_badge(meter: Meter) -> SafeString | str:
    if meter.output_state is None:
        return "-"
    title = f"control_state {meter.control_state}, control_mode {meter.control_mode}"
    return badge("connected", "good", title) if meter.output_state else badge("disconnected", "bad", title)


def _action(kind: str) -> Any:
    def run(model_admin: MeterAdmin, request: HttpRequest, queryset: QuerySet[Meter]) -> HttpResponse:
        return confirmation(model_admin, request, Command.Kind(kind), queryset)

    return run
