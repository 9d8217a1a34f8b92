from __future__ import annotations

from dataclasses import replace
from unittest.mock import patch

import pytest

from dlms import client, security
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
)
from dlms.framing.wrapper import decode_frame
from dlms.xdlms.exception import ExceptionResponse
from dlms.xdlms.initiate import ConfirmedServiceError, InitiateRequest, InitiateResponse
from tests.dlms import vectors
from tests.dlms.peer import (
    CLIENT_TITLE,
    ENERGY,
    HLS,
    LLS,
    LOWEST,
    METER_TITLE,
    Peer,
    associated,
    carry,
    fresh,
    hls_peer,
)

ACSE = vectors.load("acse")


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
