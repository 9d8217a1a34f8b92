"""A meter that is not ours, gurux-dlms' server, dials in; the API tells what it holds."""

from __future__ import annotations

import datetime as dt
import secrets
import struct
from collections.abc import Callable
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from gurux_dlms import GXDateTime

from meters.credentials import set_credential
from meters.models import (
    Command,
    Credential,
    DueRead,
    InvocationCounter,
    Meter,
    MeterType,
    ReadingPlan,
    TypeRegister,
)
from readings.models import ProfileLayout
from tests.interop.conftest import SERIAL, day
from tests.interop.foreign_meter import AARQ, EVENT_LOG, LOAD_PROFILE, DialIn, ForeignMeter
from workers.reads import Collector
from workers.runner import Runner

Carry = Callable[..., Command]
DialInOf = Callable[..., DialIn]
Read = Callable[..., dict[str, Any]]
BERLIN = ZoneInfo("Europe/Berlin")
HALF_HOUR = dt.timedelta(minutes=30)
SCALERS = (-2, -3, 0)
TEXTS = ("ok", "Zaehler 1", "", "lid open")


def filled(rows: int = 48, *, nulls: bool = True) -> ForeignMeter:
    """A day of half hours, stamped in Berlin's time, of every kind of value."""
    meter = ForeignMeter()
    for n in range(rows):
        moment = (day() + n * HALF_HOUR).astimezone(BERLIN)
        power = None if nulls and n % 3 == 2 else -2_000_000_000 + n
        # a float32 as the meter holds it
        factor = struct.unpack(">f", struct.pack(">f", 0.1 + n / 7))[0]
        row: list[Any] = [GXDateTime(moment), n % 256, power, 2**63 + n * 10**15, factor]
        row += [n % 4, bytes((n, 255, 0)), TEXTS[n % 4]]
        row += [f"{n % 64:06b}"]
        meter.profile.buffer.append(row)
    return meter


def profile_range(rows: int = 48) -> dict[str, str]:
    return {"from": day().isoformat(), "to": (day() + rows * HALF_HOUR).isoformat()}


def read_profile(carry: Carry, **span: str) -> Command:
    return carry(SERIAL, "profile_read", {"logical_name": LOAD_PROFILE, **(span or profile_range())})


def assert_confirmed(command: Command) -> None:
    assert (command.state, command.error_code) == ("confirmed", ""), command.error_detail


def expected_rows(meter: ForeignMeter, *, repeat_nulls: bool = False) -> list[list[Any]]:
    """What the API is to tell, computed from what gurux holds."""
    rows, last = [], None
    for clock, status, power, energy, factor, tariff, seal, text, inputs in meter.profile.buffer:
        last = last if power is None and repeat_nulls else power
        numbers = (last, energy, factor)
        rows.append(
            [
                clock.value.astimezone(dt.UTC),
                status,
                *(None if v is None else Decimal(v).scaleb(s) for v, s in zip(numbers, SCALERS, strict=True)),
                Decimal(tariff),
                {"type": "octet-string", "value": bytes(seal).hex()},
                {"type": "visible-string", "value": text},
                inputs,
            ]
        )
    return rows


def told_rows(answer: dict[str, Any]) -> list[list[Any]]:
    numbers = (2, 3, 4, 5)
    return [
        [
            dt.datetime.fromisoformat(cell) if place == 0
            else Decimal(cell) if place in numbers and cell is not None
            else cell
            for place, cell in enumerate(row)
        ]
        for row in answer["rows"]
    ]  # fmt: skip


def test_each_association_of_the_type_is_accepted(dial_in: DialInOf, carry: Carry) -> None:
    link = dial_in(ForeignMeter())
    command = carry(SERIAL, "association_test")
    assert_confirmed(command)
    assert [a["association"] for a in command.result["associations"]] == ["public", "reader", "management"]
    assert link.errors == []


def test_clock_is_read(dial_in: DialInOf, carry: Carry) -> None:
    dial_in(ForeignMeter())
    command = carry(SERIAL, "clock_read")
    assert_confirmed(command)
    assert abs(command.result["drift_s"]) < 3


