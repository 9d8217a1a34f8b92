from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dlms import axdr, client, obis
from dlms.client import ScalerUnit
from dlms.clock import format_datetime, parse_datetime
from dlms.connection import Connection, Counters, Settings, State
from dlms.effects import Receive
from dlms.enums import DataAccessResult
from dlms.errors import DlmsError, LocalProtocolError, RemoteProtocolError, ServiceError
from dlms.framing.wrapper import encode_frame
from dlms.profile import Column, Layout
from dlms.xdlms.access import CaptureObject, Range
from dlms.xdlms.get import GetRequestNext, GetRequestNormal
from tests.dlms import strategies
from tests.dlms.peer import ENERGY, HLS, Peer, carry

PROFILE = obis.parse("1-0:99.1.0")
CLOCK = obis.parse("0-0:1.0.0")
RELAY = obis.parse("0-0:96.3.10")
START = datetime(2026, 3, 1, tzinfo=UTC)


def plain(peer: Peer) -> Connection:
    conn = Connection(Settings(16))
    carry(client.associate(conn), peer)
    return conn


def test_get_by_blocks_gives_the_whole_value() -> None:
    peer = Peer(block_octets=10)
    peer.values[ENERGY] = axdr.encode(axdr.octets(bytes(range(200))))
    conn = plain(peer)
    assert carry(client.get(conn, *ENERGY), peer).value == bytes(range(200))
    numbers = [request.block_number for request in peer.requests if isinstance(request, GetRequestNext)]
    assert numbers == list(range(1, 21))


@given(strategies.data, st.integers(1, 50), st.booleans())
@settings(max_examples=30)
def test_get_any_value_by_any_block_size_unchanged(
    data: axdr.Data, block_octets: int, ciphered: bool
) -> None:
    peer = Peer(ciphered=ciphered, mechanism=5 if ciphered else None, block_octets=block_octets)
    peer.values[ENERGY] = axdr.encode(data)
    conn = Connection(HLS if ciphered else Settings(16), Counters(1, 10_000))
    carry(client.associate(conn), peer)
    assert carry(client.get(conn, *ENERGY), peer) == data


def test_get_blocks_that_begin_at_zero_accepted() -> None:
    peer = Peer(block_octets=3)
    peer.values[ENERGY] = axdr.encode(axdr.u64(7))
    conn = plain(peer)
    peer.alter = lambda apdu: apdu[:4] + (int.from_bytes(apdu[4:8]) - 1).to_bytes(4) + apdu[8:]
    blocks = peer._block
    numbers = iter((1, 2, 3))
    peer._block = lambda invoke, _: blocks(invoke, next(numbers))  # type: ignore[method-assign]
    assert carry(client.get(conn, *ENERGY), peer).value == 7
    sent = [request.block_number for request in peer.requests if isinstance(request, GetRequestNext)]
    assert sent == [0, 1]


@pytest.mark.parametrize(
    ("second", "code"),
    [
        ("c402c1000000000100020102", "BLOCK_SEQUENCE"),  # block 1 again
        ("c402c1000000000300020102", "BLOCK_SEQUENCE"),  # block 3
        ("c401c1001105", "BLOCK_SEQUENCE"),  # a whole result
        ("c402c2000000000200020102", "INVOKE_ID_MISMATCH"),
        ("c402c1000000000200", "AXDR_TRUNCATED"),
        ("c403c101001105", "APDU_TYPE"),
        ("c701c100", "REPLY_UNEXPECTED"),
    ],
)
def test_get_blocks_out_of_order_kill_the_connection(second: str, code: str) -> None:
    peer = Peer(block_octets=4)
    peer.values[ENERGY] = axdr.encode(axdr.octets(bytes(20)))
    conn = plain(peer)
    replies = iter(["c402c1000000000100020914", second])
    peer.alter_wire = lambda _: bytes.fromhex(next(replies))
    with pytest.raises(RemoteProtocolError) as caught:
        carry(client.get(conn, *ENERGY), peer)
    assert caught.value.code == code
    assert conn.state is State.DEAD


