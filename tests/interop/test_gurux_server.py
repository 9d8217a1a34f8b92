"""Our client reads gurux-dlms' server through a real socket, driven by a plain blocking loop."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TypeVar
from zoneinfo import ZoneInfo

import pytest
from gurux_dlms import GXDateTime

from dlms import client, obis
from dlms.client import ScalerUnit
from dlms.clock import parse_datetime
from dlms.connection import Connection, Counters, Settings, State
from dlms.effects import Dialog, Receive, Send
from dlms.enums import Authentication, DataType
from dlms.errors import AssociationRejected, SecurityError, ServiceError
from dlms.framing.wrapper import WrapperFramer
from dlms.profile import Column, Layout
from tests.interop.gurux_meter import GuruxMeter, GuruxPort

T = TypeVar("T")
BERLIN = ZoneInfo("Europe/Berlin")
GUEK = bytes(range(16))
GAK = bytes(range(0xD0, 0xE0))
CLIENT_TITLE = b"HES\x00\x00\x00\x00\x01"
METER_TITLE = b"ABCDEFGH"
ENERGY = obis.parse("1-0:1.8.0")
CLOCK = obis.parse("0-0:1.0.0")
PROFILE = obis.parse("1-0:99.1.0")
START = datetime(2026, 3, 1, tzinfo=UTC)
ROWS = 96

LOWEST = Settings(16)
LLS = Settings(32, authentication=Authentication.LLS, password=b"12345678")
HLS = Settings(
    1,
    authentication=Authentication.HLS_GMAC,
    ciphered=True,
    client_system_title=CLIENT_TITLE,
    encryption_key=GUEK,
    authentication_key=GAK,
)
HLS_PLAIN = replace(HLS, ciphered=False)
EACH = pytest.mark.parametrize(
    "settings", [LOWEST, LLS, HLS_PLAIN, HLS], ids=["lowest", "lls", "hls", "ciphered"]
)


class Link:
    """A blocking socket that carries dialogs and keeps the frames that went over it."""

    def __init__(self, peer: socket.socket) -> None:
        self.peer = peer
        self.framer = WrapperFramer()
        self.sent: list[bytes] = []
        self.received: list[bytes] = []

    def run(self, dialog: Dialog[T]) -> T:
        answer: bytes | None = None
        while True:
            try:
                effect = dialog.send(answer)
            except StopIteration as end:
                return end.value
            answer = None
            if isinstance(effect, Send):
                self.sent.append(effect.frame)
                self.peer.sendall(effect.frame)
            elif isinstance(effect, Receive):
                answer = self._receive(effect.timeout_s)

    def _receive(self, timeout_s: float) -> bytes:
        self.peer.settimeout(timeout_s)
        while (frame := self.framer.next_frame()) is None:
            chunk = self.peer.recv(65536)
            assert chunk, "the meter closed the link"
            self.framer.feed(chunk)
        self.received.append(frame.raw)
        return frame.raw


@contextmanager
def linked(meter: GuruxMeter) -> Iterator[Link]:
    with GuruxPort(meter) as port, socket.create_connection(port.address, 5) as peer:
        yield Link(peer)


def fresh(settings: Settings) -> Connection:
    return Connection(settings, Counters(1000, 1000))


def layout() -> Layout:
    profile = GuruxMeter().profile
    columns = [
        Column(
            client.CaptureObject(target.objectType, obis.parse(target.logicalName), column.attributeIndex),
            "clock" if target.objectType == 8 else "channel",
        )
        for target, column in profile.captureObjects
    ]
    return Layout(PROFILE, 900, tuple(columns), BERLIN)


def meter_with_rows() -> GuruxMeter:
    meter = GuruxMeter(password=b"12345678")
    for index in range(ROWS):
        moment = (START + timedelta(minutes=15 * index)).astimezone(BERLIN)
        meter.profile.buffer.append([GXDateTime(moment), 4_000_000_000 + index, -index, 2300 + index % 7])
    return meter


@EACH
def test_dialog_registers_and_clock_read(settings: Settings) -> None:
    with linked(meter_with_rows()) as link:
        conn = fresh(settings)
        link.run(client.associate(conn))
        energy = link.run(client.get(conn, 3, ENERGY, 2))
        scaler_unit = link.run(client.read_scaler_unit(conn, 3, ENERGY))
        clock = link.run(client.get(conn, 8, CLOCK, 2))
        link.run(client.release(conn))
        assert conn.state is State.RELEASED
    assert (energy.type, energy.value) == (DataType.DOUBLE_LONG_UNSIGNED, 4_000_000_000)
    assert scaler_unit == ScalerUnit(-1, 30)
    assert parse_datetime(clock.value, UTC).utc == datetime(2026, 3, 1, 11, 34, 56, tzinfo=UTC)


@EACH
@pytest.mark.parametrize("max_pdu", [128, 512, 0xFFFF])
def test_profile_by_range_in_blocks_equals_the_meter(settings: Settings, max_pdu: int) -> None:
    with linked(meter_with_rows()) as link:
        conn = fresh(replace(settings, max_pdu_bytes=max_pdu))
        link.run(client.associate(conn))
        frames = len(link.received)
        objects = link.run(client.read_capture_objects(conn, PROFILE))
        end = START + timedelta(minutes=15 * 49)
        table = link.run(client.read_profile(conn, layout(), START + timedelta(minutes=30), end))
        link.run(client.release(conn))
    assert objects == tuple(column.capture_object for column in layout().columns)
    first = int((START + timedelta(minutes=30)).timestamp()) * 1_000_000
    assert table.captured_at.tolist() == [first + index * 900_000_000 for index in range(48)]
    expected = [[4_000_000_000 + index, -index, 2300 + index % 7] for index in range(2, 50)]
    assert table.values.tolist() == expected
    assert table.valid.all()
    if max_pdu < 0xFFFF:
        assert len(link.received) - frames > 4
        assert max(len(frame) for frame in link.received[frames:]) <= max_pdu + 8 + 32


def test_ciphered_dialog_nothing_plain_on_the_link() -> None:
    meter = meter_with_rows()
    with linked(meter) as link:
        conn = fresh(HLS)
        link.run(client.associate(conn))
        link.run(client.get(conn, 3, ENERGY, 2))
        link.run(client.release(conn))
    assert conn.meter_system_title == METER_TITLE
    assert meter.request_tags_right
    assert [frame[8] for frame in link.sent] == [0x60, 0xCB, 0xC8, 0x62]
    assert [frame[8] for frame in link.received] == [0x61, 0xCF, 0xCC, 0x63]
    assert b"\x21" in link.sent[0]
    assert all(ENERGY not in frame for frame in link.sent)


def test_password_wrong_rejected_with_its_code() -> None:
    wrong = Settings(32, authentication=Authentication.LLS, password=b"87654321")
    with linked(meter_with_rows()) as link, pytest.raises(AssociationRejected) as caught:
        link.run(client.associate(fresh(wrong)))
    assert caught.value.code == "ASSOCIATION_AUTHENTICATION_FAILURE"


def test_object_unknown_refused_and_dialog_goes_on() -> None:
    with linked(meter_with_rows()) as link:
        conn = fresh(HLS)
        link.run(client.associate(conn))
        with pytest.raises(ServiceError) as caught:
            link.run(client.get(conn, 3, obis.parse("1-0:99.99.9"), 2))
        assert caught.value.code == "DATA_ACCESS_OBJECT_UNDEFINED"
        assert link.run(client.get(conn, 3, ENERGY, 2)).value == 4_000_000_000


def test_system_title_of_another_meter_refused() -> None:
    settings = replace(HLS, meter_system_title=b"ABCDEFGX")
    with linked(meter_with_rows()) as link, pytest.raises(SecurityError) as caught:
        link.run(client.associate(fresh(settings)))
    assert caught.value.code == "SYSTEM_TITLE_MISMATCH"


def test_counter_used_twice_refused() -> None:
    """What the server of gurux-dlms 1.0.203 does by itself: AARE and first reply under one counter."""
    meter = meter_with_rows()
    meter.counter_used_twice = True
    with linked(meter) as link, pytest.raises(SecurityError) as caught:
        link.run(client.associate(fresh(HLS)))
    assert caught.value.code == "COUNTER_NOT_RISING"


def test_counter_that_begins_again_refused() -> None:
    """gurux' counter begins at 0 with every AARQ: a second dialog that remembers the first must not take
    it."""
    with linked(meter_with_rows()) as link:
        conn = fresh(HLS)
        link.run(client.associate(conn))
        link.run(client.release(conn))
        assert conn.received_counter is not None
        again = Connection(HLS, Counters(5000, 100), conn.received_counter)
        with pytest.raises(SecurityError) as caught:
            link.run(client.associate(again))
    assert caught.value.code == "COUNTER_NOT_RISING"
    assert again.received_counter == conn.received_counter
