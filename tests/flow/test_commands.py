"""Commands against simulated meters, through gateway and sockets."""

from __future__ import annotations

import datetime as dt
import sys
import threading
import time
from collections.abc import Callable

import pytest
import redis
from django.test import Client

from hes import redis as hes_redis
from hes.supervisor import Child
from meters.models import Command, Meter
from readings import entries, latest
from readings.models import ProfileLayout
from simulator import truth
from simulator.fleet import Fleet
from simulator.meter import MeterSettings
from tests.flow.conftest import SEED

Carry = Callable[..., Command]
StartFleet = Callable[..., Fleet]
SERIAL = "SIM00000001"


def test_association_test_tries_each_association(start_fleet: StartFleet, carry: Carry) -> None:
    start_fleet()
    command = carry(SERIAL, "association_test")
    assert (command.state, command.error_code) == ("confirmed", "")
    assert [a["association"] for a in command.result["associations"]] == ["management", "reader", "public"]
    assert all(a["ok"] for a in command.result["associations"])


def test_clock_read_tells_the_drift(start_fleet: StartFleet, carry: Carry) -> None:
    start_fleet()
    command = carry(SERIAL, "clock_read")
    assert command.state == "confirmed", command.error_detail
    assert abs(command.result["drift_s"]) < 5
    assert Meter.objects.get().clock_drift_s == command.result["drift_s"]


def test_system_title_that_was_not_recorded_is_learnt(start_fleet: StartFleet, carry: Carry) -> None:
    start_fleet()
    known = Meter.objects.get().system_title
    Meter.objects.update(system_title=None)
    assert carry(SERIAL, "clock_read").state == "confirmed"
    assert Meter.objects.get().system_title == known


def test_disconnect_is_confirmed_by_read_back(start_fleet: StartFleet, carry: Carry) -> None:
    fleet = start_fleet(meter=MeterSettings(relay_delay_s=1.0))
    command = carry(SERIAL, "relay_disconnect")
    assert command.state == "confirmed", (command.error_code, command.error_detail)
    assert command.result["method"] == "remote_disconnect"
    assert command.result["before"]["output_state"] is True
    assert command.result["after"] == {"output_state": False, "control_state": 0, "control_mode": 2}
    assert len(fleet.meters[SERIAL].relay.movements) == 1
    meter = Meter.objects.get()
    assert (meter.output_state, meter.control_state) == (False, 0)


def test_reconnect_of_a_connected_relay_is_confirmed_without_acting(
    start_fleet: StartFleet, carry: Carry
) -> None:
    fleet = start_fleet()
    command = carry(SERIAL, "relay_reconnect")
    assert (command.state, command.result["acted"], command.acted_at) == ("confirmed", False, None)
    assert list(fleet.meters[SERIAL].relay.movements) == []


def test_reconnect_in_mode_1_ends_ready_for_reconnection(start_fleet: StartFleet, carry: Carry) -> None:
    start_fleet(meter=MeterSettings(control_mode=1))
    assert carry(SERIAL, "relay_disconnect").state == "confirmed"
    command = carry(SERIAL, "relay_reconnect")
    assert command.state == "confirmed"
    assert command.result["after"] == {"output_state": False, "control_state": 2, "control_mode": 1}


def test_disconnect_in_mode_0_fails_without_acting(start_fleet: StartFleet, carry: Carry) -> None:
    fleet = start_fleet(meter=MeterSettings(control_mode=0))
    command = carry(SERIAL, "relay_disconnect")
    assert (command.state, command.error_code, command.acted_at) == ("failed", "RELAY_MODE", None)
    assert list(fleet.meters[SERIAL].relay.movements) == []


def test_relay_that_never_moves_fails_by_the_deadline_with_its_evidence(
    start_fleet: StartFleet, carry: Carry
) -> None:
    fleet = start_fleet(meter=MeterSettings(relay_delay_s=3600))
    not_after = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=6)
    command = carry(SERIAL, "relay_disconnect", not_after=not_after)
    assert (command.state, command.error_code) == ("failed", "RELAY_NOT_MOVED")
    assert command.result["after"]["output_state"] is True
    assert command.finished_at <= not_after + dt.timedelta(seconds=1)
    assert len(fleet.meters[SERIAL].relay.movements) == 1


