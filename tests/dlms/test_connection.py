from __future__ import annotations

from dataclasses import replace
from unittest.mock import patch

import pytest

from dlms import client, obis, security
from dlms.acse import Aarq, Rlrq
from dlms.connection import Connection, Counters, Settings, State
from dlms.enums import ApduTag, Authentication, Conformance
from dlms.errors import (
    AssociationRejected,
    DlmsError,
    InvocationCounterError,
    LocalProtocolError,
    RemoteProtocolError,
    SecurityError,
    ServiceError,
)
from dlms.framing.wrapper import decode_frame, encode_frame
from dlms.xdlms.exception import ExceptionResponse
from dlms.xdlms.initiate import ConfirmedServiceError, InitiateRequest, InitiateResponse
from tests.dlms import vectors
from tests.dlms.peer import AK, CLIENT_TITLE, EK, METER_TITLE, Peer, carry

ACSE = vectors.load("acse")
ENERGY = (3, obis.parse("1-0:1.8.0"), 2)
LOWEST = Settings(16)
LLS = Settings(32, authentication=Authentication.LLS, password=b"12345678")
HLS = Settings(
    1,
    authentication=Authentication.HLS_GMAC,
    ciphered=True,
    client_system_title=CLIENT_TITLE,
    encryption_key=EK,
    authentication_key=AK,
)


def fresh(settings: Settings = HLS, received: int | None = None) -> Connection:
    return Connection(settings, Counters(1000, 100), received)


def hls_peer() -> Peer:
    peer = Peer(ciphered=True, mechanism=5)
    peer.values[ENERGY] = b"\x06\x00\x00\x00\x2a"
    return peer


def associated(peer: Peer, settings: Settings = HLS) -> Connection:
    conn = fresh(settings)
    carry(client.associate(conn), peer)
    return conn


# our AARQ

WITHOUT_KEYS = {"conformance": 0x007E1F, "max_pdu_bytes": 1200}


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("aarq_ln_no_security", Settings(16, **WITHOUT_KEYS)),
        ("aarq_ln_public_max_pdu_65535", Settings(16, conformance=0x001E1D, max_pdu_bytes=0xFFFF)),
    ],
)
def test_aarq_equals_the_book(name: str, settings: Settings) -> None:
    assert decode_frame(Connection(settings).open()).payload == vectors.octets(ACSE[name])


def test_aarq_hls_gmac_equals_the_book() -> None:
    """The book's example leaves out the calling AP title, which the client always sends with HLS-GMAC."""
    expected = Aarq.decode(vectors.octets(ACSE["aarq_ln_hls_gmac"]))
    challenge = expected.calling_authentication_value or b""
    with patch("secrets.token_bytes", return_value=challenge):
        payload = decode_frame(fresh(replace(HLS, ciphered=False, **WITHOUT_KEYS)).open()).payload
    ours = Aarq.decode(payload)
    assert ours.calling_ap_title == CLIENT_TITLE
    assert replace(ours, calling_ap_title=None).encode() == vectors.octets(ACSE["aarq_ln_hls_gmac"])


def test_aarq_ciphered_lls_equals_the_book() -> None:
    """The book's example carries a dedicated key, which the client does not use: all else is equal."""
    vector = ACSE["aarq_ln_ciphered_low_security"]
    keys, expected = vectors.keys(vector), Aarq.decode(vectors.octets(vector))
    settings = Settings(
        1,
        authentication=Authentication.LLS,
        ciphered=True,
        client_system_title=keys["system_title"],
        password=b"12345678",
        encryption_key=keys["encryption_key"],
        authentication_key=keys["authentication_key"],
        **WITHOUT_KEYS,
    )
    counter = vector["expect"]["user_information"]["invocation_counter"]
    ours = Aarq.decode(decode_frame(Connection(settings, Counters(counter, 1)).open()).payload)
    assert ours.user_information is not None
    assert ours.user_information[0] == ApduTag.GLO_INITIATE_REQUEST
    opened = security.unprotect(ours.user_information, **keys)
    assert opened.invocation_counter == counter
    with_key = replace(
        InitiateRequest.decode(opened.plain),
        dedicated_key=bytes.fromhex("00112233445566778899aabbccddeeff"),
    )
    sealed = security.protect(with_key.encode(), tag=0x21, invocation_counter=counter, **keys)
    assert replace(ours, user_information=sealed) == expected
    assert replace(ours, user_information=sealed).encode() == vectors.octets(vector)


# association


@pytest.mark.parametrize("ciphered", [False, True])
@pytest.mark.parametrize(
    "authentication", [Authentication.LOWEST, Authentication.LLS, Authentication.HLS_GMAC]
)
def test_associate_read_release_each_level(authentication: Authentication, ciphered: bool) -> None:
    settings = replace(HLS, authentication=authentication, ciphered=ciphered, password=b"pw")
    peer = Peer(ciphered=ciphered, mechanism=int(authentication) or None)
    peer.values[ENERGY] = b"\x12\x00\x07"
    conn = fresh(settings)
    info = carry(client.associate(conn), peer)
    assert conn.state is State.ASSOCIATED
    assert info.conformance == 0x00101D
    assert carry(client.get(conn, *ENERGY), peer).value == 7
    carry(client.release(conn), peer)
    assert conn.state is State.RELEASED
    released = peer.requests[-1]
    assert isinstance(released, Rlrq)
    assert (released.user_information is not None) == ciphered


