"""Views of this app: events out of the table, and the order to read the log from the meter now."""

from __future__ import annotations

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from events.codes import UNKNOWN, Meanings
from events.models import Event
from hes.api import Pages
from hes.api_input import KnownFields
from meters.api.ranges import asked_open_range, known_meter, range_parameters
from meters.api.serializers import CommandSerializer
from meters.api.views import IDEMPOTENCY_KEY, PROBLEMS_OF_ONE, PROBLEMS_OF_ORDER, command_response
from meters.errors import Invalid
from meters.models import Command
from meters.parameters import parse_logical_name
from meters.services import order_command


class EventSerializer(serializers.ModelSerializer):
    """One entry of a meter's log; `name` is empty for a code that no table names."""

    meter = serializers.CharField(source="meter.serial")
    timestamp = serializers.DateTimeField(source="captured_at")
    name = serializers.SerializerMethodField()
    severity = serializers.SerializerMethodField()
    extra = serializers.SerializerMethodField(help_text="Further columns of the entry, A-XDR as hex.")

    class Meta:
        model = Event
        fields = (
            "meter",
            "log",
            "timestamp",
            "code",
            "name",
            "severity",
            "ordinal",
            "clock_status",
            "extra",
            "read_at",
        )

    def get_name(self, event: Event) -> str:
        return self._meaning(event).name

    def get_severity(self, event: Event) -> str:
        return self._meaning(event).severity

    def get_extra(self, event: Event) -> str | None:
        return bytes(event.extra).hex() if event.extra else None

    def _meaning(self, event: Event) -> Any:
        meanings: Meanings | None = self.context.get("meanings")
        return meanings.of(event.meter.meter_type_id, event.log, event.code) if meanings else UNKNOWN


class EventPageSerializer(serializers.Serializer):
    next = serializers.URLField(allow_null=True)
    previous = serializers.URLField(allow_null=True)
    results = EventSerializer(many=True)


class EventsOrderSerializer(KnownFields):
    """Read the standard event log from the meter now: a range, or the latest days (HES_FIRST_READ_DAYS)."""

    meter = serializers.CharField(help_text="Serial of the meter.")
    reason = serializers.CharField(required=False, default="", allow_blank=True, max_length=500)
    not_after = serializers.DateTimeField(required=False)

    def get_fields(self) -> dict[str, Any]:
        fields = super().get_fields()
        for name in ("from", "to"):
            fields[name] = serializers.CharField(required=False, help_text="ISO 8601 with an offset or Z.")
        return fields


class MayViewEvents(BasePermission):
    """To look needs the permission to view; who may order is asked by the service."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        if not request.user or not request.user.is_authenticated:
            return False
        return request.method == "POST" or request.user.has_perm("events.view_event")


class EventView(APIView):
    permission_classes = (MayViewEvents,)
    cursor_ordering = ("-captured_at", "-id")

    @extend_schema(
        summary="Events, newest first",
        operation_id="event_list",
        tags=["events"],
        parameters=[
            OpenApiParameter("meter", OpenApiTypes.STR, description="Serial; none: all meters."),
            *range_parameters(default=False),
            OpenApiParameter("log", OpenApiTypes.STR, description="Logical name of the log."),
            OpenApiParameter("code", OpenApiTypes.INT, description="Only this code."),
            OpenApiParameter("cursor", OpenApiTypes.STR, description="From `next` of the page before."),
            OpenApiParameter("page_size", OpenApiTypes.INT, default=Pages.page_size),
        ],
        responses={200: EventPageSerializer, **PROBLEMS_OF_ONE},
    )
    def get(self, request: Request) -> Response:
        events = Event.objects.select_related("meter")
        query = request.query_params
        start, end = asked_open_range(request)
        if query.get("meter"):
            events = events.filter(meter=known_meter(query["meter"]))
        if start is not None:
            events = events.filter(captured_at__gte=start)
        if end is not None:
            events = events.filter(captured_at__lt=end)
        if query.get("log"):
            events = events.filter(log=parse_logical_name("log", query["log"]))
        if query.get("code"):
            events = events.filter(code=_code(query["code"]))
        pages = Pages()
        found = pages.paginate_queryset(events, request, view=self) or []
        meanings = Meanings(
            (event.meter.meter_type_id for event in found),
            (event.log for event in found),
            (event.code for event in found),
        )
        serializer = EventSerializer(found, many=True, context={"meanings": meanings})
        return pages.get_paginated_response(serializer.data)

    @extend_schema(
        summary="Read the event log from the meter now",
        operation_id="event_order",
        tags=["events"],
        parameters=[IDEMPOTENCY_KEY],
        request=EventsOrderSerializer,
        responses={202: CommandSerializer, 200: CommandSerializer, **PROBLEMS_OF_ONE, **PROBLEMS_OF_ORDER},
    )
    def post(self, request: Request) -> Response:
        serializer = EventsOrderSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        order = serializer.validated_data
        command, created = order_command(
            meter=known_meter(order["meter"]),
            kind=Command.Kind.EVENTS_READ,
            parameters={name: order[name] for name in ("from", "to") if name in order},
            user=request.user,
            reason=order["reason"],
            not_after=order.get("not_after"),
            idempotency_key=request.headers.get("Idempotency-Key", ""),
        )
        return command_response(command, created, request)


def _code(text: str) -> int:
    limit = 1 << 63
    try:
        code = int(text)
    except ValueError:
        code = limit
    if not -limit <= code < limit:
        raise Invalid.field("code", "OUT_OF_RANGE", "must be a whole number")
    return code