def test_registers_read_reaches_stream_and_cache(
    start_fleet: StartFleet, carry: Carry, live_redis: redis.Redis
) -> None:
    start_fleet()
    command = carry(SERIAL, "registers_read")
    assert command.state == "confirmed", command.error_detail
    assert len(command.result["registers"]) == 9
    voltage = next(one for one in command.result["registers"] if one["obis"] == "1-0:32.7.0.255")
    assert (voltage["unit"], voltage["timestamp"][-1]) == ("V", "Z")
    assert 200 < float(voltage["value"]) < 260
    entry = entries.decode(live_redis.xrange(entries.STREAM)[-1][1][entries.FIELD.encode()])
    assert isinstance(entry, entries.RegisterEntry)
    assert entry.values[0].logical_name == "1-0:1.8.0.255"
    assert {(v.logical_name, v.unit) for v in entry.values} >= {("1-0:1.8.0.255", 30), ("1-0:32.7.0.255", 35)}
    held, _ = latest.read(hes_redis.cache(), command.meter_id)
    assert {value.logical_name for value in held} == {v.logical_name for v in entry.values}
    assert not any(value.stored for value in held)


def test_profile_read_puts_the_meters_rows_on_the_stream(
    start_fleet: StartFleet, carry: Carry, live_redis: redis.Redis
) -> None:
    start_fleet()
    end = dt.datetime.now(dt.UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    start = end - dt.timedelta(days=1)
    times = {"from": start.isoformat(), "to": end.isoformat()}
    command = carry(SERIAL, "profile_read", {"logical_name": "1-0:99.1.0", **times})
    assert command.state == "confirmed", (command.error_code, command.error_detail)
    assert (command.result["rows"], command.result["stored"]) == (96, False)
    entry = entries.decode(live_redis.xrange(entries.STREAM)[-1][1][entries.FIELD.encode()])
    assert isinstance(entry, entries.ProfileEntry)
    layout = ProfileLayout.objects.get(pk=entry.layout_id)
    names = [c.logical_name for c in layout.columns.all()]
    assert names[:3] == ["0-0:1.0.0.255", "0-0:96.10.1.255", "1-0:1.8.0.255"]
    timestamps, values, _ = truth.interval_rows(SEED, 1, start, end - dt.timedelta(seconds=1))
    assert entry.captured_at.tolist() == timestamps.tolist()
    assert entry.values.tolist() == values.tolist()


def test_events_read_puts_the_log_on_the_stream(
    start_fleet: StartFleet, carry: Carry, live_redis: redis.Redis
) -> None:
    start_fleet()
    assert carry(SERIAL, "relay_disconnect").state == "confirmed"
    command = carry(SERIAL, "events_read")
    assert command.state == "confirmed", (command.error_code, command.error_detail)
    entry = entries.decode(live_redis.xrange(entries.STREAM)[-1][1][entries.FIELD.encode()])
    assert isinstance(entry, entries.EventEntry)
    assert len(entry.events) == command.result["events"] > 0


def test_confirmed_profile_read_links_rows_that_are_stored(
    start_fleet: StartFleet,
    carry: Carry,
    start_process: Callable[..., Child],
    monkeypatch: pytest.MonkeyPatch,
    admin_client: Client,
) -> None:
    monkeypatch.setattr("workers.commands.STORE_WAIT_S", 20.0)
    start_fleet()
    start_process("ingest", sys.executable, "manage.py", "ingest")
    end = dt.datetime.now(dt.UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    times = {"from": (end - dt.timedelta(hours=6)).isoformat(), "to": end.isoformat()}
    command = carry(SERIAL, "profile_read", {"logical_name": "1-0:99.1.0", **times})
    assert (command.state, command.result["stored"]) == ("confirmed", True)
    answer = admin_client.get(command.result["rows_at"]).json()
    assert (len(answer["rows"]), answer["gaps"]) == (24, [])


def test_reading_among_the_dead_letters_fails_the_command(
    start_fleet: StartFleet, carry: Carry, live_redis: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.commands.STORE_WAIT_S", 20.0)
    start_fleet()

    def bury() -> None:
        """As ingest does with what it cannot store."""
        while not (found := live_redis.xrange(entries.STREAM)):
            time.sleep(0.01)
        live_redis.xadd(entries.DEAD_STREAM, {"id": found[0][0], "code": "TEST"})
        live_redis.xdel(entries.STREAM, found[0][0])

    burying = threading.Thread(target=bury)
    burying.start()
    command = carry(SERIAL, "registers_read")
    burying.join(10)
    assert (command.state, command.error_code) == ("failed", "READING_NOT_STORED")