def test_associate_again_after_release_on_one_connection() -> None:
    peer = hls_peer()
    conn = associated(peer)
    carry(client.release(conn), peer)
    carry(client.associate(conn), peer)
    assert carry(client.get(conn, *ENERGY), peer).value == 42


def test_counters_each_used_once_and_rising() -> None:
    peer = hls_peer()
    conn = associated(peer)
    for _ in range(5):
        carry(client.get(conn, *ENERGY), peer)
    carry(client.release(conn), peer)
    # AARQ, pass 3 (its proof below its APDU), five reads; the peer does not open the RLRQ's
    assert sorted(peer.request_counters) == list(range(1000, 1008))
    assert conn.counters.remaining == 100 - 9
    assert conn.received_counter == peer.counter


def test_aare_without_optional_fields_accepted() -> None:
    peer = Peer()
    peer.initiate = None
    conn = fresh(LOWEST)
    info = carry(client.associate(conn), peer)
    assert info.conformance == LOWEST.conformance
    assert info.server_max_receive_pdu_size == 0


def test_aare_conformance_negotiated_down_and_pdu_size_kept() -> None:
    peer = Peer()
    peer.initiate = InitiateResponse(int(Conformance.GET), 64).encode()
    conn = fresh(LOWEST)
    info = carry(client.associate(conn), peer)
    assert (info.conformance, info.server_max_receive_pdu_size) == (0x10, 64)
    with pytest.raises(LocalProtocolError) as caught:
        conn.request(b"\xc3" + bytes(64))
    assert caught.value.code == "REQUEST_TOO_LARGE"


def test_aare_responding_title_in_plain_association_ignored() -> None:
    peer = Peer()
    peer.title = b"odd"
    assert carry(client.associate(fresh(LOWEST)), peer).meter_system_title is None


def test_aare_without_title_uses_the_one_that_is_known() -> None:
    peer = hls_peer()
    peer.title = None
    carry(client.associate(fresh(replace(HLS, meter_system_title=METER_TITLE))), peer)
    with pytest.raises(SecurityError) as caught:
        carry(client.associate(fresh()), peer)
    assert caught.value.code == "SYSTEM_TITLE_MISSING"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"title": b"MTR\x00\x00\x00\x00\x08"}, "TAG_MISMATCH"),
        ({"title": b"short"}, "SYSTEM_TITLE_LENGTH"),
        ({"context": 1}, "CONTEXT_MISMATCH"),
        ({"mechanism": 1}, "HLS_CHALLENGE_INVALID"),
        ({"challenge": b"short"}, "HLS_CHALLENGE_INVALID"),
        ({"challenge": bytes(65)}, "HLS_CHALLENGE_INVALID"),
        ({"initiate": None}, "REPLY_NOT_CIPHERED"),
    ],
)
def test_aare_that_weakens_security_refused(change: dict[str, object], code: str) -> None:
    peer = hls_peer()
    for name, value in change.items():
        setattr(peer, name, value)
    conn = fresh()
    with pytest.raises(SecurityError) as caught:
        carry(client.associate(conn), peer)
    assert caught.value.code == code
    assert conn.state is State.DEAD


def test_aare_with_plain_user_information_refused() -> None:
    peer = hls_peer()
    plain = InitiateResponse(0x00101D, 0).encode()
    peer.seal = lambda apdu, tag=None: apdu if tag == ApduTag.GLO_INITIATE_RESPONSE else plain  # type: ignore[method-assign]
    with pytest.raises(SecurityError) as caught:
        carry(client.associate(fresh()), peer)
    assert caught.value.code == "REPLY_NOT_CIPHERED"


def test_aare_that_reflects_our_challenge_refused() -> None:
    peer = hls_peer()
    conn = fresh()
    with patch("secrets.token_bytes", return_value=peer.challenge), pytest.raises(SecurityError) as caught:
        carry(client.associate(conn), peer)
    assert caught.value.code == "HLS_CHALLENGE_REFLECTED"


def test_aare_with_another_title_than_expected_refused() -> None:
    with pytest.raises(SecurityError) as caught:
        carry(client.associate(fresh(replace(HLS, meter_system_title=bytes(8)))), hls_peer())
    assert caught.value.code == "SYSTEM_TITLE_MISMATCH"


def test_aare_with_another_mechanism_refused() -> None:
    peer = Peer(mechanism=5)
    with pytest.raises(SecurityError) as caught:
        carry(client.associate(fresh(LLS)), peer)
    assert caught.value.code == "MECHANISM_MISMATCH"