def test_registers_with_scaler_and_unit_reach_the_api(
    dial_in: DialInOf, carry: Carry, read_api: Read
) -> None:
    meter = ForeignMeter()
    dial_in(meter)
    assert_confirmed(carry(SERIAL, "registers_read"))
    told = {r["obis"]: r for r in read_api("/api/instantaneous")["registers"]}
    assert told["1-1:1.8.1.255"]["value"] == "9223372036854775.813"
    assert told["1-1:1.8.1.255"]["unit"] == "Wh"
    assert (told["1-1:16.7.0.255"]["value"], told["1-1:16.7.0.255"]["unit"]) == ("-1.20", "W")
    assert told["1-1:13.7.0.255"]["value"] == "0.75"
    assert list(TypeRegister.objects.values_list("scaler", "unit")) == [(-3, 30), (-2, 27), (0, 255)]


@pytest.mark.parametrize("max_pdu", [160, 65535])
def test_profile_reaches_the_api_as_the_meter_holds_it(
    max_pdu: int, dial_in: DialInOf, carry: Carry, read_api: Read, foreign_type: MeterType
) -> None:
    MeterType.objects.update(max_pdu_bytes=max_pdu)
    meter = filled()
    link = dial_in(meter)
    command = read_profile(carry)
    assert_confirmed(command)
    assert command.result["rows"] == 48
    assert link.errors == []
    layout = ProfileLayout.objects.get()
    assert layout.capture_period_s == 1800
    columns = [(c.role, c.coding, c.scaler, c.unit) for c in layout.columns.all()]
    assert columns == [
        ("clock", "extra", 0, 255),
        ("status", "int", 0, 255),
        ("channel", "int", -2, 27),
        ("channel", "u64", -3, 30),
        ("channel", "f32", 0, 255),
        ("channel", "int", 0, 255),
        ("channel", "extra", 0, 255),
        ("channel", "extra", 0, 255),
        ("channel", "bits", 0, 255),
    ]
    answer = read_api("/api/profile/read", profile=LOAD_PROFILE, **profile_range())
    assert told_rows(answer) == expected_rows(meter)
    assert answer["gaps"] == []
    if max_pdu == 160:
        assert len(link.requests) > 45  # in blocks
    part = read_profile(carry, **profile_range(8))
    assert_confirmed(part)
    assert part.result["rows"] == 8  # a command's `to` is exclusive


def test_null_data_that_repeats_is_expanded_where_the_type_says_so(
    dial_in: DialInOf, carry: Carry, read_api: Read, foreign_type: MeterType
) -> None:
    MeterType.objects.update(null_data_repeats=True)
    meter = filled()
    dial_in(meter)
    assert_confirmed(read_profile(carry))
    answer = read_api("/api/profile/read", profile=LOAD_PROFILE, **profile_range())
    assert told_rows(answer) == expected_rows(meter, repeat_nulls=True)


def test_event_log_reaches_the_api(dial_in: DialInOf, carry: Carry, read_api: Read) -> None:
    meter = ForeignMeter()
    moments = [day() + dt.timedelta(minutes=7 * n) for n in range(5)]
    meter.log.buffer.extend([GXDateTime(m.astimezone(BERLIN)), 300 + n] for n, m in enumerate(moments))
    dial_in(meter)
    command = carry(SERIAL, "events_read", profile_range())
    assert_confirmed(command)
    assert command.result["events"] == 5
    events = read_api("/api/event", **profile_range())["results"]
    told = sorted((dt.datetime.fromisoformat(e["timestamp"]), e["code"], e["log"]) for e in events)
    assert told == [(m, 300 + n, EVENT_LOG) for n, m in enumerate(moments)]


def test_relay_is_switched_once_and_confirmed_by_read_back(dial_in: DialInOf, carry: Carry) -> None:
    meter = ForeignMeter()
    dial_in(meter)
    command = carry(SERIAL, "relay_disconnect")
    assert_confirmed(command)
    assert command.result["before"] == {"output_state": True, "control_state": 1, "control_mode": 4}
    assert command.result["after"] == {"output_state": False, "control_state": 0, "control_mode": 4}
    assert_confirmed(carry(SERIAL, "relay_reconnect"))
    assert meter.actions == [1, 2]
    assert meter.request_tags_right


@pytest.mark.parametrize("refusal", ["exception", "reject", "silent"])
def test_first_contact_asks_the_public_client_for_the_counter(
    refusal: str, dial_in: DialInOf, carry: Carry
) -> None:
    meter = ForeignMeter()
    meter.expected_counter, meter.counter_refusal = 5_000_000, refusal
    dial_in(meter)
    assert_confirmed(carry(SERIAL, "clock_read"))
    assert meter.expected_counter > 5_000_000
    assert InvocationCounter.objects.get().last_jump_cause == "first contact"


