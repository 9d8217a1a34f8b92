"""Orders to meters from the site: one confirmation page for one meter or many, with count and reason."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.admin import ModelAdmin
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse

from meters.errors import IdempotencyConflict, Refused
from meters.models import Command, Link, Meter
from meters.services import PERMISSIONS, REASON_MAX, order_commands

#: so many at once; a batch is more, and is planned elsewhere
METERS_MAX = 1000
METERS_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Order:
    title: str
    button: str
    explanation: str
    dangerous: bool = False


ORDERS: dict[str, Order] = {
    Command.Kind.REGISTERS_READ: Order(
        "Read now", "Read now", "The registers of the meter's type are read and stored."
    ),
    Command.Kind.CLOCK_READ: Order("Read the clock", "Read the clock", "The clock's drift is measured."),
    Command.Kind.EVENTS_READ: Order(
        "Read the event log", "Read the event log", "The latest days of the standard event log are read."
    ),
    Command.Kind.ASSOCIATION_TEST: Order(
        "Test the associations",
        "Associate",
        "Each association of the meter's type is opened and released: keys, addresses, counters.",
    ),
    Command.Kind.RELAY_DISCONNECT: Order(
        "Disconnect",
        "Disconnect",
        "The relay is opened: the customer is without supply. The state is read back as proof.",
        dangerous=True,
    ),
    Command.Kind.RELAY_RECONNECT: Order(
        "Reconnect",
        "Reconnect",
        "The relay is closed or made ready, by its control mode. The state is read back as proof.",
        dangerous=True,
    ),
}


class OrderForm(forms.Form):
    reason = forms.CharField(
        max_length=REASON_MAX,
        widget=forms.Textarea(attrs={"rows": 2, "cols": 80, "autofocus": True}),
        help_text="Kept in the audit with your name.",
    )
    #: makes a second click the same order
    once = forms.UUIDField(widget=forms.HiddenInput)


def confirmation(
    model_admin: ModelAdmin,
    request: HttpRequest,
    kind: str,
    queryset: QuerySet[Meter],
    form: OrderForm | None = None,
) -> HttpResponse:
    """The page that asks before anything is ordered."""
    order = _allowed(request, kind)
    meters = _meters(queryset)
    if not 1 <= len(meters) <= METERS_MAX:
        return _not_so_many(request)
    refused = [meter for meter in meters if meter.state not in Meter.OPERATED]
    present = sum(_is_present(meter) for meter in meters)
    context = {
        **model_admin.admin_site.each_context(request),
        "title": order.title,
        "opts": model_admin.model._meta,
        "kind": str(kind),
        "order": order,
        "meters": meters[:METERS_SHOWN],
        "ids": [meter.pk for meter in meters],
        "count": len(meters),
        "more": max(0, len(meters) - METERS_SHOWN),
        "present": present,
        "absent": len(meters) - present,
        "refused": refused[:METERS_SHOWN],
        "form": form or OrderForm(initial={"once": uuid.uuid4()}),
        "media": model_admin.media,
    }
    return TemplateResponse(request, "admin/meters/meter/order.html", context)


def order_view(model_admin: ModelAdmin, request: HttpRequest, kind: str) -> HttpResponse:
    """GET ?meter=ID asks; POST with a reason orders."""
    _allowed(request, kind)
    posted = request.method == "POST"
    ids = [text for text in (request.POST if posted else request.GET).getlist("meter") if text.isdecimal()]
    queryset = Meter.objects.filter(pk__in=ids[: METERS_MAX + 1])
    form = OrderForm(request.POST) if posted else None
    if form is None or not form.is_valid():
        return confirmation(model_admin, request, kind, queryset, form)
    meters = _meters(queryset)
    if not 1 <= len(meters) <= METERS_MAX:
        return _not_so_many(request)
    try:
        commands = order_commands(
            meters=meters,
            kind=kind,
            user=request.user,
            reason=form.cleaned_data["reason"],
            idempotency_key=f"admin:{form.cleaned_data['once']}",
        )
    except IdempotencyConflict:
        messages.warning(request, "This was ordered already; nothing was ordered twice.")
    except Refused as error:
        form.add_error(None, error.detail)
        return confirmation(model_admin, request, kind, queryset, form)
    else:
        messages.success(request, f"{ORDERS[kind].title}: ordered for {_counted(commands)}.")
    if len(meters) == 1:
        return redirect("admin:meters_meter_change", meters[0].pk)
    return redirect("admin:meters_command_changelist")


def _allowed(request: HttpRequest, kind: str) -> Order:
    if kind not in ORDERS:
        raise Http404
    if not request.user.has_perm(PERMISSIONS[kind]) or not request.user.has_perm("meters.view_meter"):
        raise PermissionDenied
    return ORDERS[kind]


def _not_so_many(request: HttpRequest) -> HttpResponse:
    messages.error(request, f"Choose 1 to {METERS_MAX} meters.")
    return redirect("admin:meters_meter_changelist")


def _meters(queryset: QuerySet[Meter]) -> list[Meter]:
    return list(queryset.select_related("meter_type", "link").order_by("serial")[: METERS_MAX + 1])


def _is_present(meter: Meter) -> bool:
    link: Any = getattr(meter, "link", None)
    return link is not None and link.state == Link.State.PRESENT


def _counted(commands: list[Command]) -> str:
    return commands[0].meter.serial if len(commands) == 1 else f"{len(commands)} meters"
