"""What requests for readings and events name: a meter, and a range of time. Codes are part of the API.

A range is half-open, `from` <= time < `to`; both are ISO 8601 with an offset or Z.
"""

from __future__ import annotations

import datetime as dt
import re
from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter
from rest_framework.request import Request

from meters.errors import FieldProblem, Invalid, Refused
from meters.models import Meter
from meters.parameters import parse_time

#: a plus sign that was not escaped in the query has become a blank
_UNESCAPED_PLUS = re.compile(r" (?=\d\d:?\d\d$)")

#: what is shown where no range is asked for
DEFAULT_RANGE = dt.timedelta(days=1)

METER = OpenApiParameter("meter", OpenApiTypes.STR, required=True, description="Serial of the meter.")


class MeterUnknown(Refused):
    """There is no such meter."""

    code = "METER_UNKNOWN"
    status = 404


class RangeInvalid(Invalid):
    """`from` and `to` are missing, malformed, or the wrong way round."""

    code = "RANGE_INVALID"


def range_parameters(default: bool) -> list[OpenApiParameter]:
    start = " Default: a day before `to`." if default else ""
    end = " Default: now." if default else ""
    return [
        OpenApiParameter("from", OpenApiTypes.DATETIME, description=f"Inclusive.{start}"),
        OpenApiParameter("to", OpenApiTypes.DATETIME, description=f"Exclusive.{end}"),
    ]


def known_meter(serial: Any) -> Meter:
    """The meter with its type. Raises Invalid, MeterUnknown."""
    if not serial or not isinstance(serial, str):
        raise Invalid.field("meter", "REQUIRED", "names no meter")
    known = Meter.objects.select_related("meter_type")
    found = None if "\0" in serial else known.filter(serial=serial).first()
    if found is None:
        raise MeterUnknown(f"there is no meter {serial[:64]!r}")
    return found


def asked_range(request: Request) -> tuple[dt.datetime, dt.datetime]:
    """`from` and `to` of the query, in UTC; without `to` now, without `from` the day before `to`.

    Raises RangeInvalid.
    """
    start, end = asked_open_range(request)
    end = end or dt.datetime.now(dt.UTC)
    try:
        start = start or end - DEFAULT_RANGE
    except OverflowError:
        raise _refused("to", "TIME_INVALID", "is outside the calendar") from None
    if end <= start:
        raise _refused("from", "RANGE_EMPTY", "must be in the past where there is no to")
    return start, end


def asked_open_range(request: Request) -> tuple[dt.datetime | None, dt.datetime | None]:
    """The same where each side may be left out."""
    start, end = _time(request, "from"), _time(request, "to")
    if start is not None and end is not None and end <= start:
        raise _refused("to", "RANGE_EMPTY", "must be after from")
    return start, end


def _time(request: Request, name: str) -> dt.datetime | None:
    given = request.query_params.get(name)
    if not given:
        return None
    try:
        return parse_time(name, _UNESCAPED_PLUS.sub("+", given))
    except Invalid as error:
        raise RangeInvalid(error.detail, problems=error.problems) from None


def _refused(field: str, code: str, detail: str) -> RangeInvalid:
    return RangeInvalid(f"{field}: {detail}", problems=(FieldProblem(field, code, detail),))
