from __future__ import annotations

from dataclasses import replace

import pytest

from dlms import client
from dlms.connection import Connection, Counters, Settings, State
from dlms.enums import ApduTag, Authentication
from dlms.errors import (
    DlmsError,
    InvocationCounterError,
    LocalProtocolError,
    RemoteProtocolError,
    SecurityError,
    ServiceError,
)
from dlms.framing.wrapper import encode_frame
from dlms.xdlms.exception import ExceptionResponse
from dlms.xdlms.initiate import ConfirmedServiceError, InitiateResponse
from tests.dlms.peer import (
    EK,
    ENERGY,
    HLS,
    LOWEST,
    METER_TITLE,
    Peer,
    associated,
    carry,
    fresh,
    hls_peer,
)

# ciphered replies


def test_reply_under_a_counter_seen_before_refused() -> None:
    peer = hls_peer()
    conn = associated(peer)
    carry(client.get(conn, *ENERGY), peer)
    peer.counter -= 1
    with pytest.raises(SecurityError) as caught:
        carry(client.get(conn, *ENERGY), peer)
    assert caught.value.code == "COUNTER_NOT_RISING"
    with pytest.raises(LocalProtocolError):
        carry(client.get(conn, *ENERGY), peer)


def test_reply_of_an_earlier_dialog_replayed_refused() -> None:
    peer = hls_peer()
    recorded: list[bytes] = []
    peer.alter_wire = lambda apdu: recorded.append(apdu) or apdu
    conn = associated(peer)
    carry(client.get(conn, *ENERGY), peer)
    again = fresh(received=conn.received_counter)
    peer.alter_wire = lambda _: recorded[0]
    with pytest.raises(SecurityError) as caught:
        carry(client.associate(again), peer)
    assert caught.value.code == "COUNTER_NOT_RISING"


def test_reply_with_a_bad_tag_does_not_move_the_counter() -> None:
    peer = hls_peer()
    conn = associated(peer)
    before = conn.received_counter
    peer.counter += 5000
    peer.alter_wire = lambda apdu: apdu[:-1] + bytes((apdu[-1] ^ 1,))
    with pytest.raises(SecurityError) as caught:
        carry(client.get(conn, *ENERGY), peer)
    assert caught.value.code == "TAG_MISMATCH"
    assert conn.received_counter == before


@pytest.mark.parametrize("tag", [ApduTag.GLO_ACTION_RESPONSE, ApduTag.GLO_SET_RESPONSE])
def test_reply_under_another_services_tag_refused(tag: ApduTag) -> None:
    peer = hls_peer()
    conn = associated(peer)
    peer.alter_wire = lambda apdu: bytes((tag,)) + apdu[1:]
    with pytest.raises(RemoteProtocolError) as caught:
        carry(client.get(conn, *ENERGY), peer)
    assert caught.value.code == "REPLY_UNEXPECTED"


def test_reply_plain_in_a_ciphered_dialog_refused() -> None:
    peer = hls_peer()
    conn = associated(peer)
    peer.alter_wire = lambda _: bytes.fromhex("c401c200060000002a")
    with pytest.raises(SecurityError) as caught:
        carry(client.get(conn, *ENERGY), peer)
    assert caught.value.code == "REPLY_NOT_CIPHERED"


def test_reply_in_general_glo_ciphering_accepted() -> None:
    peer = hls_peer()
    conn = associated(peer)

    def general(apdu: bytes) -> bytes:
        return bytes((ApduTag.GENERAL_GLO_CIPHERING, 8)) + METER_TITLE + apdu[1:]

    peer.alter_wire = general
    assert carry(client.get(conn, *ENERGY), peer).value == 42
    peer.alter_wire = lambda apdu: bytes((ApduTag.GENERAL_GLO_CIPHERING, 8)) + bytes(8) + apdu[1:]
    with pytest.raises(SecurityError) as caught:
        carry(client.get(conn, *ENERGY), peer)
    assert caught.value.code == "SYSTEM_TITLE_MISMATCH"


@pytest.mark.parametrize(
    ("response", "error", "code"),
    [
        (ExceptionResponse(1, 1), ServiceError, "EXCEPTION_OPERATION_NOT_POSSIBLE"),
        (ExceptionResponse(2, 2), ServiceError, "EXCEPTION_SERVICE_NOT_SUPPORTED"),
        (ExceptionResponse(1, 5), SecurityError, "EXCEPTION_DECIPHERING_ERROR"),
        (ExceptionResponse(1, 6, 4711), InvocationCounterError, "INVOCATION_COUNTER_REFUSED"),
        (ConfirmedServiceError(5, 0, 3), ServiceError, "CONFIRMED_SERVICE_ERROR"),
    ],
)
def test_exception_plain_in_a_ciphered_dialog_raises_its_code(
    response: ExceptionResponse | ConfirmedServiceError, error: type[DlmsError], code: str
) -> None:
    peer = hls_peer()
    conn = associated(peer)
    peer.alter_wire = lambda _: response.encode()
    with pytest.raises(error) as caught:
        carry(client.get(conn, *ENERGY), peer)
    assert caught.value.code == code


