"""Filters of lists, one set a model."""

from __future__ import annotations

import django_filters
from django.db.models import Q, QuerySet

from meters.models import Command, Link, Meter


class MeterFilter(django_filters.FilterSet):
    serial_starts = django_filters.CharFilter("serial", "startswith", label="Beginning of the serial")
    meter_type = django_filters.CharFilter("meter_type__name", label="Name of the meter type")
    present = django_filters.BooleanFilter(method="by_presence", label="Has a link to a gateway now")
    has_error = django_filters.BooleanFilter(method="by_error", label="Its last dialog failed")

    class Meta:
        model = Meter
        fields = ("state", "last_error_code")

    def by_presence(self, queryset: QuerySet[Meter], name: str, value: bool) -> QuerySet[Meter]:
        present = Q(link__state=Link.State.PRESENT)
        return queryset.filter(present) if value else queryset.exclude(present)

    def by_error(self, queryset: QuerySet[Meter], name: str, value: bool) -> QuerySet[Meter]:
        return queryset.exclude(last_error_code="") if value else queryset.filter(last_error_code="")


class CommandFilter(django_filters.FilterSet):
    meter = django_filters.CharFilter("meter__serial", label="Serial of the meter")
    created_after = django_filters.IsoDateTimeFilter("created_at", "gte")
    created_before = django_filters.IsoDateTimeFilter("created_at", "lt")

    class Meta:
        model = Command
        fields = ("kind", "state", "error_code")


class LinkFilter(django_filters.FilterSet):
    meter = django_filters.CharFilter("meter__serial", label="Serial of the meter")

    class Meta:
        model = Link
        fields = ("state", "node")
