from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlms import axdr, obis, xdlms
from dlms.enums import DataType
from dlms.errors import RemoteProtocolError
from dlms.xdlms.access import CaptureObject, Entries, Range, SelectiveAccess
from dlms.xdlms.action import ActionRequestNormal, ActionResponseNormal
from dlms.xdlms.exception import ExceptionResponse
from dlms.xdlms.get import GetRequestNext, GetRequestNormal, GetResponseBlock, GetResponseNormal
from dlms.xdlms.initiate import ConfirmedServiceError, InitiateRequest, InitiateResponse
from dlms.xdlms.set import SetRequestNormal, SetResponseNormal
from tests.dlms import strategies, vectors

VECTORS = vectors.load("xdlms")
SPOKEN = {
    "get-request-normal": GetRequestNormal,
    "get-response-normal": GetResponseNormal,
    "get-response-with-datablock": GetResponseBlock,
    "set-response-normal": SetResponseNormal,
    "action-request-normal": ActionRequestNormal,
    "action-response-normal": ActionResponseNormal,
    "exception-response": ExceptionResponse,
}
IN_SCOPE = [name for name, vector in VECTORS.items() if vector["expect"].get("apdu") in SPOKEN]
REFUSED = [name for name in VECTORS if name not in IN_SCOPE]


def check_service(apdu: Any, expect: dict[str, Any]) -> None:
    if "class_id" in expect:
        assert (apdu.class_id, apdu.logical_name) == (expect["class_id"], obis.parse(expect["obis"]))
    if "attribute" in expect:
        assert apdu.attribute == expect["attribute"]
        assert (apdu.access is not None) == expect["access_selection"]
    if "method" in expect:
        assert apdu.method == expect["method"]
        assert vectors.typed(axdr.decode_all(apdu.parameters)) == expect["parameters"]
    if "data" in expect:
        assert vectors.typed(axdr.decode_all(apdu.data)) == expect["data"]
    if "return_parameters" in expect:
        assert (apdu.data is not None or apdu.data_access_result is not None) == expect["return_parameters"]
        assert apdu.action_result == expect["result_code"]
        assert apdu.data_access_result == expect.get("return_error_code")
    if "block_number" in expect:
        assert (apdu.last_block, apdu.block_number) == (expect["last_block"], expect["block_number"])
        assert len(apdu.raw_data) == expect["raw_data_octets"]
        assert apdu.raw_data.hex().startswith(expect["raw_data_starts"])
        assert apdu.raw_data.hex().endswith(expect["raw_data_ends"])
    if "state_error" in expect:
        assert (apdu.state_error, apdu.service_error) == (expect["state_error"], expect["service_error"])


@pytest.mark.parametrize("name", IN_SCOPE)
def test_decode_vector_equals_its_facts(name: str) -> None:
    raw, expect = vectors.octets(VECTORS[name]), VECTORS[name]["expect"]
    apdu = xdlms.decode_apdu(raw)
    assert type(apdu) is SPOKEN[expect["apdu"]]
    if "invoke" in expect:
        assert apdu.invoke == expect["invoke"]["raw"]
    check_service(apdu, expect)
    assert apdu.encode() == raw


@pytest.mark.parametrize("name", REFUSED)
def test_decode_vector_out_of_scope_or_malformed_raises(name: str) -> None:
    """Lists, blocks of SET and ACTION, and the malformed ones: refused, never half understood."""
    with pytest.raises(RemoteProtocolError):
        xdlms.decode_apdu(vectors.octets(VECTORS[name]))


@pytest.mark.parametrize("name", IN_SCOPE)
def test_decode_cut_vector_raises_only_protocol_errors(name: str) -> None:
    raw = vectors.octets(VECTORS[name])
    for end in range(len(raw)):
        with contextlib.suppress(RemoteProtocolError):
            xdlms.decode_apdu(raw[:end])


def test_range_vector_read_and_rebuilt() -> None:
    vector = VECTORS["get_request_range_wildcard_weekday"]
    request, expect = xdlms.decode_apdu(vectors.octets(vector)), vector["expect"]
    assert isinstance(request, GetRequestNormal)
    assert request.access is not None
    found = Range.from_access(request.access)
    clock = expect["restricting_object"]
    assert found.restricting_object == CaptureObject(8, obis.parse(clock["obis"]), 2, clock["data_index"])
    assert (found.start.value.hex(), found.end.value.hex()) == (expect["from"]["hex"], expect["to"]["hex"])
    assert found.selected == ()
    assert found.to_access() == request.access