def test_get_result_beyond_the_ceiling_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "MAX_RESULT_BYTES", 50)
    peer = Peer(block_octets=10)
    peer.values[ENERGY] = axdr.encode(axdr.octets(bytes(100)))
    with pytest.raises(RemoteProtocolError) as caught:
        carry(client.get(plain(peer), *ENERGY), peer)
    assert caught.value.code == "RESULT_TOO_LARGE"


def test_get_blocks_without_octets_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "MAX_BLOCKS", 20)
    peer = Peer()
    peer.values[ENERGY] = b"\x00"
    conn = plain(peer)
    numbers = iter(range(1, 100))
    peer._service = lambda _: b"\xc4\x02\xc1\x00" + next(numbers).to_bytes(4) + b"\x00\x00"  # type: ignore[method-assign]
    with pytest.raises(RemoteProtocolError) as caught:
        carry(client.get(conn, *ENERGY), peer)
    assert caught.value.code == "RESULT_TOO_LARGE"


@pytest.mark.parametrize("result", [*DataAccessResult][1:])
def test_data_access_result_raises_its_code_and_the_dialog_goes_on(result: DataAccessResult) -> None:
    peer = Peer()
    peer.results[ENERGY] = result
    conn = plain(peer)
    for dialog in (client.get(conn, *ENERGY), client.set_attribute(conn, *ENERGY, axdr.null())):
        with pytest.raises(ServiceError) as caught:
            carry(dialog, peer)
        assert caught.value.code == f"DATA_ACCESS_{result.name}"
        assert caught.value.data_access_result == result
        assert caught.value.retryable == (result is DataAccessResult.TEMPORARY_FAILURE)
    assert conn.state is State.ASSOCIATED


def test_data_access_result_unknown_or_in_a_block_raises() -> None:
    peer = Peer()
    conn = plain(peer)
    for reply, code in (
        ("c401c1015a", "DATA_ACCESS_RESULT_UNKNOWN"),
        ("c402c101000000010110", "DATA_ACCESS_NO_LONG_GET_IN_PROGRESS"),
    ):
        peer.alter_wire = lambda _, reply=reply: bytes.fromhex(reply)
        with pytest.raises(ServiceError) as caught:
            carry(client.get(conn, *ENERGY), peer)
        assert caught.value.code == code


def test_refusal_under_another_invoke_id_is_still_a_refusal() -> None:
    peer = Peer()
    conn = plain(peer)
    peer.alter_wire = lambda _: bytes.fromhex("c401480103")
    with pytest.raises(ServiceError):
        carry(client.get(conn, *ENERGY), peer)
    peer.alter_wire = lambda _: bytes.fromhex("c401480011 05".replace(" ", ""))
    with pytest.raises(RemoteProtocolError) as caught:
        carry(client.get(conn, *ENERGY), peer)
    assert caught.value.code == "INVOKE_ID_MISMATCH"


def test_invoke_ids_run_from_1_to_15() -> None:
    peer = Peer()
    peer.values[ENERGY] = b"\x00"
    conn = plain(peer)
    for _ in range(17):
        carry(client.get(conn, *ENERGY), peer)
    ids = [request.invoke for request in peer.requests if isinstance(request, GetRequestNormal)]
    assert ids == [0xC0 | number for number in [*range(1, 16), 1, 2]]


def test_action_returns_nothing_a_value_or_its_error() -> None:
    peer = Peer()
    conn = plain(peer)
    assert carry(client.action(conn, 70, RELAY, 1, axdr.i8(0)), peer) is None
    peer.values[(70, RELAY, 2)] = axdr.encode(axdr.u8(5))
    assert carry(client.action(conn, 70, RELAY, 2), peer) == axdr.u8(5)
    peer.results[(70, RELAY, 1)] = 3
    with pytest.raises(ServiceError) as caught:
        carry(client.action(conn, 70, RELAY, 1, axdr.i8(0)), peer)
    assert caught.value.code == "ACTION_READ_WRITE_DENIED"
    peer.alter_wire = lambda _: bytes.fromhex("c701c40001010d")
    with pytest.raises(ServiceError) as caught:
        carry(client.action(conn, 70, RELAY, 1), peer)
    assert caught.value.code == "DATA_ACCESS_SCOPE_OF_ACCESS_VIOLATED"