@pytest.mark.parametrize("name", ["", "0-0:43.1.0.255"], ids=["not of the type", "not of the meter"])
def test_first_contact_by_the_counter_in_the_exception_response(
    name: str, dial_in: DialInOf, carry: Carry
) -> None:
    MeterType.objects.update(invocation_counter=name)
    meter = ForeignMeter()
    meter.expected_counter = 5_000_000
    dial_in(meter)
    assert_confirmed(carry(SERIAL, "clock_read"))
    assert InvocationCounter.objects.get().last_jump_cause == "exception-response"


@pytest.mark.parametrize(
    ("refusal", "codes"),
    [
        ("reject", {"ASSOCIATION_REJECTED", "ASSOCIATION_NO_REASON_GIVEN"}),
        ("silent", {"RESPONSE_TIMEOUT"}),
    ],
)
def test_first_contact_without_any_hint_fails_clearly(
    refusal: str, codes: set[str], dial_in: DialInOf, carry: Carry
) -> None:
    MeterType.objects.update(response_timeout_s=1.0)
    meter = ForeignMeter()
    meter.expected_counter, meter.counter_refusal, meter.public_counter = 5_000_000, refusal, False
    dial_in(meter)
    command = carry(SERIAL, "clock_read")
    assert command.state == "failed"
    assert command.error_code in codes, command.error_detail
    assert Meter.objects.get().last_error_code == command.error_code


@pytest.mark.parametrize("kind", [Credential.Kind.GUEK, Credential.Kind.GAK])
def test_wrong_key_fails_as_a_matter_of_keys(
    kind: str, dial_in: DialInOf, carry: Carry, foreign_row: Meter
) -> None:
    set_credential(foreign_row, kind, secrets.token_bytes(16), None)
    dial_in(ForeignMeter())
    command = carry(SERIAL, "clock_read")
    assert command.state == "failed"
    assert command.error_code in {
        "TAG_MISMATCH", "ASSOCIATION_AUTHENTICATION_FAILURE", "ASSOCIATION_REJECTED",
        "ASSOCIATION_NO_REASON_GIVEN", "ASSOCIATION_INITIATE_ERROR",
    }, command.error_detail  # fmt: skip


def test_heartbeats_during_a_long_read_disturb_nothing(dial_in: DialInOf, carry: Carry) -> None:
    def manner(link: DialIn, request: bytes, reply: bytes | None):  # type: ignore[no-untyped-def]
        return [link.login, reply, link.login] if request[8] != AARQ else [reply, link.login]

    dial_in(filled(), manner=manner)
    command = read_profile(carry)
    assert_confirmed(command)
    assert command.result["rows"] == 48


def test_scheduled_reads_go_on_behind_what_is_stored(
    dial_in: DialInOf, active_runner: Runner, read_api: Read, foreign_row: Meter, foreign_type: MeterType
) -> None:
    """A plan for each kind of read, in one association; the second round asks for what is new only."""
    for kind, name in (("profile", LOAD_PROFILE), ("registers", ""), ("events", EVENT_LOG)):
        plan = ReadingPlan.objects.create(
            name=kind, meter_type=foreign_type, kind=kind, logical_name=name, priority=1
        )
        DueRead.objects.create(meter=foreign_row, plan=plan)
    meter = filled(40)
    whole, meter.profile.buffer = meter.profile.buffer, meter.profile.buffer[:30]
    meter.log.buffer.append([GXDateTime(day()), 300])
    link = dial_in(meter)
    asked = []
    for _ in range(2):
        DueRead.objects.update(next_due_at=dt.datetime.now(dt.UTC))
        before = len(link.requests)
        assert active_runner.submit(Collector(active_runner).collect()).result(60) == 1
        assert list(DueRead.objects.values_list("last_error", flat=True)) == ["", "", ""]
        answer = read_api("/api/profile/read", profile=LOAD_PROFILE, **profile_range())
        assert told_rows(answer) == expected_rows(meter)
        asked.append(len(link.requests) - before)
        meter.profile.buffer = whole
    assert asked[1] < asked[0] / 2
    assert len(read_api("/api/event", **profile_range())["results"]) == 1
