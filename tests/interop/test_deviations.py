"""What real meters do otherwise than the simulated ones, each through gateway, runner and API.

The meter is gurux-dlms' server behind a link that is bent to the deviation.
"""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import redis
from gurux_dlms import GXDateTime
from gurux_dlms.enums import DataType, DateTimeSkips, Unit
from gurux_dlms.objects import GXDLMSCaptureObject, GXDLMSDemandRegister, GXDLMSExtendedRegister

from dlms import security
from gateway import wire
from meters.models import Association, Command, Meter, MeterType, TypeRegister
from meters.models.type import Purpose
from readings.models import LayoutColumn, ProfileLayout
from tests.interop import foreign_meter
from tests.interop.conftest import SERIAL, day
from tests.interop.foreign_meter import AARQ, LOAD_PROFILE, RLRQ, DialIn, ForeignMeter, pause

Carry = Callable[..., Command]
DialInOf = Callable[..., DialIn]
Read = Callable[..., dict[str, Any]]
BERLIN = ZoneInfo("Europe/Berlin")
HALF_HOUR = dt.timedelta(minutes=30)
REFUSED, TEMPORARY = b"\x01\x03", b"\x01\x02"  # data-access-result: read-write-denied, temporary-failure


@pytest.fixture
def plain_reader(foreign_type: MeterType) -> None:
    """Reads go over the reader's association, LLS and not ciphered."""
    Association.objects.filter(name="reader").update(purposes=[Purpose.READ])
    Association.objects.filter(name="management").update(purposes=[Purpose.COMMAND])


def span(rows: int = 4) -> dict[str, str]:
    return {"from": day().isoformat(), "to": (day() + rows * HALF_HOUR).isoformat()}


def read_profile(carry: Carry, **times: str) -> Command:
    return carry(SERIAL, "profile_read", {"logical_name": LOAD_PROFILE, **(times or span())})


def assert_confirmed(command: Command) -> None:
    assert (command.state, command.error_code) == ("confirmed", ""), command.error_detail


def short_profile(meter: ForeignMeter, *values: float | None, step: int = 1) -> None:
    """A profile of clock and power factor (float32) with these values, from the start of the day."""
    meter.profile.captureObjects[:] = [
        (target, GXDLMSCaptureObject(2, 0)) for target in (meter.clock, meter.factor)
    ]
    for n, value in enumerate(values):
        meter.profile.buffer.append([GXDateTime(day() + n * HALF_HOUR), value])
    meter.profile.buffer[:] = meter.profile.buffer[::step]


def told(read_api: Read, **times: str) -> list[tuple[dt.datetime, Any]]:
    rows = read_api("/api/profile/read", profile=LOAD_PROFILE, **(times or span()))["rows"]
    return [(dt.datetime.fromisoformat(row[0]), row[2]) for row in rows]


def test_aare_without_a_system_title(dial_in: DialInOf, carry: Carry) -> None:
    """responding-AP-title is optional: the title of the meter's row serves."""

    def manner(link: DialIn, request: bytes, reply: bytes) -> Iterable[bytes]:
        title = b"\xa4\x08\x04\x08" + foreign_meter.TITLE  # the outer length is gurux'
        if reply[8] != 0x61 or title not in reply:
            return [reply]
        apdu = reply[8:].replace(title, b"")
        apdu = apdu[:1] + bytes((len(apdu) - 2,)) + apdu[2:]
        return [reply[:6] + len(apdu).to_bytes(2, "big") + apdu]

    dial_in(ForeignMeter(), manner=manner)
    assert_confirmed(carry(SERIAL, "clock_read"))
    Meter.objects.update(system_title=None)
    command = carry(SERIAL, "clock_read")
    assert (command.state, command.error_code) == ("failed", "SYSTEM_TITLE_MISSING")


@pytest.mark.parametrize("answers", [True, False], ids=["after RLRE", "instead of RLRE"])
def test_meter_that_hangs_up_at_a_release(answers: bool, dial_in: DialInOf, carry: Carry) -> None:
    """First contact and the test of all associations need more than one association in a dialog."""

    def manner(link: DialIn, request: bytes, reply: bytes) -> Iterable[bytes | None]:
        if request[8] != RLRQ:
            return [reply]
        return [reply, None] if answers else [None]

    meter = ForeignMeter()
    meter.expected_counter = 7000
    link = dial_in(meter, manner=manner)
    assert_confirmed(carry(SERIAL, "clock_read"))
    command = carry(SERIAL, "association_test")
    assert_confirmed(command)
    assert all(a["ok"] for a in command.result["associations"])
    assert link.links >= 5