def test_range_descriptor_of_data_vectors_read() -> None:
    vector = vectors.load("data")["range_descriptor"]
    access = SelectiveAccess(1, axdr.decode_all(vectors.octets(vector)))
    found = Range.from_access(access)
    bounds = [vectors.iso(bound.value) for bound in (found.start, found.end)]
    assert bounds == [vector["expect"]["from"], vector["expect"]["to"]]


OCTET = st.integers(0, 255)
NAME = st.binary(min_size=6, max_size=6)
RAW = strategies.data.map(axdr.encode)
ACCESS = st.none() | st.builds(SelectiveAccess, OCTET, strategies.data)
CLASS = st.integers(0, 0xFFFF)
BLOCK = st.integers(0, 0xFFFFFFFF)
APDUS = (
    st.builds(GetRequestNormal, OCTET, CLASS, NAME, OCTET, ACCESS)
    | st.builds(GetRequestNext, OCTET, BLOCK)
    | st.builds(GetResponseNormal, OCTET, RAW)
    | st.builds(GetResponseNormal, OCTET, st.none(), OCTET)
    | st.builds(GetResponseBlock, OCTET, st.booleans(), BLOCK, st.binary(max_size=300))
    | st.builds(GetResponseBlock, OCTET, st.booleans(), BLOCK, st.none(), OCTET)
    | st.builds(SetRequestNormal, OCTET, CLASS, NAME, OCTET, RAW, ACCESS)
    | st.builds(SetResponseNormal, OCTET, OCTET)
    | st.builds(ActionRequestNormal, OCTET, CLASS, NAME, OCTET, st.none() | RAW)
    | st.builds(ActionResponseNormal, OCTET, OCTET, st.none() | RAW)
    | st.builds(ActionResponseNormal, OCTET, OCTET, st.none(), OCTET)
    | st.builds(ExceptionResponse, OCTET, st.integers(1, 5))
    | st.builds(ExceptionResponse, OCTET, st.just(6), st.none() | BLOCK)
    | st.builds(
        InitiateRequest,
        st.integers(0, (1 << 24) - 1),
        CLASS,
        st.none() | st.binary(max_size=32),
        st.booleans(),
    )
    | st.builds(InitiateResponse, st.integers(0, (1 << 24) - 1), CLASS, CLASS, st.none() | OCTET)
    | st.builds(ConfirmedServiceError, OCTET, OCTET, OCTET)
)


@given(APDUS)
def test_encode_decode_any_apdu_unchanged(apdu: Any) -> None:
    assert xdlms.decode_apdu(apdu.encode()) == apdu


@given(
    st.sampled_from([0x01, 0x08, 0x0E, 0xC0, 0xC1, 0xC3, 0xC4, 0xC5, 0xC7, 0xD8, 0x00, 0xFF]),
    st.binary(max_size=60),
)
def test_decode_hostile_octets_raise_only_protocol_errors(tag: int, rest: bytes) -> None:
    with contextlib.suppress(RemoteProtocolError):
        xdlms.decode_apdu(bytes((tag,)) + rest)


@given(strategies.data)
def test_descriptors_of_hostile_data_raise_only_protocol_errors(data: axdr.Data) -> None:
    for read in (Range.from_access, Entries.from_access):
        for selector in (1, 2):
            with contextlib.suppress(RemoteProtocolError):
                read(SelectiveAccess(selector, data))
    with contextlib.suppress(RemoteProtocolError):
        CaptureObject.from_data(data)


def test_entries_round_trip() -> None:
    entries = Entries(1, 96, 1, 0)
    assert Entries.from_access(entries.to_access()) == entries


def test_action_response_without_presence_octet_returned_nothing() -> None:
    assert xdlms.decode_apdu(bytes.fromhex("c701c100")) == ActionResponseNormal(0xC1, 0)


def test_exception_with_counter_error_carries_the_expected_counter() -> None:
    apdu = xdlms.decode_apdu(bytes.fromhex("d8020600012345"))
    assert apdu == ExceptionResponse(2, 6, 0x00012345)
    assert xdlms.decode_apdu(bytes.fromhex("d80206")) == ExceptionResponse(2, 6, None)


def test_capture_object_of_wrong_types_raises() -> None:
    good = CaptureObject(3, obis.parse("1-0:1.8.0"), 2, 0).to_data()
    assert CaptureObject.from_data(good).attribute == 2
    for item in (axdr.u8(1), axdr.structure(*good.value[:3]), axdr.Data(DataType.ARRAY, good.value)):
        with pytest.raises(RemoteProtocolError):
            CaptureObject.from_data(item)
