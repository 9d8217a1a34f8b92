"""Views of this app: readings out of the tables and the cache, and orders to read them from the meter now."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from django.conf import settings
from django.utils import timezone
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.utils.urls import replace_query_param
from rest_framework.views import APIView

from dlms import obis
from dlms.enums import unit_symbol as symbol
from hes.redis import cache
from meters.api.ranges import METER, asked_range, known_meter, range_parameters
from meters.api.serializers import CommandSerializer
from meters.api.views import IDEMPOTENCY_KEY, PROBLEMS_OF_ONE, command_response
from meters.errors import FieldProblem, Invalid, Refused
from meters.models import Command, Meter
from meters.services import order_command
from readings import queries
from readings.api import cursors
from readings.api.serializers import (
    InstantaneousSerializer,
    ProfileOrderSerializer,
    ProfileSerializer,
    RegistersOrderSerializer,
)
from readings.layouts import channel_columns
from readings.models import ProfileLayout
from readings.store import time_of
from readings.values import value_json

#: 31 days of quarter hours
PAGE_ROWS: Final = 2976
PAGE_ROWS_MAX: Final = 10_000
_CONFLICT: Final = {
    (code, "application/problem+json"): PROBLEMS_OF_ONE[400, "application/problem+json"] for code in (409,)
}
ORDERED: Final = {202: CommandSerializer, 200: CommandSerializer, **PROBLEMS_OF_ONE, **_CONFLICT}


class ProfileUnknown(Refused):
    """No meter of the type was ever seen to have this profile."""

    code = "PROFILE_UNKNOWN"
    status = 404


class ObisInvalid(Invalid):
    """Not a logical name."""

    code = "OBIS_INVALID"


class MayViewReadings(BasePermission):
    """To look needs the permission to view; who may order is asked by the service."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        if not request.user or not request.user.is_authenticated:
            return False
        return request.method == "POST" or request.user.has_perm("readings.view_intervalrow")


class ProfileReadView(APIView):
    permission_classes = (MayViewReadings,)

    @extend_schema(
        summary="Rows of a load profile",
        operation_id="profile_read",
        tags=["readings"],
        parameters=[
            METER,
            OpenApiParameter("profile", OpenApiTypes.STR, required=True, description="Logical name."),
            *range_parameters(default=True),
            OpenApiParameter("form", OpenApiTypes.STR, enum=["rows", "long"], default="rows"),
            OpenApiParameter(
                "limit",
                OpenApiTypes.INT,
                default=PAGE_ROWS,
                description=f"Rows a page, 1 to {PAGE_ROWS_MAX}.",
            ),
            OpenApiParameter("cursor", OpenApiTypes.STR, description="From `next` of the page before."),
        ],
        responses={200: ProfileSerializer, **PROBLEMS_OF_ONE},
    )
    def get(self, request: Request) -> Response:
        query = request.query_params
        form, limit = _form(query.get("form", "rows")), _limit(query.get("limit"))
        name = _logical_name("profile", query.get("profile"))
        start, end = asked_range(request)
        after = cursors.decode(query["cursor"]) if query.get("cursor") else None
        meter = known_meter(query.get("meter"))
        layouts = queries.layouts_of(meter, name)
        if not layouts:
            raise ProfileUnknown(f"{meter.serial} was never seen to have the profile {name}")
        page = queries.profile_page(meter.pk, layouts, start, end, after=after, limit=limit)
        following = None
        if page.end is not None:
            url = request.build_absolute_uri()
            following = replace_query_param(url, "cursor", cursors.encode(page.end))
        begin = after.captured_at if after else start
        now = timezone.now()
        stop = page.end.captured_at if page.end else min(end, now)
        # what the retention has dropped is no gap
        begin = max(begin, now - timedelta(days=settings.HES_RETENTION_DAYS))
        return Response(
            {
                "meter": meter.serial,
                "profile": name,
                **_rows(page, form),
                "gaps": _gaps(page, meter, begin, stop, after),
                "next": following,
            }
        )

    @extend_schema(
        summary="Read a range of a profile from the meter now",
        operation_id="profile_read_order",
        tags=["readings"],
        parameters=[IDEMPOTENCY_KEY],
        request=ProfileOrderSerializer,
        responses=ORDERED,
    )
    def post(self, request: Request) -> Response:
        order = _validated(ProfileOrderSerializer, request)
        parameters = {"logical_name": order["profile"], "from": order["from"], "to": order["to"]}
        return _order(request, order, Command.Kind.PROFILE_READ, parameters)


