"""The meter's side by the book: what is refused, and how; sizes; blocks; counters."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlms import axdr, obis
from dlms.acse import Aare, Aarq, Rlre, Rlrq
from dlms.enums import (
    ActionResult,
    ApduTag,
    ApplicationContext,
    Authentication,
    Conformance,
    DataAccessResult,
)
from dlms.security import Keys, split
from dlms.server import CIPHERED_CONFORMANCE, CONFORMANCE, MIN_PDU_BYTES
from dlms.xdlms import decode_apdu
from dlms.xdlms.access import CaptureObject, SelectiveAccess
from dlms.xdlms.action import ActionRequestNormal, ActionResponseNormal
from dlms.xdlms.exception import ExceptionResponse
from dlms.xdlms.get import GetRequestNext, GetRequestNormal, GetResponseBlock, GetResponseNormal
from dlms.xdlms.initiate import ConfirmedServiceError, InitiateRequest, InitiateResponse
from dlms.xdlms.set import SetRequestNormal, SetResponseNormal
from tests.simulator.peer import (
    ALL,
    ASSOCIATION,
    CHALLENGE,
    INVOKE,
    LOAD_PROFILE,
    NOW,
    RELAY,
    Peer,
    by_range,
    make_meter,
)

CLOCK_NAME = obis.parse("0-0:1.0.0.255")
GET_CLOCK = GetRequestNormal(INVOKE, 8, CLOCK_NAME, 2).encode()
NOT_ALLOWED = ExceptionResponse(1, 1)
DECIPHERING_ERROR = ExceptionResponse(1, 5)


def opened(client_address: int, **rest: object) -> Peer:
    peer = Peer(make_meter(), client_address=client_address, **rest)  # type: ignore[arg-type]
    peer.associate()
    return peer


# --- association ---


@pytest.mark.parametrize("client_address", [16, 32, 1])
def test_aare_carries_what_was_agreed(client_address: int) -> None:
    peer = Peer(make_meter(), client_address=client_address)
    aare = peer.associate()
    expected = CIPHERED_CONFORMANCE if client_address == 1 else CONFORMANCE
    assert peer.initiate_response(aare) == InitiateResponse(int(expected), 0xFFFF)
    assert aare.diagnostic == (14 if client_address == 1 else 0)
    assert aare.responding_ap_title == (peer.meter.system_title if client_address == 1 else None)
    session = peer.server.session(client_address)
    assert session is not None
    assert session.conformance == expected


def test_conformance_is_what_both_can() -> None:
    peer = Peer(make_meter(), conformance=Conformance.GET | Conformance.READ | Conformance.ACCESS)
    assert peer.initiate_response(peer.associate()).conformance == Conformance.GET


@pytest.mark.parametrize(
    ("client_address", "mechanism", "value", "diagnostic"),
    [
        (99, None, None, 1),  # nobody
        (16, 1, b"password", 11),  # another mechanism than the association's
        (32, None, None, 12),
        (32, 1, b"wrong", 13),
        (32, 1, None, 13),
        (32, 5, CHALLENGE, 11),
    ],
)
def test_aarq_refused_tells_why(
    client_address: int, mechanism: int | None, value: bytes | None, diagnostic: int
) -> None:
    peer = Peer(make_meter(), client_address=client_address)
    aare = peer.aarq(mechanism, value)
    assert isinstance(aare, Aare)
    assert (aare.result, aare.diagnostic_source, aare.diagnostic) == (1, 1, diagnostic)
    assert peer.ask(GET_CLOCK) == NOT_ALLOWED


@pytest.mark.parametrize(("client_address", "ciphered"), [(16, True), (32, True), (1, False)])
def test_context_other_than_the_associations_is_refused(client_address: int, ciphered: bool) -> None:
    peer = Peer(make_meter(), client_address=client_address, ciphered=ciphered)
    aare = peer.aarq(None, None)
    assert isinstance(aare, Aare)
    assert (aare.result, aare.diagnostic) == (1, 2)


@pytest.mark.parametrize(
    ("request_", "value"),
    [
        (InitiateRequest(int(ALL), 0xFFFF, dlms_version=5), 1),
        (InitiateRequest(int(Conformance.READ | Conformance.WRITE), 0xFFFF), 2),
        (InitiateRequest(int(ALL), MIN_PDU_BYTES - 1), 3),
    ],
)
def test_initiate_refused_carries_the_initiate_error(request_: InitiateRequest, value: int) -> None:
    aare = Peer(make_meter()).aarq(None, None, request_.encode())
    assert isinstance(aare, Aare)
    assert aare.result == 1
    assert ConfirmedServiceError.decode(aare.user_information or b"") == ConfirmedServiceError(1, 6, value)


def test_max_pdu_of_zero_means_no_limit() -> None:
    peer = opened(16, max_pdu_bytes=0)
    session = peer.server.session(16)
    assert session is not None
    assert session.client_max_pdu_bytes == 0xFFFF


def test_hls_without_system_title_or_challenge_is_refused() -> None:
    peer = Peer(make_meter(), client_address=1, ciphered=True)
    information = peer.seal(peer.initiate_request(), ApduTag.GLO_INITIATE_REQUEST)
    context = ApplicationContext.LN_CIPHERED
    for title, challenge, diagnostic in (
        (None, CHALLENGE, 3),
        (b"short", CHALLENGE, 3),
        (peer.title, b"1234567", 13),
    ):
        reply = peer.raw(Aarq(context, title, Authentication.HLS_GMAC, challenge, information).encode())
        aare = decode_apdu(reply or b"")
        assert isinstance(aare, Aare)
        assert (aare.result, aare.diagnostic) == (1, diagnostic)
    assert peer.meter.received_counter < peer.counter


def test_initiate_request_in_the_clear_is_refused_where_ciphering_is_due() -> None:
    peer = Peer(make_meter(), client_address=1, ciphered=True)
    aare = peer.aarq(Authentication.HLS_GMAC, CHALLENGE, peer.initiate_request())
    assert isinstance(aare, Aare)
    assert (aare.result, aare.diagnostic) == (1, 13)


def test_wrong_key_is_refused_and_leaves_the_counter() -> None:
    meter = make_meter()
    before = meter.received_counter
    peer = Peer(meter, client_address=1, ciphered=True, keys=Keys(bytes(16), bytes(16)))
    aare = peer.aarq(Authentication.HLS_GMAC, CHALLENGE)
    assert isinstance(aare, Aare)
    assert (aare.result, aare.diagnostic) == (1, 13)
    assert meter.received_counter == before


@pytest.mark.parametrize("step", [0, 1, 1000])
def test_counter_that_does_not_rise_in_the_aarq_tells_the_expected_one(step: int) -> None:
    meter = make_meter()
    meter.received_counter = 5000
    peer = Peer(meter, client_address=1, ciphered=True, counter=5000 - step - 1)
    assert peer.aarq(Authentication.HLS_GMAC, CHALLENGE) == ExceptionResponse(1, 6, 5001)
    peer.counter = 5000
    peer.associate()


def test_hls_wrong_answer_ends_the_association() -> None:
    peer = Peer(make_meter(), client_address=1, ciphered=True)
    aare = peer.aarq(Authentication.HLS_GMAC, CHALLENGE)
    assert isinstance(aare, Aare)
    reply = peer.prove(b"not the challenge")
    assert reply == ActionResponseNormal(INVOKE, ActionResult.OTHER_REASON)
    assert peer.ask(GET_CLOCK) == NOT_ALLOWED


def test_hls_answer_with_an_old_counter_ends_the_association() -> None:
    peer = Peer(make_meter(), client_address=1, ciphered=True)
    aare = peer.aarq(Authentication.HLS_GMAC, CHALLENGE)
    assert isinstance(aare, Aare)
    reply = peer.prove(aare.responding_authentication_value or b"", counter=peer.counter)
    assert reply == ActionResponseNormal(INVOKE, ActionResult.OTHER_REASON)


def test_hls_before_the_answer_nothing_is_served() -> None:
    peer = Peer(make_meter(), client_address=1, ciphered=True)
    peer.aarq(Authentication.HLS_GMAC, CHALLENGE)
    assert peer.ask(GET_CLOCK) == NOT_ALLOWED
    assert (
        peer.ask(ActionRequestNormal(INVOKE, 70, RELAY, 1, axdr.encode(axdr.i8(0))).encode()) == NOT_ALLOWED
    )
    assert not peer.meter.relay.movements


def test_hls_meter_proves_itself() -> None:
    peer = Peer(make_meter(), client_address=1, ciphered=True)
    aare = peer.aarq(Authentication.HLS_GMAC, CHALLENGE)
    assert isinstance(aare, Aare)
    reply = peer.prove(aare.responding_authentication_value or b"")
    assert isinstance(reply, ActionResponseNormal)
    proof = axdr.decode_all(reply.data or b"").value
    assert peer.keys is not None
    counter = int.from_bytes(proof[1:5], "big")
    assert proof[5:] == peer.keys.gmac(CHALLENGE, peer.meter.system_title, counter)


def test_challenges_never_repeat() -> None:
    peer = Peer(make_meter(), client_address=1)
    challenges = {peer.associate().responding_authentication_value for _ in range(20)}
    assert len(challenges) == 20


def test_associations_of_two_clients_live_side_by_side_and_end_with_the_link() -> None:
    manager = opened(1)
    public = Peer(manager.meter)
    public.server = manager.server
    public.associate()
    for peer in (manager, public, manager):
        assert isinstance(peer.ask(GET_CLOCK), GetResponseNormal)
    manager.server.reset()
    for peer in (manager, public):
        assert peer.ask(GET_CLOCK) == NOT_ALLOWED


# --- release ---


@pytest.mark.parametrize("client_address", [16, 32, 1])
def test_release_ends_the_association(client_address: int) -> None:
    peer = opened(client_address)
    assert peer.raw(Rlrq(0).encode()) == Rlre(0).encode()
    assert peer.ask(GET_CLOCK) == NOT_ALLOWED


def test_release_ciphered_is_verified_and_answered_ciphered() -> None:
    peer = opened(1)
    sealed = peer.seal(peer.initiate_request(), ApduTag.GLO_INITIATE_REQUEST)
    broken = sealed[:-1] + bytes((sealed[-1] ^ 1,))
    assert peer.raw(Rlrq(0, broken).encode()) == DECIPHERING_ERROR.encode()
    assert isinstance(peer.ask(GET_CLOCK), GetResponseNormal)
    sealed = peer.seal(peer.initiate_request(), ApduTag.GLO_INITIATE_REQUEST)
    rlre = decode_apdu(peer.raw(Rlrq(0, sealed).encode()) or b"")
    assert isinstance(rlre, Rlre)
    assert (
        InitiateResponse.decode(peer.open(rlre.user_information or b"")).conformance == CIPHERED_CONFORMANCE
    )


# --- ciphering ---


def test_request_in_the_clear_in_a_ciphered_association_is_refused() -> None:
    peer = opened(1)
    assert peer.raw(GET_CLOCK) == NOT_ALLOWED.encode()


def test_ciphered_request_in_a_plain_association_is_refused() -> None:
    peer = opened(32)
    assert peer.raw(peer.seal(GET_CLOCK, ApduTag.GLO_GET_REQUEST)) == NOT_ALLOWED.encode()


def test_broken_tag_is_refused_and_does_not_use_up_the_counter() -> None:
    peer = opened(1)
    sealed = peer.seal(GET_CLOCK, ApduTag.GLO_GET_REQUEST)
    for index in range(2, len(sealed)):
        if index == 2:  # the security control octet: another policy, refused as well
            continue
        broken = bytearray(sealed)
        broken[index] ^= 1
        assert peer.raw(bytes(broken)) == DECIPHERING_ERROR.encode()
    assert peer.raw(sealed[:2] + b"\x10" + sealed[3:]) == DECIPHERING_ERROR.encode()
    assert decode_apdu(peer.open(peer.raw(sealed) or b"")) == peer.ask(GET_CLOCK)


@pytest.mark.parametrize("control", [0x10])
def test_request_only_authenticated_is_refused(control: int) -> None:
    peer = opened(1)
    assert peer.raw(peer.seal(GET_CLOCK, ApduTag.GLO_GET_REQUEST, control)) == DECIPHERING_ERROR.encode()


def general(peer: Peer, plain: bytes, title: bytes | None = None) -> bytes:
    named = peer.title if title is None else title
    sealed = peer.seal(plain, ApduTag.GENERAL_GLO_CIPHERING)
    return sealed[:1] + bytes((len(named),)) + named + sealed[1:]


def test_general_glo_ciphering_is_answered_by_its_like() -> None:
    peer = opened(1, max_pdu_bytes=200)
    reply = peer.raw(general(peer, GET_CLOCK)) or b""
    assert reply[0] == ApduTag.GENERAL_GLO_CIPHERING
    assert split(reply).system_title == peer.meter.system_title
    assert isinstance(decode_apdu(peer.open(reply)), GetResponseNormal)
    long = peer.raw(general(peer, GetRequestNormal(INVOKE, 7, LOAD_PROFILE, 2).encode())) or b""
    assert isinstance(decode_apdu(peer.open(long)), GetResponseBlock)
    assert len(long) <= 200


def test_general_glo_ciphering_of_another_title_is_refused() -> None:
    peer = opened(1)
    assert peer.raw(general(peer, GET_CLOCK, b"ANOTHER1")) == DECIPHERING_ERROR.encode()


def test_general_glo_ciphering_that_was_not_agreed_is_refused() -> None:
    peer = opened(1, conformance=CONFORMANCE)
    assert peer.raw(general(peer, GET_CLOCK)) == ExceptionResponse(2, 2).encode()


def test_ciphered_tag_and_the_apdu_inside_must_fit() -> None:
    peer = opened(1)
    sealed = peer.seal(GET_CLOCK, ApduTag.GLO_ACTION_REQUEST)
    assert peer.raw(sealed) == ExceptionResponse(1, 3).encode()


def test_same_request_twice_is_refused_with_the_expected_counter() -> None:
    peer = opened(1)
    request = ActionRequestNormal(INVOKE, 70, RELAY, 1, axdr.encode(axdr.i8(0))).encode()
    sealed = peer.seal(request, ApduTag.GLO_ACTION_REQUEST)
    assert decode_apdu(peer.open(peer.raw(sealed) or b"")) == ActionResponseNormal(INVOKE, 0)
    assert peer.raw(sealed) == ExceptionResponse(1, 6, peer.counter + 1).encode()
    assert len(peer.meter.relay.movements) == 1


def test_counters_of_the_meter_rise_within_and_across_restarts() -> None:
    counters = []
    for seconds in (0, 1):
        peer = Peer(make_meter(now=NOW + timedelta(seconds=seconds)), client_address=1)
        peer.associate()
        for _ in range(5):
            peer.ask(GET_CLOCK)
            counters.append(split(peer.replies[-1]).invocation_counter)
    assert counters == sorted(set(counters))


def test_invocation_counter_object_shows_the_highest_accepted() -> None:
    peer = opened(1)
    public = Peer(peer.meter)
    public.associate()
    assert public.read(1, "0-0:43.1.0.255", 2) == axdr.u32(peer.counter)


# --- services ---


def test_service_without_association_is_refused() -> None:
    assert Peer(make_meter()).ask(GET_CLOCK) == NOT_ALLOWED


@pytest.mark.parametrize(
    ("class_id", "name", "attribute", "result"),
    [
        (3, "1-0:99.99.0.255", 2, DataAccessResult.OBJECT_UNDEFINED),
        (1, "1-0:1.8.0.255", 2, DataAccessResult.OBJECT_CLASS_INCONSISTENT),
        (3, "1-0:1.8.0.255", 4, DataAccessResult.READ_WRITE_DENIED),
        (3, "1-0:1.8.0.255", 255, DataAccessResult.READ_WRITE_DENIED),
        (15, "0-0:40.0.0.255", 7, DataAccessResult.READ_WRITE_DENIED),
    ],
)
def test_get_of_what_is_not_there_tells_why(
    class_id: int, name: str, attribute: int, result: DataAccessResult
) -> None:
    assert opened(32).get(class_id, name, attribute) == GetResponseNormal(INVOKE, None, result)


@pytest.mark.parametrize("name", ["1-0:1.8.0.255", "0-0:96.3.10.255", "1-0:99.1.0.255"])
def test_public_client_reads_no_measured_values(name: str) -> None:
    class_id = {"1": 3, "0": 70}[name[0]] if "99" not in name else 7
    reply = opened(16).get(class_id, name, 2)
    assert reply == GetResponseNormal(INVOKE, None, DataAccessResult.READ_WRITE_DENIED)


@pytest.mark.parametrize("client_address", [16, 32])
def test_only_management_may_act_or_set(client_address: int) -> None:
    peer = opened(client_address)
    assert peer.act(70, RELAY, 1, axdr.i8(0)) == ActionResult.READ_WRITE_DENIED
    value = peer.read(8, CLOCK_NAME, 2)
    reply = peer.ask(SetRequestNormal(INVOKE, 8, CLOCK_NAME, 2, axdr.encode(value)).encode())
    assert reply == SetResponseNormal(INVOKE, DataAccessResult.READ_WRITE_DENIED)
    assert not peer.meter.relay.movements


@pytest.mark.parametrize(
    ("class_id", "name", "method", "parameter", "result"),
    [
        (70, "0-0:96.3.11.255", 1, axdr.i8(0), ActionResult.OBJECT_UNDEFINED),
        (3, "0-0:96.3.10.255", 1, axdr.i8(0), ActionResult.OBJECT_CLASS_INCONSISTENT),
        (70, "0-0:96.3.10.255", 3, axdr.i8(0), ActionResult.READ_WRITE_DENIED),
        (70, "0-0:96.3.10.255", 1, axdr.text("off"), ActionResult.TYPE_UNMATCHED),
        (15, "0-0:40.0.0.255", 1, axdr.octets(bytes(17)), ActionResult.READ_WRITE_DENIED),
    ],
)
def test_action_on_what_is_not_there_tells_why(
    class_id: int, name: str, method: int, parameter: axdr.Data, result: ActionResult
) -> None:
    peer = opened(1)
    assert peer.act(class_id, name, method, parameter) == result
    assert not peer.meter.relay.movements


@pytest.mark.parametrize(
    ("access", "result"),
    [
        (SelectiveAccess(9, axdr.null()), DataAccessResult.SCOPE_OF_ACCESS_VIOLATED),
        (SelectiveAccess(1, axdr.null()), DataAccessResult.TYPE_UNMATCHED),
        (SelectiveAccess(2, axdr.structure(axdr.u32(0))), DataAccessResult.TYPE_UNMATCHED),
        (by_range(NOW, NOW, CaptureObject(3, CLOCK_NAME, 9)), DataAccessResult.SCOPE_OF_ACCESS_VIOLATED),
    ],
)
def test_selective_access_that_cannot_be_is_refused(
    access: SelectiveAccess, result: DataAccessResult
) -> None:
    assert opened(32).get(7, LOAD_PROFILE, 2, access) == GetResponseNormal(INVOKE, None, result)


def test_selective_access_on_a_register_is_refused() -> None:
    reply = opened(32).get(3, "1-0:1.8.0.255", 2, by_range(NOW, NOW))
    assert reply == GetResponseNormal(INVOKE, None, DataAccessResult.SCOPE_OF_ACCESS_VIOLATED)


def test_services_that_were_not_agreed_are_refused() -> None:
    peer = opened(32, conformance=Conformance.GET)
    unsupported = ExceptionResponse(2, 2)
    assert peer.ask(ActionRequestNormal(INVOKE, 70, RELAY, 1).encode()) == unsupported
    assert peer.ask(GetRequestNext(INVOKE, 1).encode()) == unsupported
    assert peer.get(7, LOAD_PROFILE, 2, by_range(NOW, NOW)) == GetResponseNormal(
        INVOKE, None, DataAccessResult.SCOPE_OF_ACCESS_VIOLATED
    )


@pytest.mark.parametrize("apdu", [b"", b"\x00", b"\xc2\x00", b"\x05\x01", b"\xe0\x80\x00\x00"])
def test_unknown_apdu_is_answered_as_not_supported(apdu: bytes) -> None:
    assert opened(16).raw(apdu) == ExceptionResponse(2, 2).encode()


@pytest.mark.parametrize(
    "apdu", ["c0", "c001", "c004c100000001", "c001c10008", "c101c1", "c301c1", "60", "6200ff"]
)
def test_malformed_apdu_is_answered(apdu: str) -> None:
    reply = decode_apdu(opened(16).raw(bytes.fromhex(apdu)) or b"")
    assert isinstance(reply, ExceptionResponse | Aare)


def test_request_above_the_meters_max_pdu_is_refused() -> None:
    peer = opened(16)
    peer.meter.max_pdu_bytes = 64
    assert peer.raw(GET_CLOCK + bytes(64)) == ExceptionResponse(1, 4).encode()


@pytest.mark.parametrize("invoke", [0x40, 0x4F, 0xC1, 0xC9])
def test_invoke_id_and_priority_are_echoed(invoke: int) -> None:
    reply = opened(16).ask(GetRequestNormal(invoke, 8, CLOCK_NAME, 2).encode())
    assert isinstance(reply, GetResponseNormal)
    assert reply.invoke == invoke


def test_unconfirmed_action_acts_without_an_answer() -> None:
    peer = opened(1)
    request = ActionRequestNormal(0x81, 70, RELAY, 1, axdr.encode(axdr.i8(0))).encode()
    assert peer.raw(peer.seal(request, ApduTag.GLO_ACTION_REQUEST)) is None
    assert len(peer.meter.relay.movements) == 1


def test_reply_to_hls_on_an_open_association_is_refused() -> None:
    peer = opened(1)
    parameter = axdr.encode(axdr.octets(bytes(17)))
    reply = peer.ask(ActionRequestNormal(INVOKE, 15, ASSOCIATION, 1, parameter).encode())
    assert reply == ActionResponseNormal(INVOKE, ActionResult.READ_WRITE_DENIED)


# --- sizes and blocks ---


@pytest.mark.parametrize("client_address", [32, 1])
@pytest.mark.parametrize("size", [MIN_PDU_BYTES, 65, 127, 128, 150, 256, 1000, 4096])
def test_no_answer_is_larger_than_the_client_takes(client_address: int, size: int) -> None:
    peer = opened(client_address, max_pdu_bytes=size)
    peer.replies.clear()
    access = by_range(NOW - timedelta(hours=6), NOW)
    rows = peer.read(7, LOAD_PROFILE, 2, access)
    assert len(rows.value) == 24
    peer.read(15, "0-0:40.0.0.255", 2)
    assert max(map(len, peer.replies)) <= size
    assert len(peer.replies) > 1


def test_answer_that_just_fits_is_not_cut() -> None:
    whole = opened(32)
    access = by_range(NOW - timedelta(hours=1), NOW)
    whole.get(7, LOAD_PROFILE, 2, access)
    size = len(whole.replies[-1])
    assert isinstance(opened(32, max_pdu_bytes=size).get(7, LOAD_PROFILE, 2, access), GetResponseNormal)
    assert isinstance(opened(32, max_pdu_bytes=size - 1).get(7, LOAD_PROFILE, 2, access), GetResponseBlock)


def test_long_answer_without_block_transfer_is_refused() -> None:
    peer = opened(
        32, max_pdu_bytes=100, conformance=CONFORMANCE & ~Conformance.BLOCK_TRANSFER_WITH_GET_OR_READ
    )
    assert peer.get(7, LOAD_PROFILE, 2) == ExceptionResponse(1, 4)
    assert isinstance(peer.ask(GET_CLOCK), GetResponseNormal)


def test_wrong_block_number_ends_the_long_get() -> None:
    peer = opened(32, max_pdu_bytes=256)
    assert isinstance(peer.get(7, LOAD_PROFILE, 2), GetResponseBlock)
    reply = peer.ask(GetRequestNext(INVOKE, 7).encode())
    assert reply == GetResponseBlock(INVOKE, True, 7, None, DataAccessResult.DATA_BLOCK_NUMBER_INVALID)
    reply = peer.ask(GetRequestNext(INVOKE, 1).encode())
    assert reply == GetResponseBlock(INVOKE, True, 1, None, DataAccessResult.NO_LONG_GET_IN_PROGRESS)


def test_another_get_ends_the_long_one() -> None:
    peer = opened(32, max_pdu_bytes=256)
    peer.get(7, LOAD_PROFILE, 2)
    peer.ask(GET_CLOCK)
    reply = peer.ask(GetRequestNext(INVOKE, 1).encode())
    assert reply == GetResponseBlock(INVOKE, True, 1, None, DataAccessResult.NO_LONG_GET_IN_PROGRESS)


# --- hostile octets ---

REQUESTS = (
    GET_CLOCK,
    GetRequestNormal(INVOKE, 7, LOAD_PROFILE, 2, by_range(NOW, NOW)).encode(),
    GetRequestNext(INVOKE, 1).encode(),
    SetRequestNormal(INVOKE, 8, CLOCK_NAME, 2, axdr.encode(axdr.octets(bytes(12)))).encode(),
    ActionRequestNormal(INVOKE, 70, RELAY, 1, axdr.encode(axdr.i8(0))).encode(),
    Aarq(user_information=InitiateRequest(int(ALL), 0xFFFF).encode()).encode(),
    Rlrq(0, InitiateRequest(int(ALL), 0xFFFF).encode()).encode(),
)


@given(octets=st.binary(max_size=200), client_address=st.sampled_from([16, 32, 1, 99]))
def test_hostile_octets_are_answered_and_never_raise(octets: bytes, client_address: int) -> None:
    peer = Peer(make_meter(), client_address=client_address)
    if client_address != 99:
        peer.associate()
    assert peer.raw(octets)


@given(data=st.data(), client_address=st.sampled_from([32, 1]))
def test_requests_with_octets_changed_never_raise(data: st.DataObject, client_address: int) -> None:
    peer = opened(client_address)
    request = bytearray(data.draw(st.sampled_from(REQUESTS)))
    for _ in range(data.draw(st.integers(1, 4))):
        request[data.draw(st.integers(0, len(request) - 1))] = data.draw(st.integers(0, 255))
    del request[data.draw(st.integers(1, len(request))) :]
    if client_address == 32:
        peer.raw(bytes(request))
    else:
        peer.raw(peer.seal(bytes(request), data.draw(st.sampled_from([0xC8, 0xC9, 0xCB, 0x21]))))
        peer.raw(general(peer, bytes(request)))
