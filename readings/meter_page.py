"""A meter's readings in the operator's site: a day of a profile, a chart of a channel, the latest values."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from decimal import Decimal, InvalidOperation
from itertools import pairwise
from typing import Any, Final
from zoneinfo import ZoneInfo

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.utils import timezone
from redis.exceptions import RedisError

from dlms.enums import unit_symbol as symbol
from hes.redis import cache
from meters.models import Meter
from readings import queries
from readings.charts import Chart, chart_of
from readings.layouts import channel_columns
from readings.models import LayoutColumn, MeterProfile, ProfileLayout
from readings.store import time_of
from readings.values import value_json

ROWS_MAX: Final = 5000
FIRST_DAY: Final = date(1970, 1, 1)
LAST_DAY: Final = date(2999, 12, 31)
#: value group D of a cumulative register (time integral 1): what a customer used is the difference of two
_TIME_INTEGRAL: Final = "8"


def meter_readings(request: HttpRequest, meter_id: int) -> HttpResponse:
    """/admin/readings/meter/<id>/?profile=&day=&channel=&show= ; what is malformed becomes the default."""
    if not request.user.has_perm("readings.view_intervalrow"):  # type: ignore[union-attr]
        raise PermissionDenied
    meter = get_object_or_404(Meter.objects.select_related("meter_type"), pk=meter_id)
    zone = ZoneInfo(meter.effective_time_zone)
    profiles = list(MeterProfile.objects.filter(meter=meter).order_by("logical_name"))
    context = {
        **admin.site.each_context(request),
        "title": f"Readings of {meter.serial}",
        "meter": meter,
        "zone": meter.effective_time_zone,
        "latest": _latest(meter, zone),
        "profiles": [profile.logical_name for profile in profiles if _keeps_rows(profile, meter)],
    }
    names: list[str] = context["profiles"]
    if names:
        asked = request.GET.get("profile", "")
        name = asked if asked in names else _first(names)
        newest = next(profile.high_water for profile in profiles if profile.logical_name == name)
        day = _day(request.GET.get("day"), newest or timezone.now(), zone)
        context |= {"profile": name, **_day_of(meter, name, day, zone, request.GET)}
    return TemplateResponse(request, "admin/readings/meter.html", context)


def _keeps_rows(profile: MeterProfile, meter: Meter) -> bool:
    """The event log is a profile, too; its rows are events."""
    return profile.logical_name != meter.meter_type.event_log


def _first(names: Sequence[str]) -> str:
    load_profiles = [name for name in names if name.startswith("1-")]
    return (load_profiles or list(names))[0]


def _day(text: str | None, newest: datetime, zone: tzinfo) -> date:
    try:
        day = date.fromisoformat(text or "")
    except ValueError:
        day = date.min
    if FIRST_DAY <= day <= LAST_DAY:
        return day
    # a row of midnight is the last one of its day
    return (newest - timedelta(microseconds=1)).astimezone(zone).date()


def _day_of(meter: Meter, name: str, day: date, zone: tzinfo, query: Any) -> dict[str, Any]:
    """Rows are stamped at the end of their period: a day is what lies behind its midnight, up to the next."""
    start = datetime.combine(day, time(), zone).astimezone(UTC) + timedelta(microseconds=1)
    following = day + timedelta(days=1)
    end = datetime.combine(following, time(), zone).astimezone(UTC) + timedelta(microseconds=1)
    layouts = queries.layouts_of(meter, name)
    page = queries.profile_page(meter.pk, layouts, start, end, limit=ROWS_MAX)
    layout = page.layout
    if layout is None:
        return {"day": day}
    columns = channel_columns(layout)
    plain = queries.row_formatter(layout)
    rows = [(row, *plain(row)) for row in page.rows]
    until = min(end, timezone.now())
    gaps = queries.gaps([row.captured_at for row in page.rows], start, until, layout.capture_period_s, zone)
    channel = _channel(query.get("channel"), columns)
    show = query.get("show") or _usual_show(columns, channel)
    return {
        "day": day,
        "day_before": day - timedelta(days=1),
        "day_after": following,
        "layout": layout,
        "columns": [(number, column, symbol(column.unit)) for number, column in enumerate(columns)],
        "channel": channel,
        "show": show,
        "chart": _chart(rows, columns, channel, show, start, end, zone, layout),
        "gaps": [
            (first.astimezone(zone), last.astimezone(zone), missing) for first, last, missing in gaps or ()
        ],
        "missing": sum(missing for _, _, missing in gaps or ()),
        "rows": [(row.captured_at.astimezone(zone), row, status, values) for row, status, values in rows],
    }


def _channel(text: str | None, columns: Sequence[LayoutColumn]) -> int:
    number = int(text) if text and text.isascii() and text.isdecimal() and len(text) < 4 else 0
    return number if number < len(columns) else 0


def _usual_show(columns: Sequence[LayoutColumn], channel: int) -> str:
    if not columns:
        return "value"
    groups = columns[channel].logical_name.split(".")
    return "difference" if groups[1] == _TIME_INTEGRAL else "value"


def _chart(
    rows: Sequence[tuple[queries.Row, Any, list[Any]]],
    columns: Sequence[LayoutColumn],
    channel: int,
    show: str,
    start: datetime,
    end: datetime,
    zone: tzinfo,
    layout: ProfileLayout,
) -> Chart | None:
    if not columns:
        return None
    series = [(row.captured_at, _number(values[channel])) for row, _, values in rows]
    break_s = 1.5 * (layout.capture_period_s or 86400)
    if show == "difference":
        series = _differences(series, break_s)
    return chart_of(
        [(moment, None if value is None else float(value)) for moment, value in series],
        start,
        end,
        unit=symbol(columns[channel].unit),
        zone=zone,
        break_s=break_s,
    )


def _number(value: Any) -> Decimal | None:
    try:
        number = Decimal(value) if isinstance(value, str) else None
    except InvalidOperation:
        return None
    return number if number is not None and number.is_finite() else None


def _differences(
    series: Sequence[tuple[datetime, Decimal | None]], break_s: float
) -> list[tuple[datetime, Decimal | None]]:
    """From row to row; none across a gap, where it would be that of many periods."""
    differences = []
    for (earlier, before), (moment, value) in pairwise(series):
        apart = (moment - earlier).total_seconds() > break_s
        differences.append((moment, None if apart or value is None or before is None else value - before))
    return differences


def _latest(meter: Meter, zone: tzinfo) -> list[dict[str, Any]]:
    try:
        values, _ = queries.latest_values(cache(), meter.pk)
    except RedisError:
        values = queries.latest_from_store(meter.pk)
    return [
        {
            "obis": value.logical_name,
            "value": value_json(value.coding, value.value, value.scaler, value.extra),
            "unit": symbol(value.unit),
            "at": time_of(value.captured_at_us).astimezone(zone),
            "stored": value.stored,
        }
        for value in sorted(values, key=lambda value: value.logical_name)
    ]
