from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlms import security, xdlms
from dlms.acse import Aare, Aarq, Rlre, Rlrq, decode_acse
from dlms.errors import RemoteProtocolError
from dlms.framing.wrapper import decode_frame
from dlms.xdlms.initiate import InitiateRequest, InitiateResponse
from tests.dlms import vectors

VECTORS = vectors.load("acse")
CLASSES = {"AARQ": Aarq, "AARE": Aare, "RLRQ": Rlrq, "RLRE": Rlre}
#: lengths one octet short: decodes, but is not what we would write
NOT_REBUILT = {"aare_sn_accepted", "wrapper_aarq_sn_protocol_version_short_conformance_tag"}


def apdu_of(vector: dict[str, Any]) -> bytes:
    raw = vectors.octets(vector)
    return decode_frame(raw).payload if "wrapper" in vector["expect"] else raw


def check_user_information(information: bytes, vector: dict[str, Any]) -> None:
    expect = vector["expect"]["user_information"]
    if expect["type"] == "glo-initiate-request":
        opened = security.unprotect(information, **vectors.keys(vector))
        assert opened.plain.hex() == expect["plain"]
        assert opened.invocation_counter == expect["invocation_counter"]
        assert opened.security_control == expect["security_control"]
        information, expect = opened.plain, expect.get("decrypted", {"type": "initiate-request"})
    initiate = xdlms.decode_apdu(information)
    assert isinstance(initiate, InitiateRequest | InitiateResponse)
    if "dlms_version" in expect:
        assert initiate.dlms_version == expect["dlms_version"]
        assert initiate.conformance.to_bytes(3).hex() == expect["conformance_hex"]
    if isinstance(initiate, InitiateRequest):
        assert (initiate.dedicated_key or b"").hex() == expect.get(
            "dedicated_key", (initiate.dedicated_key or b"").hex()
        )
        assert initiate.client_max_receive_pdu_size == expect.get(
            "client_max_receive_pdu_size", initiate.client_max_receive_pdu_size
        )
    else:
        assert initiate.server_max_receive_pdu_size == expect["server_max_receive_pdu_size"]
        assert initiate.vaa_name == expect["vaa_name"]
        assert initiate.quality_of_service == expect.get("quality_of_service")


@pytest.mark.parametrize("name", VECTORS)
def test_decode_vector_equals_its_facts(name: str) -> None:
    vector = VECTORS[name]
    expect, raw = vector["expect"], apdu_of(vector)
    apdu = decode_acse(raw)
    assert xdlms.decode_apdu(raw) == apdu
    assert type(apdu) is CLASSES[expect["apdu"]]
    assert raw[0] == expect["tag"]
    if isinstance(apdu, Aarq | Aare):
        assert f"2.16.756.5.8.1.{apdu.application_context}" == expect["application_context"]
        assert (apdu.mechanism or 0) == expect.get("mechanism_id", 0)
    if isinstance(apdu, Aarq):
        assert (apdu.calling_ap_title or b"").hex() == expect.get("calling_ap_title", "")
        assert (apdu.calling_authentication_value or b"").hex() == expect.get(
            "calling_authentication_value", ""
        )
    if isinstance(apdu, Aare):
        assert (apdu.result, apdu.diagnostic) == (expect["result"], expect["diagnostic"])
        value = apdu.responding_authentication_value or b""
        assert value.hex() == expect.get("responding_authentication_value", "")
    if isinstance(apdu, Rlrq | Rlre):
        assert apdu.reason == expect.get("reason")
    if "user_information" in expect:
        assert apdu.user_information is not None
        check_user_information(apdu.user_information, vector)
    else:
        assert apdu.user_information is None


@pytest.mark.parametrize("name", sorted(set(VECTORS) - NOT_REBUILT))
def test_encode_vector_gives_its_octets(name: str) -> None:
    raw = apdu_of(VECTORS[name])
    assert decode_acse(raw).encode() == raw


@pytest.mark.parametrize("name", VECTORS)
def test_decode_cut_vector_raises_only_protocol_errors(name: str) -> None:
    raw = apdu_of(VECTORS[name])
    # one octet less is what the E650 itself announces
    for end in range(len(raw) - (name == "aare_sn_accepted")):
        with pytest.raises(RemoteProtocolError):
            decode_acse(raw[:end])


OCTETS = st.none() | st.binary(max_size=150)


@given(
    st.builds(Aarq, st.integers(1, 4), OCTETS, st.none() | st.integers(0, 7), OCTETS, OCTETS)
    | st.builds(
        Aare,
        st.integers(0, 2),
        st.integers(0, 14),
        st.integers(1, 2),
        st.integers(1, 4),
        OCTETS,
        st.none(),
        OCTETS,
        OCTETS,
    )
    | st.builds(Rlrq, st.none() | st.integers(0, 30), OCTETS)
    | st.builds(Rlre, st.none() | st.integers(0, 30), OCTETS)
)
def test_encode_decode_any_apdu_unchanged(apdu: Aarq | Aare | Rlrq | Rlre) -> None:
    assert decode_acse(apdu.encode()) == apdu


@given(st.sampled_from([0x60, 0x61, 0x62, 0x63]), st.binary(max_size=120))
def test_decode_hostile_octets_raise_only_protocol_errors(tag: int, rest: bytes) -> None:
    for raw in (bytes((tag,)) + rest, bytes((tag, len(rest))) + rest):
        with contextlib.suppress(RemoteProtocolError):
            decode_acse(raw)


def test_decode_unknown_optional_fields_skipped() -> None:
    fields = bytes.fromhex("80020780a109060760857405080101a20302010 0a305a103020100".replace(" ", ""))
    extra = bytes.fromhex("a503040101" + "a703020105" + "bd03040142" + "be10040e0800065f1f0400001e1d04c80007")
    body = fields + extra
    aare = decode_acse(bytes((0x61, len(body))) + body)
    assert isinstance(aare, Aare)
    assert aare.result == 0
    assert aare.user_information == bytes.fromhex("0800065f1f0400001e1d04c80007")


def test_decode_authentication_value_counted_short_as_gurux_does() -> None:
    whole = Aare(
        0, 14, mechanism=5, responding_authentication_value=bytes(16), user_information=b"\x08\x00"
    ).encode()
    position = whole.index(b"\xaa\x12\x80\x10")
    short = whole[: position + 1] + b"\x10" + whole[position + 2 :]
    assert decode_acse(short) == decode_acse(whole)


def test_repr_hides_the_authentication_value() -> None:
    assert "secret" not in repr(Aarq(calling_authentication_value=b"secret"))
