from __future__ import annotations

import contextlib
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlms import clock
from dlms.errors import LocalProtocolError, RemoteProtocolError
from tests.dlms import vectors

BERLIN = ZoneInfo("Europe/Berlin")
DATA = vectors.load("data")
XDLMS = vectors.load("xdlms")
MOMENTS = st.datetimes(
    datetime(1970, 1, 1),  # noqa: DTZ001 - the zone is drawn beside it
    datetime(2099, 12, 31),  # noqa: DTZ001
    timezones=st.just(UTC),
).map(lambda moment: moment.replace(microsecond=moment.microsecond // 10_000 * 10_000))


@pytest.mark.parametrize("name", [name for name in DATA if name.startswith("octet_string_datetime")])
def test_parse_vector_gives_time_deviation_and_status(name: str) -> None:
    raw, expect = vectors.octets(DATA[name])[2:], DATA[name]["expect"]
    local = clock.parse_local(raw)
    deviation = expect["deviation_minutes"]
    assert local.deviation_min == (None if deviation == "not specified" else deviation)
    assert local.status == expect["clock_status"]
    assert vectors.iso(raw) == expect["iso"]


@pytest.mark.parametrize("bound", ["from", "to"])
def test_parse_bounds_of_the_range_vector(bound: str) -> None:
    expect = XDLMS["get_request_range_wildcard_weekday"]["expect"][bound]
    raw = bytes.fromhex(expect["hex"])
    assert vectors.iso(raw) == expect["iso"]
    assert clock.parse_local(raw).status == expect["clock_status"]


@pytest.mark.parametrize("name", [name for name in DATA if name.startswith("date_wildcard")])
def test_parse_date_of_five_octets_raises(name: str) -> None:
    with pytest.raises(RemoteProtocolError):
        clock.parse_datetime(vectors.octets(DATA[name])[2:], UTC)


@given(MOMENTS, st.integers(-720, 840), st.booleans())
def test_format_parse_with_deviation_gives_the_moment(
    moment: datetime, deviation: int, inverted: bool
) -> None:
    raw = clock.format_datetime(moment, deviation, 0x04, inverted)
    if inverted and deviation > 720:
        return
    parsed = clock.parse_datetime(raw, BERLIN, inverted)
    assert parsed == clock.ClockTime(moment, 0x04, -deviation if inverted else deviation)


@given(MOMENTS)
def test_format_in_a_zone_gives_the_moment_even_without_deviation(moment: datetime) -> None:
    raw = clock.format_datetime(moment, BERLIN)
    assert clock.parse_datetime(raw, UTC).utc == moment
    without = raw[:9] + b"\x80\x00" + raw[11:]
    parsed = clock.parse_datetime(without, BERLIN)
    assert (parsed.utc, parsed.deviation_min) == (moment, None)


def test_parse_inverted_deviation_turns_the_sign() -> None:
    raw = bytes.fromhex("07ea030101000000000" + "03c00")
    assert clock.parse_datetime(raw, UTC).utc == datetime(2026, 3, 1, 1, tzinfo=UTC)
    assert clock.parse_datetime(raw, UTC, inverted=True).utc == datetime(2026, 2, 28, 23, tzinfo=UTC)


def test_doubled_hour_daylight_bit_tells_the_two_apart() -> None:
    summer = bytes.fromhex("07ea0a19ff021e0000800080")
    winter = summer[:11] + b"\x00"
    first, second = (clock.parse_datetime(raw, BERLIN).utc for raw in (summer, winter))
    assert first == datetime(2026, 10, 25, 0, 30, tzinfo=UTC)
    assert second - first == timedelta(hours=1)


def test_not_specified_seconds_and_hundredths_are_zero() -> None:
    raw = bytes.fromhex("07ea0301ff0c1effff000000")
    assert clock.parse_datetime(raw, UTC).utc == datetime(2026, 3, 1, 12, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        bytes(11),
        b"\xff" * 12,
        bytes.fromhex("07ea021dff00000000000000"),  # 29 February 2026
        bytes.fromhex("07ea0301ff18000000000000"),  # 24 o'clock
        bytes.fromhex("07ea0301ff00000064000000"),  # 100 hundredths
        bytes.fromhex("07ea0301ff00000000034900"),  # deviation 841
        bytes.fromhex("00010301ff00000000000000"),  # year 1
    ],
)
def test_parse_nonsense_raises_its_code(raw: bytes) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        clock.parse_datetime(raw, UTC)
    assert caught.value.code == "CLOCK_INVALID"


@given(st.binary(min_size=12, max_size=12))
def test_parse_hostile_octets_raise_only_protocol_errors(raw: bytes) -> None:
    with contextlib.suppress(RemoteProtocolError):
        clock.parse_datetime(raw, BERLIN)


def test_format_naive_moment_raises() -> None:
    with pytest.raises(LocalProtocolError):
        clock.format_datetime(datetime(2026, 1, 1), UTC)  # noqa: DTZ001
