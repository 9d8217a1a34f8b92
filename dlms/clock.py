"""COSEM date-time: twelve octets of local time, deviation and clock status; UTC = local time + deviation.

Owns the reading of one date-time. Deviation counts minutes from local time to UTC: central European winter is
-60; some makers invert the sign (a switch of the meter type). Where it is not specified (0x8000), the meter's
zone and the daylight-saving bit decide; what the order of rows adds is the profile reader's business. Source:
tests/vectors/data.toml, octet_string_datetime_*.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from struct import Struct

from dlms.errors import LocalProtocolError, RemoteProtocolError

DATE_TIME_OCTETS = 12
DEVIATION_NOT_SPECIFIED = -0x8000
#: Clock status bits.
INVALID_VALUE = 0x01
DOUBTFUL_VALUE = 0x02
DIFFERENT_CLOCK_BASE = 0x04
INVALID_CLOCK_STATUS = 0x08
DAYLIGHT_SAVING_ACTIVE = 0x80
STATUS_NOT_SPECIFIED = 0xFF
#: The book's bounds of the deviation; 840 is +14 h inverted.
MAX_DEVIATION_MIN = 840

_FIELDS = Struct(">HBBBBBBBhB")


@dataclass(frozen=True, slots=True)
class ClockTime:
    """A moment in UTC, the clock status octet, and the deviation as it came (None: not specified)."""

    utc: datetime
    status: int
    deviation_min: int | None


@dataclass(frozen=True, slots=True)
class LocalTime:
    """The fields of a date-time before a zone is applied; `naive` has no tzinfo."""

    naive: datetime
    status: int
    deviation_min: int | None


def parse_local(octets: bytes) -> LocalTime:
    """The clock fields as they stand. Raises RemoteProtocolError (CLOCK_INVALID) for wildcards and nonsense.

    Hundredths that are not specified (0xFF) are 0, as are seconds: meters that count in minutes leave them
    out.
    """
    if len(octets) != DATE_TIME_OCTETS:
        raise RemoteProtocolError(f"a date-time of {len(octets)} octets", code="CLOCK_INVALID")
    year, month, day, _, hour, minute, second, hundredths, deviation, status = _FIELDS.unpack(octets)
    hundredths = 0 if hundredths == 0xFF else hundredths
    second = 0 if second == 0xFF else second
    known = deviation != DEVIATION_NOT_SPECIFIED
    if known and not -MAX_DEVIATION_MIN <= deviation <= MAX_DEVIATION_MIN:
        raise RemoteProtocolError(f"deviation of {deviation} minutes", code="CLOCK_INVALID")
    try:
        naive = datetime(year, month, day, hour, minute, second, hundredths * 10_000)  # noqa: DTZ001
    except ValueError as error:
        raise RemoteProtocolError(f"{octets.hex()}: {error}", code="CLOCK_INVALID") from None
    if not 1900 <= year <= 9990:
        raise RemoteProtocolError(f"year {year}", code="CLOCK_INVALID")
    return LocalTime(naive, status, deviation if known else None)


def is_daylight_saving(status: int) -> bool:
    """Whether the clock says that daylight saving is active; a status not specified says nothing."""
    return status != STATUS_NOT_SPECIFIED and bool(status & DAYLIGHT_SAVING_ACTIVE)


def to_utc(local: LocalTime, zone: tzinfo, inverted: bool = False, fold: int | None = None) -> datetime:
    """The moment. `fold` chooses within a doubled hour where no deviation is given; None: the status bit
    chooses.
    """
    if local.deviation_min is not None:
        minutes = -local.deviation_min if inverted else local.deviation_min
        return (local.naive + timedelta(minutes=minutes)).replace(tzinfo=UTC)
    if fold is None:
        fold = 0 if is_daylight_saving(local.status) else 1
    offset = zone.utcoffset(
        local.naive.replace(tzinfo=zone, fold=fold if is_ambiguous(local.naive, zone) else 0)
    )
    return (local.naive - (offset or timedelta())).replace(tzinfo=UTC)


def is_ambiguous(naive: datetime, zone: tzinfo) -> bool:
    """Whether the local time comes twice (the doubled hour of autumn)."""
    first = zone.utcoffset(naive.replace(tzinfo=zone, fold=0))
    second = zone.utcoffset(naive.replace(tzinfo=zone, fold=1))
    return first is not None and second is not None and first > second


def parse_datetime(octets: bytes, zone: tzinfo, inverted: bool = False) -> ClockTime:
    """UTC, status and deviation of a date-time. Raises RemoteProtocolError (CLOCK_INVALID)."""
    local = parse_local(octets)
    return ClockTime(to_utc(local, zone, inverted), local.status, local.deviation_min)


def format_datetime(moment: datetime, zone: tzinfo | int, status: int = 0, inverted: bool = False) -> bytes:
    """The twelve octets of an aware `moment` in `zone`, or at a deviation given in minutes (-60: UTC+1).

    In a zone the daylight-saving bit is set where it is due. Raises LocalProtocolError for a naive moment.
    """
    if moment.tzinfo is None:
        raise LocalProtocolError("a moment without a zone", code="CLOCK_NAIVE")
    target = timezone(timedelta(minutes=-zone)) if isinstance(zone, int) else zone
    local = moment.astimezone(target)
    offset = local.utcoffset() or timedelta()
    deviation = -int(offset.total_seconds() // 60)
    if local.dst():
        status |= DAYLIGHT_SAVING_ACTIVE
    return _FIELDS.pack(
        local.year,
        local.month,
        local.day,
        local.isoweekday(),
        local.hour,
        local.minute,
        local.second,
        local.microsecond // 10_000,
        -deviation if inverted else deviation,
        status,
    )
