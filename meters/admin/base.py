"""What the site's pages share: lists that never count a big table, rows that machines write, badges."""

from __future__ import annotations

import datetime as dt
from functools import cached_property
from typing import Any

from django.contrib import admin
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.text import capfirst

from meters.hints import explain

#: a list counts, and pages through, at most this many rows; beyond, one filters or searches
COUNT_MAX = 10_000


class BoundedPaginator(Paginator):
    """Counts no further than COUNT_MAX, so that a list costs the same however big its table is."""

    @cached_property
    def count(self) -> int:
        # without order and select_related: an index is enough
        rows = self.object_list.order_by().select_related(None)
        return rows.values("pk")[:COUNT_MAX].count()


class BigTableAdmin(admin.ModelAdmin):
    """Base of every list here."""

    paginator = BoundedPaginator
    show_full_result_count = False
    list_per_page = 50
    list_max_show_all = 200
    show_facets = admin.ShowFacets.NEVER

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        title = {"title": capfirst(self.opts.verbose_name_plural)}
        return super().changelist_view(request, title | (extra_context or {}))

    class Media:
        css = {"all": ("meters/admin.css",)}


class ReadOnlyAdmin(BigTableAdmin):
    """Rows that machines write: looked at, never edited."""

    actions = None

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


def badge(text: str, look: str, title: str = "") -> SafeString:
    """`look`: good | bad | warn | busy | plain."""
    return format_html('<span class="badge badge-{}" title="{}">{}</span>', look, title, text)


def short_time(moment: dt.datetime | None) -> SafeString | str:
    """The time of today, the date of other days; all of it under the pointer."""
    if moment is None:
        return "-"
    moment = moment.astimezone(dt.UTC)
    today = moment.date() == timezone.now().date()
    text = f"{moment:%H:%M:%S}" if today else f"{moment:%Y-%m-%d}"
    return format_html('<span title="{}">{}</span>', f"{moment:%Y-%m-%d %H:%M:%S} UTC", text)


def error_badge(code: str, detail: str = "") -> SafeString | str:
    """An error code whose hint shows under the pointer; a dash where there is none."""
    if not code:
        return "-"
    look = "warn" if explain(code).cause in ("link", "timeout") else "bad"
    return badge(code, look, f"{detail}\n{explain(code).hint}".strip())