def test_meter_that_never_answers_a_release(dial_in: DialInOf, carry: Carry) -> None:
    MeterType.objects.update(response_timeout_s=1.0)
    dial_in(ForeignMeter(), manner=lambda link, request, reply: [] if request[8] == RLRQ else [reply])
    assert_confirmed(carry(SERIAL, "clock_read"))
    assert_confirmed(carry(SERIAL, "association_test"))


def test_meter_that_hangs_up_at_a_rejection_is_told_as_rejected(dial_in: DialInOf, carry: Carry) -> None:
    """What it said counts, not that the link was gone when the counter was asked for."""
    meter = ForeignMeter()
    meter.counter_refusal, meter.public_counter = "reject", False
    meter.expected_counter = 7000

    def manner(link: DialIn, request: bytes, reply: bytes) -> Iterable[bytes | None]:
        refused = request[4:6] != b"\x00\x10" and reply[8] == 0x61 and b"\xa2\x03\x02\x01\x01" in reply
        return [reply, None] if refused else [reply]

    dial_in(meter, manner=manner)
    command = carry(SERIAL, "clock_read")
    assert (command.state, command.error_code) == ("failed", "ASSOCIATION_NO_REASON_GIVEN")


@pytest.mark.parametrize("pause_s", [0.0, 0.4])
def test_meter_that_misses_a_request_that_comes_at_once(
    pause_s: float, dial_in: DialInOf, carry: Carry
) -> None:
    MeterType.objects.update(response_timeout_s=1.0, request_pause_s=pause_s)
    replied_at = [0.0]

    def manner(link: DialIn, request: bytes, reply: bytes) -> Iterable[bytes]:
        missed = time.monotonic() - replied_at[0] < 0.25
        replied_at[0] = time.monotonic()
        return [] if missed else [reply]

    dial_in(ForeignMeter(), manner=manner)
    command = carry(SERIAL, "clock_read")
    if pause_s:
        assert_confirmed(command)
    else:
        assert (command.state, command.error_code) == ("failed", "RESPONSE_TIMEOUT")


def test_push_in_the_middle_of_a_dialog_goes_its_own_way(
    dial_in: DialInOf, carry: Carry, live_redis: redis.Redis
) -> None:
    def manner(link: DialIn, request: bytes, reply: bytes) -> Iterable[bytes]:
        push = bytes.fromhex("0f00000001 00 0203 0901ff 1105 0600000001".replace(" ", ""))
        return [reply[:6] + len(push).to_bytes(2, "big") + push + reply]

    link = dial_in(ForeignMeter(), manner=manner)
    assert_confirmed(carry(SERIAL, "clock_read"))
    assert live_redis.xlen(wire.PUSH_STREAM) == len(link.requests)


def test_ciphered_push_in_front_of_a_reply_in_one_segment(dial_in: DialInOf, carry: Carry) -> None:
    """Only the worker's keys tell the push from a reply in general-glo-ciphering."""
    meter = ForeignMeter()
    cipher = meter.settings.cipher
    kept_for_push = [0]

    def manner(link: DialIn, request: bytes, reply: bytes) -> Iterable[bytes]:
        pushes = []
        if reply[8] in (0xCC, 0xCF):
            body = security.protect(
                bytes.fromhex("0f00000001000600000001"),
                tag=0xDB,
                system_title=foreign_meter.TITLE,
                invocation_counter=kept_for_push[0],
                encryption_key=foreign_meter.GUEK,
                authentication_key=foreign_meter.GAK,
            )
            apdu = body[:1] + b"\x08" + foreign_meter.TITLE + body[1:]
            pushes.append(reply[:6] + len(apdu).to_bytes(2, "big") + apdu)
        kept_for_push[0] = cipher.invocationCounter
        cipher.invocationCounter += 1
        return [b"".join([*pushes, reply])]

    link = dial_in(meter, manner=manner)
    assert_confirmed(carry(SERIAL, "relay_disconnect"))
    assert meter.actions == [1]
    assert link.errors == []


