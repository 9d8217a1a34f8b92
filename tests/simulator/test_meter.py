"""What a client reads from a simulated meter is exactly its truth."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from dlms import axdr, clock, obis
from dlms.enums import ControlState, DataType
from dlms.xdlms.access import CaptureObject, Entries
from dlms.xdlms.set import SetRequestNormal, SetResponseNormal
from simulator import truth
from simulator.eventlog import EventCode
from simulator.meter import MeterSettings
from simulator.objects import REGISTERS
from tests.simulator.peer import INVOKE, LOAD_PROFILE, NOW, RELAY, SEED, Peer, by_range, make_meter

DAY = NOW.replace(hour=0, minute=0, second=0)
LAST_ROW = NOW.replace(minute=0, second=0)


@pytest.fixture
def reader() -> Peer:
    peer = Peer(make_meter(), client_address=32)
    peer.associate()
    return peer


@pytest.fixture
def manager() -> Peer:
    peer = Peer(make_meter(settings=MeterSettings(relay_delay_s=3.0)), client_address=1)
    peer.associate()
    return peer


def plain_rows(buffer: axdr.Data) -> list[tuple[datetime, list[int]]]:
    rows = [[cell.value for cell in row.value] for row in buffer.value]
    return [(clock.parse_datetime(row[0], UTC).utc, row[1:]) for row in rows]


def true_rows(start: datetime, end: datetime, number: int = 1) -> list[tuple[datetime, list[int]]]:
    stamps, values, status = truth.interval_rows(SEED, number, start, end)
    moments = (datetime.fromtimestamp(stamp // 1_000_000, UTC) for stamp in stamps.tolist())
    return list(
        zip(moments, ([s, *v] for s, v in zip(status.tolist(), values.tolist(), strict=True)), strict=True)
    )


def test_load_profile_of_a_day_is_the_truth(reader: Peer) -> None:
    start, end = DAY - timedelta(days=1), DAY
    rows = plain_rows(reader.read(7, LOAD_PROFILE, 2, by_range(start, end)))
    assert rows == true_rows(start, end)
    assert len(rows) == 97


def test_load_profile_whole_is_forty_days_up_to_the_last_complete_interval(reader: Peer) -> None:
    rows = plain_rows(reader.read(7, LOAD_PROFILE, 2))
    assert len(rows) == 40 * 96
    assert rows[-1][0] == LAST_ROW
    assert rows == true_rows(rows[0][0], LAST_ROW)
    assert reader.read(7, LOAD_PROFILE, 7).value == len(rows)
    assert reader.read(7, LOAD_PROFILE, 8).value == 40 * 96


def test_load_profile_range_outside_what_is_held_is_empty(reader: Peer) -> None:
    for start in (NOW + timedelta(days=1), NOW - timedelta(days=60)):
        buffer = reader.read(7, LOAD_PROFILE, 2, by_range(start, start + timedelta(days=2)))
        assert buffer == axdr.array()


def test_load_profile_range_backwards_is_empty(reader: Peer) -> None:
    assert reader.read(7, LOAD_PROFILE, 2, by_range(DAY, DAY - timedelta(days=1))) == axdr.array()


def test_load_profile_selected_columns_only(reader: Peer) -> None:
    wanted = (
        CaptureObject(8, obis.parse("0-0:1.0.0.255"), 2),
        CaptureObject(3, obis.parse("1-0:32.7.0.255"), 2),
    )
    start, end = DAY - timedelta(hours=2), DAY
    rows = plain_rows(reader.read(7, LOAD_PROFILE, 2, by_range(start, end, *wanted)))
    assert rows == [(moment, [cells[5]]) for moment, cells in true_rows(start, end)]


def test_load_profile_by_entry_counts_from_the_oldest(reader: Peer) -> None:
    everything = plain_rows(reader.read(7, LOAD_PROFILE, 2))
    some = plain_rows(reader.read(7, LOAD_PROFILE, 2, Entries(3, 5).to_access()))
    assert some == everything[2:5]
    columns = reader.read(7, LOAD_PROFILE, 2, Entries(3840, 0, 2, 3).to_access())
    assert [[cell.value for cell in row.value] for row in columns.value] == [everything[-1][1][:2]]


def test_load_profile_capture_objects_name_the_columns(reader: Peer) -> None:
    columns = [CaptureObject.from_data(item) for item in reader.read(7, LOAD_PROFILE, 3).value]
    assert [(column.class_id, obis.to_text(column.logical_name), column.attribute) for column in columns] == [
        (8, "0-0:1.0.0.255", 2),
        (1, "0-0:96.10.1.255", 2),
        *((3, name, 2) for name in truth.CHANNELS),
    ]
    assert reader.read(7, LOAD_PROFILE, 4).value == 900


@pytest.mark.parametrize("name", REGISTERS)
def test_register_holds_its_truth_with_scaler_and_unit(reader: Peer, name: str) -> None:
    expected = truth.source_of(SEED, 1).registers_at(int(NOW.timestamp()))[name]
    assert reader.read(3, name, 2).value == expected
    scaler, unit = (part.value for part in reader.read(3, name, 3).value)
    assert (scaler, unit) == REGISTERS[name][:2]


def test_clock_shows_utc(reader: Peer) -> None:
    moment = clock.parse_datetime(reader.read(8, "0-0:1.0.0.255", 2).value, UTC)
    assert (moment.utc, moment.deviation_min, moment.status) == (NOW, 0, 0)


def test_clock_set_moves_the_clock_and_leaves_events(manager: Peer) -> None:
    value = axdr.encode(axdr.octets(clock.format_datetime(NOW + timedelta(seconds=90), UTC)))
    reply = manager.ask(SetRequestNormal(INVOKE, 8, obis.parse("0-0:1.0.0.255"), 2, value).encode())
    assert reply == SetResponseNormal(INVOKE, 0)
    moment = clock.parse_datetime(manager.read(8, "0-0:1.0.0.255", 2).value, UTC)
    assert moment.utc == NOW + timedelta(seconds=90)
    codes = [code for _, (code,) in plain_rows(manager.read(7, "0-0:99.98.0.255", 2))]
    assert codes[-2:] == [EventCode.CLOCK_ADJUSTED_OLD, EventCode.CLOCK_ADJUSTED_NEW]


def test_event_log_shows_the_outages(reader: Peer) -> None:
    rows = plain_rows(reader.read(7, "0-0:99.98.0.255", 2))
    to_s = int(NOW.timestamp())
    outages = truth.source_of(SEED, 1).outages(to_s - 40 * truth.DAY_S, to_s)
    expected = sorted([(began, [1]) for began, _ in outages] + [(ended, [2]) for _, ended in outages])
    assert [(int(moment.timestamp()), cells) for moment, cells in rows] == expected
    assert len(rows) >= 2


def test_relay_disconnect_moves_after_its_delay_and_is_remembered(manager: Peer) -> None:
    meter = manager.meter
    assert manager.act(70, RELAY, 1, axdr.i8(0)) == 0
    assert manager.read(70, RELAY, 2) == axdr.boolean(True)
    later = NOW + timedelta(seconds=3)
    meter.now_s = later.timestamp
    assert manager.read(70, RELAY, 2) == axdr.boolean(False)
    assert manager.read(70, RELAY, 3) == axdr.enum(ControlState.DISCONNECTED)
    assert [(movement.order, movement.client_address) for movement in meter.relay.movements] == [
        ("remote_disconnect", 1)
    ]
    events = plain_rows(manager.read(7, "0-0:99.98.0.255", 2))
    assert events[-1] == (later, [EventCode.REMOTE_DISCONNECTION])


@pytest.mark.parametrize(("mode", "end"), [(0, 1), (1, 2), (2, 1), (3, 2), (4, 1), (5, 2), (6, 2)])
def test_relay_reconnect_ends_as_its_control_mode_says(mode: int, end: int) -> None:
    manager = Peer(make_meter(settings=MeterSettings(control_mode=mode)), client_address=1)
    manager.associate()
    assert manager.act(70, RELAY, 1, axdr.i8(0)) == 0
    assert manager.read(70, RELAY, 3).value == (1 if mode == 0 else 0)
    assert manager.act(70, RELAY, 2, axdr.i8(0)) == 0
    assert manager.read(70, RELAY, 3).value == end
    assert manager.read(70, RELAY, 2).value is (end == 1)
    assert manager.read(70, RELAY, 4).value == mode


def test_object_list_shows_each_client_what_it_may(reader: Peer, manager: Peer) -> None:
    public = Peer(make_meter())
    public.associate()
    lists = [peer.read(15, "0-0:40.0.0.255", 2).value for peer in (public, reader, manager)]
    assert [len(items) for items in lists] == [4, 23, 23]
    relay_methods = [
        [method.value[1].value for method in item.value[3].value[1].value]
        for items in lists[1:]
        for item in items
        if item.value[2].value == RELAY
    ]
    assert relay_methods == [[0, 0], [1, 1]]


def test_names_tell_the_meter(reader: Peer) -> None:
    name = reader.read(1, "0-0:42.0.0.255", 2)
    assert name == axdr.octets(b"SIM00000001")
    assert reader.read(1, "0-0:96.1.0.255", 2) == name
    devices = reader.read(17, "0-0:41.0.0.255", 2)
    assert devices == axdr.array(axdr.structure(axdr.u16(1), name))


def test_every_attribute_of_the_object_list_can_be_read(manager: Peer) -> None:
    for item in manager.read(15, "0-0:40.0.0.255", 2).value:
        class_id, _, logical_name, rights = (part.value for part in item.value)
        for attribute in rights[0].value:
            data = manager.read(class_id, logical_name, attribute.value[0].value)
            assert data.type is not DataType.NULL_DATA
