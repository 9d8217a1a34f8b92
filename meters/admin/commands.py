"""Commands and what came of them, to look at; orders are given from the meters' pages."""

from __future__ import annotations

import json
from typing import Any

from django.contrib import admin
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.text import Truncator

from meters.admin.base import ReadOnlyAdmin, badge, error_badge, short_time
from meters.hints import explain
from meters.models import Command

LOOKS = {
    Command.State.QUEUED: "busy",
    Command.State.RUNNING: "busy",
    Command.State.CONFIRMED: "good",
    Command.State.FAILED: "bad",
    Command.State.UNKNOWN: "bad",
    Command.State.EXPIRED: "warn",
}


def state_badge(command: Command) -> SafeString:
    return badge(command.get_state_display(), LOOKS[Command.State(command.state)])


def shown_json(value: Any) -> SafeString | str:
    if value is None:
        return "-"
    return format_html('<pre class="json">{}</pre>', json.dumps(value, indent=2, ensure_ascii=False))


@admin.register(Command)
class CommandAdmin(ReadOnlyAdmin):
    list_display = (
        "ordered",
        "meter",
        "kind",
        "shown_state",
        "shown_error",
        "by",
        "shown_reason",
        "took",
    )
    list_display_links = ("ordered", "kind")
    list_select_related = ("meter", "requested_by")
    list_filter = ("state", "kind")
    search_fields = ("meter__serial__startswith",)
    search_help_text = "Beginning of a meter's serial."
    sortable_by = ()
    fieldsets = (
        (None, {"fields": ("id", "meter", "kind", "shown_parameters", "requested_by", "reason")}),
        ("Outcome", {"fields": ("shown_state", "error", "shown_result")}),
        (
            "Times",
            {"fields": ("created_at", "not_after", "started_at", "acted_at", "finished_at", "attempts")},
        ),
    )

    @admin.display(description="state")
    def shown_state(self, command: Command) -> SafeString:
        return state_badge(command)

    @admin.display(description="error")
    def shown_error(self, command: Command) -> SafeString | str:
        return error_badge(command.error_code, command.error_detail)

    @admin.display(description="ordered")
    def ordered(self, command: Command) -> SafeString | str:
        return short_time(command.created_at)

    @admin.display(description="by")
    def by(self, command: Command) -> str:
        return command.requested_by.get_username() if command.requested_by else "system"

    @admin.display(description="reason")
    def shown_reason(self, command: Command) -> SafeString | str:
        return format_html('<span title="{}">{}</span>', command.reason, Truncator(command.reason).chars(24))

    @admin.display(description="took")
    def took(self, command: Command) -> str:
        if command.finished_at is None:
            return "-"
        return f"{(command.finished_at - command.created_at).total_seconds():.1f} s"

    @admin.display(description="error")
    def error(self, command: Command) -> SafeString | str:
        if not command.error_code:
            return "-"
        return format_html(
            "{} {}<br><em>{}</em>",
            error_badge(command.error_code),
            command.error_detail,
            explain(command.error_code).hint,
        )

    @admin.display(description="parameters")
    def shown_parameters(self, command: Command) -> SafeString | str:
        return shown_json(command.parameters or None)

    @admin.display(description="result")
    def shown_result(self, command: Command) -> SafeString | str:
        return shown_json(command.result)
