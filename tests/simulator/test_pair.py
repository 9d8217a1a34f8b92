"""Both roles of our own back to back in memory: `dlms.client` dialogs against a simulated meter."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TypeVar

import numpy as np
import pytest

from dlms import axdr, client, obis
from dlms.connection import Connection, Counters, Settings, State
from dlms.effects import Dialog, Receive, Send
from dlms.enums import Authentication, ControlState
from dlms.errors import AssociationRejected, DlmsError, InvocationCounterError, ServiceError
from dlms.framing.wrapper import decode_frame, encode_frame
from dlms.profile import Coding, Column, Layout
from dlms.server import MeterServer
from simulator import truth
from simulator.identity import derive_identity
from simulator.meter import Meter
from tests.simulator.peer import LOAD_PROFILE, NOW, RELAY, SEED, make_meter

T = TypeVar("T")
DAY = NOW.replace(hour=0, minute=0, second=0)
TITLE = b"HES\x00\x00\x00\x00\x01"


def carry(dialog: Dialog[T], meter: Meter, server: MeterServer) -> T:
    """Run a dialog to its end in memory."""
    answers: list[bytes] = []
    sent: bytes | None = None
    try:
        while True:
            effect = dialog.send(sent)
            sent = None
            if isinstance(effect, Send):
                frame = decode_frame(effect.frame)
                reply = server.handle(frame.payload, frame.source)
                if reply is not None:
                    answers.append(encode_frame(meter.server_address, frame.source, reply))
            elif isinstance(effect, Receive):
                sent = answers.pop(0)
    except StopIteration as end:
        result: T = end.value
        return result


class Link:
    """A connection of our client to one simulated meter."""

    def __init__(self, meter: Meter, client_address: int = 1, **changes: object) -> None:
        identity = derive_identity(SEED, meter.number)
        words: dict[str, object] = {
            "client_address": client_address,
            "meter_system_title": meter.system_title,
        }
        if client_address == 32:
            words |= {"authentication": Authentication.LLS, "password": identity.lls_password.encode()}
        if client_address == 1:
            words |= {
                "authentication": Authentication.HLS_GMAC,
                "ciphered": True,
                "client_system_title": TITLE,
                "encryption_key": identity.encryption_key,
                "authentication_key": identity.authentication_key,
            }
        first = changes.pop("counter", 100_000)
        self.meter, self.server = meter, MeterServer(meter)
        self.conn = Connection(Settings(**(words | changes)), Counters(first, 1000), None)  # type: ignore[arg-type]

    def run(self, dialog: Dialog[T]) -> T:
        return carry(dialog, self.meter, self.server)


def layout_of(link: Link) -> Layout:
    objects = link.run(client.read_capture_objects(link.conn, LOAD_PROFILE))
    roles = ["clock", "status", *["channel"] * 8]
    columns = [Column(item, role, Coding.INT) for item, role in zip(objects, roles, strict=True)]  # type: ignore[arg-type]
    return Layout(LOAD_PROFILE, truth.CAPTURE_PERIOD_S, tuple(columns), UTC)


@pytest.mark.parametrize("max_pdu_bytes", [0xFFFF, 512, 128])
@pytest.mark.parametrize("client_address", [32, 1])
def test_profile_of_a_day_is_the_truth(client_address: int, max_pdu_bytes: int) -> None:
    link = Link(make_meter(3), client_address, max_pdu_bytes=max_pdu_bytes)
    link.run(client.associate(link.conn))
    table = link.run(client.read_profile(link.conn, layout_of(link), DAY - timedelta(days=1), DAY))
    stamps, values, status = truth.interval_rows(SEED, 3, DAY - timedelta(days=1), DAY)
    assert len(table) == 97
    assert np.array_equal(table.captured_at, stamps)
    assert np.array_equal(table.values, values)
    assert np.array_equal(table.status, status)
    assert table.valid.all()
    link.run(client.release(link.conn))
    assert link.conn.state is State.RELEASED


@pytest.mark.parametrize("client_address", [16, 32, 1])
def test_clock_is_read_over_every_association(client_address: int) -> None:
    link = Link(make_meter(), client_address)
    link.run(client.associate(link.conn))
    data = link.run(client.get(link.conn, 8, obis.parse("0-0:1.0.0.255"), 2))
    assert isinstance(data.value, bytes)
    assert len(data.value) == 12


def test_relay_is_switched_and_read_back() -> None:
    link = Link(make_meter())
    link.run(client.associate(link.conn))
    assert link.run(client.action(link.conn, 70, RELAY, 1, axdr.i8(0))) is None
    assert link.run(client.get(link.conn, 70, RELAY, 3)) == axdr.enum(ControlState.DISCONNECTED)
    assert link.run(client.get(link.conn, 70, RELAY, 2)) == axdr.boolean(False)


def test_unknown_counter_is_learnt_from_the_refusal() -> None:
    meter = make_meter()
    meter.received_counter = 7_000
    link = Link(meter, counter=0)
    with pytest.raises(InvocationCounterError) as caught:
        link.run(client.associate(link.conn))
    assert caught.value.expected == 7_001
    again = Link(meter, counter=7_001)
    again.run(client.associate(again.conn))


def test_unknown_counter_is_learnt_over_the_public_client() -> None:
    meter = make_meter()
    public = Link(meter, 16)
    public.run(client.associate(public.conn))
    seen = public.run(client.get(public.conn, 1, obis.parse("0-0:43.1.0.255"), 2)).value
    link = Link(meter, counter=seen + 1)
    link.run(client.associate(link.conn))


@pytest.mark.parametrize(
    ("client_address", "changes"),
    [(1, {"encryption_key": bytes(16)}), (32, {"password": b"wrong"}), (48, {})],
)
def test_wrong_credentials_end_as_a_rejected_association(
    client_address: int, changes: dict[str, object]
) -> None:
    link = Link(make_meter(), client_address, **changes)
    with pytest.raises(AssociationRejected):
        link.run(client.associate(link.conn))


def test_another_meters_system_title_is_noticed() -> None:
    link = Link(make_meter(2), meter_system_title=make_meter(1).system_title)
    with pytest.raises(DlmsError) as caught:
        link.run(client.associate(link.conn))
    assert caught.value.code == "SYSTEM_TITLE_MISMATCH"


def test_reader_may_not_switch() -> None:
    link = Link(make_meter(), 32)
    link.run(client.associate(link.conn))
    with pytest.raises(ServiceError) as caught:
        link.run(client.action(link.conn, 70, RELAY, 1, axdr.i8(0)))
    assert caught.value.code == "ACTION_READ_WRITE_DENIED"


def test_event_log_is_read_as_a_profile() -> None:
    link = Link(make_meter())
    link.run(client.associate(link.conn))
    name = obis.parse("0-0:99.98.0.255")
    objects = link.run(client.read_capture_objects(link.conn, name))
    columns = Column(objects[0], "clock"), Column(objects[1])
    table = link.run(
        client.read_profile(link.conn, Layout(name, 0, columns, UTC), NOW - timedelta(days=40), NOW)
    )
    moments = [datetime.fromtimestamp(stamp / 1_000_000, UTC) for stamp in table.captured_at.tolist()]
    rows = link.meter.events.rows(NOW.timestamp())
    assert [
        (int(moment.timestamp()), code)
        for moment, code in zip(moments, table.values[:, 0].tolist(), strict=True)
    ] == rows
    assert rows