@pytest.mark.parametrize("cuts", [(4,), (8,), (9, 12), tuple(range(1, 60))])
def test_reply_in_pieces(cuts: tuple[int, ...], dial_in: DialInOf, carry: Carry) -> None:
    def manner(link: DialIn, request: bytes, reply: bytes) -> Iterable[bytes]:
        ends = [cut for cut in cuts if cut < len(reply)] + [len(reply)]
        for start, end in zip([0, *ends], ends, strict=False):
            yield reply[start:end]
            yield pause(0.002)

    dial_in(ForeignMeter(), manner=manner)
    assert_confirmed(carry(SERIAL, "clock_read"))


def test_type_without_a_disconnect_control(dial_in: DialInOf, carry: Carry) -> None:
    MeterType.objects.update(disconnect_control="")
    meter = ForeignMeter()
    dial_in(meter)
    command = carry(SERIAL, "relay_disconnect")
    assert (command.state, command.error_code, command.acted_at) == ("failed", "RELAY_NONE", None)
    assert meter.actions == []


def test_relay_that_the_meter_does_not_have(dial_in: DialInOf, carry: Carry) -> None:
    MeterType.objects.update(disconnect_control="0-0:96.3.10.255")
    dial_in(ForeignMeter())
    command = carry(SERIAL, "relay_disconnect")
    assert (command.state, command.error_code) == ("failed", "DATA_ACCESS_OBJECT_UNDEFINED")
    assert command.acted_at is None


def test_demand_and_extended_registers_in_a_profile(dial_in: DialInOf, carry: Carry, read_api: Read) -> None:
    """Class 5 has its scaler elsewhere; status and capture time of a register are not scaled."""
    meter = ForeignMeter()
    demand, most = GXDLMSDemandRegister("1.1.1.4.0.255"), GXDLMSExtendedRegister("1.1.1.6.0.255")
    for register, attributes in ((demand, (2, 3, 5)), (most, (2, 4))):
        register.scaler, register.unit = 0.01, Unit.ACTIVE_POWER
        for attribute in attributes:
            register.setDataType(attribute, DataType.UINT32)
        meter.items.append(register)
    columns = [(meter.clock, 2), (demand, 3), (demand, 5), (most, 2), (most, 4), (most, 5)]
    meter.profile.captureObjects[:] = [(target, GXDLMSCaptureObject(n, 0)) for target, n in columns]
    stamp = GXDateTime(day())
    meter.profile.buffer.append([stamp, 1234, 7, 4321, 8, stamp])
    dial_in(meter)
    assert_confirmed(read_profile(carry))
    scalers = [c.scaler for c in LayoutColumn.objects.order_by("position")]
    assert scalers == [0, -2, 0, -2, 0, 0]
    (row,) = read_api("/api/profile/read", profile=LOAD_PROFILE, **span())["rows"]
    assert row[1:6] == [None, "12.34", "7", "43.21", "8"]
    assert row[6]["type"] == "octet-string"


@pytest.mark.parametrize("empty", [None, b"\x00\x00", REFUSED], ids=["array", "null-data", "refused"])
def test_empty_profile_fixes_no_layout(
    empty: bytes | None, plain_reader: None, dial_in: DialInOf, carry: Carry, read_api: Read
) -> None:
    meter = ForeignMeter()
    short_profile(meter)
    if empty is not None:
        meter.instead[LOAD_PROFILE, 2] = empty
    dial_in(meter)
    command = read_profile(carry)
    assert_confirmed(command)
    assert command.result["rows"] == 0
    assert not ProfileLayout.objects.exists()
    meter.instead.clear()
    short_profile(meter, 0.5, 0.25)
    assert_confirmed(read_profile(carry))
    assert [c.coding for c in LayoutColumn.objects.order_by("position")] == ["extra", "f32"]
    assert told(read_api) == [(day(), "0.5"), (day() + HALF_HOUR, "0.25")]


