"""What a meter's page shows of its life: link, last outcome, relay, what is due, recent commands."""

from __future__ import annotations

from typing import Any

from django.urls import NoReverseMatch, reverse

from meters.admin.base import error_badge
from meters.admin.commands import state_badge
from meters.admin.links import presence_badge
from meters.hints import explain
from meters.models import AuditEntry, Command, DueRead, Meter

COMMANDS_SHOWN = 20
AUDIT_SHOWN = 10

#: Blue Book, disconnect control: control_state
CONTROL_STATES = {0: "disconnected", 1: "connected", 2: "ready for reconnection"}


def panel_of(meter: Meter) -> dict[str, Any]:
    """Everything the panel's template needs, in four bounded queries."""
    link = getattr(meter, "link", None)
    commands = Command.objects.filter(meter=meter).select_related("requested_by")[:COMMANDS_SHOWN]
    due = DueRead.objects.filter(meter=meter).select_related("plan").order_by("priority", "plan__name")
    return {
        "meter": meter,
        "link": link,
        "presence": presence_badge(link),
        "error": error_badge(meter.last_error_code),
        "explanation": explain(meter.last_error_code) if meter.last_error_code else None,
        "control_state": CONTROL_STATES.get(meter.control_state, meter.control_state),
        "commands": [
            {
                "row": command,
                "state": state_badge(command),
                "error": error_badge(command.error_code, command.error_detail),
            }
            for command in commands
        ],
        "due": [{"row": row, "error": error_badge(row.last_error)} for row in due if row.plan.enabled],
        "audit": AuditEntry.objects.filter(meter=meter).select_related("actor")[:AUDIT_SHOWN],
        "readings_url": _url("admin:readings_meter", meter.pk),
    }


def _url(name: str, *args: Any) -> str | None:
    """A view of an app above this one, which may not be there."""
    try:
        return reverse(name, args=args)
    except NoReverseMatch:
        return None