def test_ciphered_tag_in_a_plain_dialog_refused() -> None:
    peer = Peer()
    conn = associated(peer, LOWEST)
    peer.alter_wire = lambda _: bytes.fromhex("cc1130000000010000000000000000000000")
    with pytest.raises(RemoteProtocolError) as caught:
        carry(client.get(conn, *ENERGY), peer)
    assert caught.value.code == "REPLY_UNEXPECTED"


def test_frame_of_another_address_refused() -> None:
    conn = fresh(LOWEST)
    conn.open()
    with pytest.raises(RemoteProtocolError) as caught:
        conn.accept(encode_frame(2, 16, b"\x61\x00"))
    assert caught.value.code == "WRAPPER_ADDRESS"


# pushes and release


def test_pushes_between_request_and_reply_kept_apart() -> None:
    peer = hls_peer()
    push = b"\x0f\x00\x00\x00\x01\x00\x11\x05"
    peer.before = [push]
    conn = associated(peer)
    peer.before = [
        push,
        peer.seal(push, ApduTag.GENERAL_GLO_CIPHERING)[:1] + b"\x00" + peer.seal(push, 0xDB)[1:],
    ]
    assert carry(client.get(conn, *ENERGY), peer).value == 42
    peer.before = [push]
    carry(client.release(conn), peer)
    assert [frame[8] for frame in conn.unsolicited] == [0x0F, 0x0F, 0xDB, 0x0F]


def test_pushes_without_end_end_the_dialog() -> None:
    peer = hls_peer()
    conn = associated(peer)
    peer.before = [b"\x0f\x00\x00\x00\x01\x00\x11\x05"] * 9
    with pytest.raises(RemoteProtocolError) as caught:
        carry(client.get(conn, *ENERGY), peer)
    assert caught.value.code == "REPLY_MISSING"


@pytest.mark.parametrize(
    "reply", ["6300", "6303800100", "630e800100be0f040e0800065f1f040000101dffff0007", "d80101"]
)
def test_release_answered_any_way_is_released(reply: str) -> None:
    peer = hls_peer()
    conn = associated(peer)
    peer.alter_wire = lambda _: bytes.fromhex(reply)
    carry(client.release(conn), peer)
    assert conn.state is State.RELEASED


def test_release_answered_by_something_else_raises() -> None:
    peer = hls_peer()
    conn = associated(peer)
    peer.alter_wire = lambda _: bytes.fromhex("c401c100")
    with pytest.raises(RemoteProtocolError):
        carry(client.release(conn), peer)
    assert conn.state is State.DEAD


def test_release_with_a_bad_tag_refused() -> None:
    peer = hls_peer()
    conn = associated(peer)
    sealed = peer.seal(InitiateResponse(0x00101D, 0).encode(), ApduTag.GLO_INITIATE_RESPONSE)
    body = (
        b"\x80\x01\x00\xbe"
        + bytes((len(sealed) + 2, 4, len(sealed)))
        + sealed[:-1]
        + bytes((sealed[-1] ^ 1,))
    )
    peer.alter_wire = lambda _: bytes((0x63, len(body))) + body
    with pytest.raises(SecurityError):
        carry(client.release(conn), peer)


# settings, counters, states


def test_counters_blocks_given_out_in_order_then_exhausted() -> None:
    counters = Counters(5, 2)
    assert (counters.take(), counters.remaining) == (5, 1)
    counters.extend(100, 1)
    assert (counters.take(), counters.take(), counters.remaining) == (6, 100, 0)
    with pytest.raises(LocalProtocolError) as caught:
        counters.take()
    assert caught.value.code == "COUNTERS_EXHAUSTED"


@pytest.mark.parametrize(("start", "count"), [(6, 1), (10, 0), ((1 << 32) - 1, 2)])
def test_counters_block_that_cannot_be_refused(start: int, count: int) -> None:
    counters = Counters(5, 2)
    with pytest.raises(LocalProtocolError):
        counters.extend(start, count)


def test_counters_exhausted_before_anything_is_sent() -> None:
    conn = Connection(HLS, Counters())
    with pytest.raises(LocalProtocolError) as caught:
        next(client.associate(conn))
    assert caught.value.code == "COUNTERS_EXHAUSTED"


@pytest.mark.parametrize(
    "settings",
    [
        replace(HLS, authentication=Authentication.HLS_MD5),
        replace(HLS, client_system_title=b""),
        replace(HLS, encryption_key=b""),
        replace(HLS, authentication_key=bytes(15)),
    ],
)
def test_settings_that_cannot_work_refused(settings: Settings) -> None:
    with pytest.raises(LocalProtocolError):
        Connection(settings)


def test_settings_keep_secrets_out_of_repr() -> None:
    text = repr(replace(HLS, password=b"hush"))
    assert "hush" not in text
    assert repr(EK) not in text


def test_service_before_association_refused() -> None:
    for dialog in (client.get(fresh(), *ENERGY), client.release(fresh())):
        with pytest.raises(LocalProtocolError) as caught:
            next(dialog)
        assert caught.value.code == "STATE"