class InstantaneousView(APIView):
    permission_classes = (MayViewReadings,)

    @extend_schema(
        summary="Latest value of each register",
        operation_id="instantaneous",
        tags=["readings"],
        parameters=[METER],
        responses={200: InstantaneousSerializer, **PROBLEMS_OF_ONE},
    )
    def get(self, request: Request) -> Response:
        meter = known_meter(request.query_params.get("meter"))
        values, source = queries.latest_values(cache(), meter.pk)
        now = time.time()
        registers = [
            {
                "obis": value.logical_name,
                "attribute": value.attribute,
                "value": value_json(value.coding, value.value, value.scaler, value.extra),
                "unit": symbol(value.unit),
                "unit_code": value.unit,
                "scaler": value.scaler,
                "timestamp": iso(time_of(value.captured_at_us)),
                "age_s": round(now - value.captured_at_us / 1_000_000, 3),
                "source": source,
                "stored": value.stored,
            }
            for value in sorted(values, key=lambda value: (obis.parse(value.logical_name), value.attribute))
        ]
        return Response({"meter": meter.serial, "registers": registers})

    @extend_schema(
        summary="Read registers from the meter now",
        operation_id="instantaneous_order",
        tags=["readings"],
        parameters=[IDEMPOTENCY_KEY],
        request=RegistersOrderSerializer,
        responses=ORDERED,
    )
    def post(self, request: Request) -> Response:
        order = _validated(RegistersOrderSerializer, request)
        parameters = {"logical_names": order["registers"]} if "registers" in order else {}
        return _order(request, order, Command.Kind.REGISTERS_READ, parameters)


def iso(moment: datetime) -> str:
    """UTC with a Z; microseconds only where there are some."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def channel_header(layout: ProfileLayout) -> list[dict[str, Any]]:
    return [
        {
            "obis": column.logical_name,
            "class_id": column.class_id,
            "attribute": column.attribute,
            "unit": symbol(column.unit),
            "unit_code": column.unit,
            "scaler": column.scaler,
            "coding": column.coding,
        }
        for column in channel_columns(layout)
    ]


def _rows(page: queries.Page, form: str) -> dict[str, Any]:
    """Header and rows of a page in the form asked for."""
    layout = page.layout
    assert layout is not None
    header = channel_header(layout)
    plain = queries.row_formatter(layout)
    rows: list[Any] = []
    long: list[dict[str, Any]] = []
    clock_status: list[list[Any]] = []
    for row in page.rows:
        timestamp = iso(row.captured_at)
        status, values = plain(row)
        if row.clock_status:
            clock_status.append([timestamp, row.clock_status])
        if form == "rows":
            rows.append([timestamp, status, *values])
            continue
        long += (
            {
                "obis": channel["obis"],
                "attribute": channel["attribute"],
                "value": value,
                "unit": channel["unit"],
                "timestamp": timestamp,
                "status": status,
            }
            for channel, value in zip(header, values, strict=False)
        )
    return {
        "layout": {"version": layout.version, "capture_period_s": layout.capture_period_s},
        "channels": header,
        **({"rows": rows} if form == "rows" else {"readings": long}),
        "clock_status": clock_status,
    }


def _gaps(
    page: queries.Page, meter: Meter, begin: datetime, stop: datetime, after: queries.Position | None
) -> list[list[Any]] | None:
    """Gaps between the ends of this page; the row that a page begins after belongs to the page before."""
    assert page.layout is not None
    times = [row.captured_at for row in page.rows]
    if after is not None:
        times.append(after.captured_at)
    period_s = page.layout.capture_period_s
    found = queries.gaps(times, begin, stop, period_s, ZoneInfo(meter.effective_time_zone))
    return None if found is None else [[iso(first), iso(last), missing] for first, last, missing in found]


def _form(text: str) -> str:
    if text not in ("rows", "long"):
        raise Invalid.field("form", "UNKNOWN_FORM", "must be rows or long")
    return text


def _limit(text: str | None) -> int:
    if text is None:
        return PAGE_ROWS
    if not text.isascii() or not text.isdecimal() or not 1 <= int(text[:9]) <= PAGE_ROWS_MAX:
        raise Invalid.field("limit", "OUT_OF_RANGE", f"must be a number from 1 to {PAGE_ROWS_MAX}")
    return int(text)


def _logical_name(field: str, text: str | None) -> str:
    try:
        return obis.to_text(obis.parse(text or ""))
    except obis.ObisError as error:
        raise ObisInvalid(
            f"{field}: {error}", problems=(FieldProblem(field, "OBIS_INVALID", str(error)),)
        ) from None


def _validated(serializer_class: Any, request: Request) -> dict[str, Any]:
    serializer = serializer_class(data=request.data)
    serializer.is_valid(raise_exception=True)
    return dict(serializer.validated_data)


def _order(request: Request, order: dict[str, Any], kind: str, parameters: dict[str, Any]) -> Response:
    command, created = order_command(
        meter=known_meter(order["meter"]),
        kind=kind,
        parameters=parameters,
        user=request.user,
        reason=order["reason"],
        not_after=order.get("not_after"),
        idempotency_key=request.headers.get("Idempotency-Key", ""),
    )
    return command_response(command, created, request)