def test_known_profile_that_is_empty_in_the_range(
    plain_reader: None, dial_in: DialInOf, carry: Carry
) -> None:
    meter = ForeignMeter()
    short_profile(meter, 0.5)
    dial_in(meter)
    assert_confirmed(read_profile(carry))
    for empty in (b"\x00\x01\x00", b"\x00\x00"):
        meter.instead[LOAD_PROFILE, 2] = empty
        command = read_profile(carry)
        assert_confirmed(command)
        assert command.result["rows"] == 0


def test_rows_newest_first(dial_in: DialInOf, carry: Carry, read_api: Read) -> None:
    meter = ForeignMeter()
    short_profile(meter, 1.0, 2.0, 4.0, 8.0, step=-1)
    dial_in(meter)
    assert_confirmed(read_profile(carry))
    assert told(read_api) == [(day() + n * HALF_HOUR, str(2**n)) for n in range(4)]


def test_clock_without_deviation_in_the_meters_zone(dial_in: DialInOf, carry: Carry, read_api: Read) -> None:
    meter = ForeignMeter()
    short_profile(meter)
    for n in range(4):
        stamp = GXDateTime((day() + n * HALF_HOUR).astimezone(BERLIN))
        stamp.skip |= DateTimeSkips.DEVITATION
        meter.profile.buffer.append([stamp, float(n)])
    link = dial_in(meter)
    assert_confirmed(read_profile(carry))
    assert told(read_api) == [(day() + n * HALF_HOUR, str(n)) for n in range(4)]
    assert link.errors == []


@pytest.mark.parametrize("refusal", [REFUSED, b"\x00\x00"], ids=["denied", "null-data"])
def test_scaler_that_is_not_told_is_not_kept(
    refusal: bytes, plain_reader: None, dial_in: DialInOf, carry: Carry, read_api: Read
) -> None:
    meter = ForeignMeter()
    meter.instead["1-1:16.7.0.255", 3] = refusal
    dial_in(meter)
    assert_confirmed(carry(SERIAL, "registers_read", {"logical_names": ["1-1:16.7.0.255"]}))
    (value,) = read_api("/api/instantaneous")["registers"]
    assert (value["value"], value["unit"]) == ("-120", "")
    assert TypeRegister.objects.get(logical_name="1-1:16.7.0.255").scaler is None
    meter.instead.clear()
    assert_confirmed(carry(SERIAL, "registers_read", {"logical_names": ["1-1:16.7.0.255"]}))
    (value,) = read_api("/api/instantaneous")["registers"]
    assert (Decimal(value["value"]), value["unit"]) == (Decimal("-1.20"), "W")


def test_scaler_that_fails_for_the_moment_reads_no_value(
    plain_reader: None, dial_in: DialInOf, carry: Carry
) -> None:
    meter = ForeignMeter()
    meter.instead["1-1:16.7.0.255", 3] = TEMPORARY
    dial_in(meter)
    command = carry(SERIAL, "registers_read", {"logical_names": ["1-1:16.7.0.255"]})
    assert command.result["registers"][0]["error"] == "DATA_ACCESS_TEMPORARY_FAILURE"


def test_capture_period_that_is_refused(
    plain_reader: None, dial_in: DialInOf, carry: Carry, read_api: Read
) -> None:
    meter = ForeignMeter()
    short_profile(meter, 0.5, 0.25)
    meter.instead[LOAD_PROFILE, 4] = REFUSED
    dial_in(meter)
    assert_confirmed(read_profile(carry))
    assert ProfileLayout.objects.get().capture_period_s == 0
    assert len(told(read_api)) == 2


def test_event_code_behind_another_column(dial_in: DialInOf, carry: Carry, read_api: Read) -> None:
    meter = ForeignMeter()
    meter.log.captureObjects.insert(1, (meter.tariff, GXDLMSCaptureObject(2, 0)))
    meter.log.buffer.append([GXDateTime(day()), 3, 301])
    dial_in(meter)
    assert_confirmed(carry(SERIAL, "events_read", span()))
    assert [e["code"] for e in read_api("/api/event", **span())["results"]] == [301]


def test_login_again_in_the_middle_of_a_dialog(dial_in: DialInOf, carry: Carry) -> None:
    link = dial_in(
        ForeignMeter(),
        manner=lambda link, request, reply: [link.login + reply[:3], reply[3:] + link.login],
    )
    assert_confirmed(carry(SERIAL, "clock_read"))
    assert link.links == 1
    assert link.requests[0][8] == AARQ