def test_set_attribute_sends_the_value() -> None:
    peer = Peer()
    conn = plain(peer)
    carry(client.set_attribute(conn, 8, CLOCK, 3, axdr.i16(-60)), peer)
    assert peer.requests[-1].data == b"\x10\xff\xc4"


def test_scaler_unit_and_capture_objects_read() -> None:
    peer = Peer()
    conn = plain(peer)
    peer.values[(3, ENERGY[1], 3)] = axdr.encode(axdr.structure(axdr.i8(-1), axdr.enum(30)))
    peer.values[(5, ENERGY[1], 4)] = axdr.encode(axdr.structure(axdr.i8(0)))
    assert carry(client.read_scaler_unit(conn, 3, ENERGY[1]), peer) == ScalerUnit(-1, 30)
    with pytest.raises(RemoteProtocolError):
        carry(client.read_scaler_unit(conn, 5, ENERGY[1]), peer)
    with pytest.raises(LocalProtocolError):
        carry(client.read_scaler_unit(conn, 8, ENERGY[1]), peer)
    objects = (CaptureObject(8, CLOCK, 2), CaptureObject(3, ENERGY[1], 2, 1))
    peer.values[(7, PROFILE, 3)] = axdr.encode(axdr.array(*(item.to_data() for item in objects)))
    assert carry(client.read_capture_objects(conn, PROFILE), peer) == objects
    peer.values[(7, PROFILE, 3)] = b"\x11\x00"
    with pytest.raises(RemoteProtocolError):
        carry(client.read_capture_objects(conn, PROFILE), peer)


def layout(inverted: bool = False) -> Layout:
    columns = Column(CaptureObject(8, CLOCK, 2), "clock"), Column(CaptureObject(*ENERGY))
    return Layout(PROFILE, 900, columns, UTC, deviation_inverted=inverted)


@pytest.mark.parametrize("inverted", [False, True])
def test_read_profile_asks_for_the_range_and_decodes(inverted: bool) -> None:
    peer = Peer(block_octets=50)
    rows = [
        axdr.structure(
            axdr.octets(format_datetime(START + timedelta(minutes=15 * index), UTC)), axdr.u32(index)
        )
        for index in range(4)
    ]
    peer.values[(7, PROFILE, 2)] = axdr.encode(axdr.array(*rows))
    conn = plain(peer)
    end = START + timedelta(hours=1)
    table = carry(client.read_profile(conn, layout(inverted), START, end), peer)
    assert table.values[:, 0].tolist() == [0, 1, 2, 3]
    request = next(
        item for item in peer.requests if isinstance(item, GetRequestNormal) and item.class_id == 7
    )
    assert request.access is not None
    asked = Range.from_access(request.access)
    assert asked.restricting_object == CaptureObject(8, CLOCK, 2, 0)
    bounds = [parse_datetime(bound.value, UTC, inverted).utc for bound in (asked.start, asked.end)]
    assert bounds == [START, end]


@given(st.lists(st.binary(max_size=60), max_size=4), st.booleans())
@settings(max_examples=200)
def test_dialog_against_hostile_frames_raises_only_dlms_errors(replies: list[bytes], framed: bool) -> None:
    conn = Connection(Settings(16))
    conn.open()
    conn.state = State.ASSOCIATED
    dialog = client.get(conn, *ENERGY)
    effect = next(dialog)
    try:
        for reply in replies:
            while not isinstance(effect, Receive):
                effect = dialog.send(None)
            raw = encode_frame(1, 16, b"\xc4" + reply) if framed else reply
            effect = dialog.send(raw)
    except (DlmsError, StopIteration):
        pass


def test_carrier_that_answers_receive_with_nothing_is_told() -> None:
    dialog = client.associate(Connection(Settings(16)))
    next(dialog)
    dialog.send(None)
    with pytest.raises(LocalProtocolError) as caught:
        dialog.send(None)
    assert caught.value.code == "CARRIER"