@pytest.mark.parametrize(
    ("result", "diagnostic", "code", "retryable"),
    [
        (1, 0, "ASSOCIATION_REJECTED", False),
        (1, 13, "ASSOCIATION_AUTHENTICATION_FAILURE", False),
        (1, 2, "ASSOCIATION_APPLICATION_CONTEXT_NAME_NOT_SUPPORTED", False),
        (1, 99, "ASSOCIATION_REJECTED", False),
        (2, 1, "ASSOCIATION_NO_REASON_GIVEN", True),
        (0, 14, "ASSOCIATION_AUTHENTICATION_REQUIRED", False),
    ],
)
def test_aare_refusal_raises_its_code(result: int, diagnostic: int, code: str, retryable: bool) -> None:
    peer = Peer()
    peer.result, peer.diagnostic = result, diagnostic
    with pytest.raises(AssociationRejected) as caught:
        carry(client.associate(fresh(LLS)), peer)
    assert (caught.value.code, caught.value.retryable) == (code, retryable)
    assert (caught.value.result, caught.value.diagnostic) == (result, diagnostic)


def test_aare_refusal_of_the_book_raises_its_code() -> None:
    peer = Peer()
    peer.alter_wire = lambda _: vectors.octets(ACSE["aare_application_context_name_not_supported"])
    with pytest.raises(AssociationRejected) as caught:
        carry(client.associate(fresh(LLS)), peer)
    assert caught.value.code == "ASSOCIATION_APPLICATION_CONTEXT_NAME_NOT_SUPPORTED"


@pytest.mark.parametrize("ciphered", [False, True])
def test_aare_refusal_is_plain_in_a_ciphered_dialog_too(ciphered: bool) -> None:
    peer = Peer()
    peer.result, peer.diagnostic = 1, 13
    peer.initiate = ConfirmedServiceError(1, 6, 1).encode()
    with pytest.raises(AssociationRejected) as caught:
        carry(client.associate(fresh(HLS if ciphered else LOWEST)), peer)
    assert "0106" in caught.value.detail


def test_initiate_error_in_an_accepting_aare_is_a_refusal() -> None:
    peer = Peer()
    peer.initiate = ConfirmedServiceError(1, 6, 1).encode()
    with pytest.raises(AssociationRejected) as caught:
        carry(client.associate(fresh(LOWEST)), peer)
    assert caught.value.code == "ASSOCIATION_INITIATE_ERROR"


@pytest.mark.parametrize(
    ("response", "error", "code"),
    [
        (ExceptionResponse(1, 1), AssociationRejected, "EXCEPTION_OPERATION_NOT_POSSIBLE"),
        (ExceptionResponse(1, 5), SecurityError, "EXCEPTION_DECIPHERING_ERROR"),
        (ExceptionResponse(1, 6, 77), InvocationCounterError, "INVOCATION_COUNTER_REFUSED"),
        (ExceptionResponse(1, 9), AssociationRejected, "EXCEPTION_UNKNOWN"),
        (ConfirmedServiceError(1, 6, 2), AssociationRejected, "ASSOCIATION_INITIATE_ERROR"),
    ],
)
def test_aarq_answered_by_an_error_raises_its_code(
    response: ExceptionResponse | ConfirmedServiceError, error: type[DlmsError], code: str
) -> None:
    peer = hls_peer()
    peer.alter_wire = lambda _: response.encode()
    with pytest.raises(error) as caught:
        carry(client.associate(fresh()), peer)
    assert caught.value.code == code
    if isinstance(caught.value, InvocationCounterError):
        assert caught.value.expected == 77


def test_pass_3_refused_is_an_authentication_failure() -> None:
    peer = hls_peer()
    peer.alter = lambda apdu: apdu[:3] + b"\x03\x00"
    conn = fresh()
    with pytest.raises(AssociationRejected) as caught:
        carry(client.associate(conn), peer)
    assert caught.value.code == "ASSOCIATION_AUTHENTICATION_FAILURE"
    assert conn.state is State.DEAD


@pytest.mark.parametrize(
    ("alter", "code"),
    [
        (lambda apdu: apdu[:-1] + bytes((apdu[-1] ^ 1,)), "HLS_ANSWER_MISMATCH"),
        (lambda apdu: apdu[:4] + b"\x00", "HLS_ANSWER_MISSING"),
        (lambda apdu: apdu[:6] + b"\x09\x00", "HLS_ANSWER_INVALID"),
        (lambda apdu: apdu[:6] + b"\x11\x00", "HLS_ANSWER_MISSING"),
    ],
)
def test_pass_4_that_proves_nothing_refused(alter: object, code: str) -> None:
    peer = hls_peer()
    peer.alter = alter  # type: ignore[assignment]
    conn = fresh()
    with pytest.raises((SecurityError, RemoteProtocolError)) as caught:
        carry(client.associate(conn), peer)
    assert caught.value.code == code
    assert conn.state is State.DEAD


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
