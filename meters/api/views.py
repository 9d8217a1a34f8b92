"""Views of this app. They translate; what happens is done by the services."""

from __future__ import annotations

from typing import Any

from django.urls import reverse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_view
from rest_framework import mixins
from rest_framework.permissions import IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from hes.api import ModelPermissions, Pages, ProblemSerializer
from meters.api.serializers import (
    CommandOrderSerializer,
    CommandSerializer,
    LinkSerializer,
    MeterSerializer,
    MeterTypeSerializer,
)
from meters.errors import Invalid
from meters.filters import CommandFilter, LinkFilter, MeterFilter
from meters.models import Command, Link, Meter, MeterType
from meters.registration import change_meter, create_meter
from meters.services import order_command

SERIAL = r"[A-Za-z0-9._:-]{1,64}"
PROBLEMS = {(code, "application/problem+json"): ProblemSerializer for code in (400, 401, 403)}
PROBLEMS_OF_ONE = PROBLEMS | {(404, "application/problem+json"): ProblemSerializer}
PROBLEMS_OF_ORDER = PROBLEMS | {(409, "application/problem+json"): ProblemSerializer}


def meter_by_serial(serial: str, field: str = "meter") -> Meter:
    """The meter that a request names, with its type. Raises Invalid naming the field."""
    found = Meter.objects.select_related("meter_type").filter(serial=serial).first()
    if found is None:
        raise Invalid.field(field, "METER_UNKNOWN", f"there is no meter {serial!r}")
    return found


def command_response(command: Command, created: bool, request: Request) -> Response:
    """202 while it is not finished, 200 for the finished one of a repeated key; Location of the command."""
    finished = not created and not Command.TRANSITIONS[Command.State(command.state)]
    location = request.build_absolute_uri(reverse("command-detail", args=[command.pk]))
    return Response(
        CommandSerializer(command).data, status=200 if finished else 202, headers={"Location": location}
    )


IDEMPOTENCY_KEY = OpenApiParameter(
    "Idempotency-Key",
    OpenApiTypes.STR,
    OpenApiParameter.HEADER,
    description="The same key with the same order gives the same command; with another order 409.",
)


@extend_schema(tags=["meters"])
@extend_schema_view(
    list=extend_schema(summary="Meters", responses={200: MeterSerializer, **PROBLEMS}),
    retrieve=extend_schema(summary="One meter", responses={200: MeterSerializer, **PROBLEMS_OF_ONE}),
    create=extend_schema(summary="Register a meter", responses={201: MeterSerializer, **PROBLEMS}),
    partial_update=extend_schema(
        summary="Change a meter", responses={200: MeterSerializer, **PROBLEMS_OF_ONE}
    ),
)
class MeterViewSet(mixins.ListModelMixin, mixins.RetrieveModelMixin, GenericViewSet):
    queryset = Meter.objects.select_related("meter_type", "link").prefetch_related("credentials")
    serializer_class = MeterSerializer
    permission_classes = (ModelPermissions,)
    filterset_class = MeterFilter
    pagination_class = Pages
    cursor_ordering = ("serial",)
    lookup_field = "serial"
    lookup_value_regex = SERIAL

    def create(self, request: Request) -> Response:
        serializer = self.get_serializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        meter = create_meter(user=request.user, **serializer.validated_data)
        location = request.build_absolute_uri(reverse("meter-detail", args=[meter.serial]))
        return Response(self._shown(meter), status=201, headers={"Location": location})

    def partial_update(self, request: Request, serial: str) -> Response:
        meter = self.get_object()
        serializer = self.get_serializer(meter, data=request.data, partial=True)
        serializer.is_valid(raise_exception=True)
        changes = dict(serializer.validated_data)
        reason, secrets = changes.pop("reason", ""), changes.pop("secrets", None)
        meter = change_meter(meter, changes, user=request.user, reason=reason, secrets=secrets)
        return Response(self._shown(meter))

    def _shown(self, meter: Meter) -> dict[str, Any]:
        return self.get_serializer(self.get_queryset().get(pk=meter.pk)).data


@extend_schema(tags=["meter types"])
@extend_schema_view(
    list=extend_schema(summary="Meter types", responses={200: MeterTypeSerializer, **PROBLEMS}),
    retrieve=extend_schema(summary="One meter type", responses={200: MeterTypeSerializer, **PROBLEMS_OF_ONE}),
)
class MeterTypeViewSet(mixins.ListModelMixin, mixins.RetrieveModelMixin, GenericViewSet):
    queryset = MeterType.objects.prefetch_related("associations", "registers")
    serializer_class = MeterTypeSerializer
    permission_classes = (ModelPermissions,)
    pagination_class = Pages
    cursor_ordering = ("name",)
    lookup_field = "name"
    lookup_value_regex = "[^/]{1,64}"


@extend_schema(tags=["commands"])
@extend_schema_view(
    list=extend_schema(summary="Commands, newest first", responses={200: CommandSerializer, **PROBLEMS}),
    retrieve=extend_schema(summary="One command", responses={200: CommandSerializer, **PROBLEMS_OF_ONE}),
    create=extend_schema(
        summary="Order a command",
        parameters=[IDEMPOTENCY_KEY],
        request=CommandOrderSerializer,
        responses={202: CommandSerializer, 200: CommandSerializer, **PROBLEMS_OF_ORDER},
    ),
)
class CommandViewSet(mixins.ListModelMixin, mixins.RetrieveModelMixin, GenericViewSet):
    queryset = Command.objects.select_related("meter", "requested_by")
    serializer_class = CommandSerializer
    filterset_class = CommandFilter
    pagination_class = Pages
    cursor_ordering = ("-created_at", "id")
    lookup_value_regex = "[0-9a-fA-F-]{32,36}"

    def get_permissions(self) -> list[Any]:
        # who may order depends on the kind: the service asks
        return [IsAuthenticated()] if self.action == "create" else [ModelPermissions()]

    def create(self, request: Request) -> Response:
        serializer = CommandOrderSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        order = serializer.validated_data
        command, created = order_command(
            meter=meter_by_serial(order["meter"]),
            kind=order["kind"],
            parameters=order["parameters"],
            user=request.user,
            reason=order["reason"],
            not_after=order.get("not_after"),
            idempotency_key=request.headers.get("Idempotency-Key", ""),
        )
        return command_response(command, created, request)


@extend_schema(tags=["links"])
@extend_schema_view(
    list=extend_schema(
        summary="Links of the meters, as the gateway nodes report them",
        responses={200: LinkSerializer, **PROBLEMS},
    ),
    retrieve=extend_schema(summary="The link of a meter", responses={200: LinkSerializer, **PROBLEMS_OF_ONE}),
)
class LinkViewSet(mixins.ListModelMixin, mixins.RetrieveModelMixin, GenericViewSet):
    queryset = Link.objects.select_related("meter")
    serializer_class = LinkSerializer
    permission_classes = (ModelPermissions,)
    filterset_class = LinkFilter
    pagination_class = Pages
    cursor_ordering = ("meter_id",)
    lookup_field = "meter__serial"
    lookup_url_kwarg = "serial"
    lookup_value_regex = SERIAL
