from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dlms import axdr
from dlms.axdr import BitString, CompactArray, Data, Float, TypeDescription
from dlms.enums import DataType
from dlms.errors import DlmsError, LocalProtocolError, RemoteProtocolError
from tests.dlms import strategies, vectors

VECTORS = vectors.load("data")
MALFORMED = [name for name, vector in VECTORS.items() if vector["kind"] == "malformed"]
TYPED = [name for name, vector in VECTORS.items() if "data" in vector["expect"]]


@pytest.mark.parametrize("name", TYPED)
def test_decode_vector_equals_its_typed_value(name: str) -> None:
    data = axdr.decode_all(vectors.octets(VECTORS[name]))
    assert vectors.typed(data) == VECTORS[name]["expect"]["data"]
    assert axdr.encode(data) == vectors.octets(VECTORS[name])


@pytest.mark.parametrize("name", MALFORMED)
def test_decode_malformed_vector_raises(name: str) -> None:
    with pytest.raises(RemoteProtocolError):
        axdr.decode_all(vectors.octets(VECTORS[name]))


def test_decode_two_values_in_a_row_gives_offsets() -> None:
    vector = VECTORS["structure_followed_by_second_structure"]
    raw, expect = vectors.octets(vector), vector["expect"]
    first, offset = axdr.decode(raw)
    assert vectors.typed(first) == expect["first"]
    assert offset == expect["octets_of_first_item"]
    assert raw[offset] == expect["separator_octet_after_first"]
    second, end = axdr.decode(memoryview(raw), offset + 1)
    assert vectors.typed(second) == expect["second"]
    assert end == len(raw)


def test_decode_kamstrup_list_gives_its_readings() -> None:
    vector = VECTORS["kamstrup_han_list_25"]
    items = axdr.decode_all(vectors.octets(vector)).value
    assert len(items) == vector["expect"]["elements"]
    pairs = [(items[index].value.hex(), items[index + 1].value) for index in range(1, 25, 2)]
    from dlms import obis

    expected = [
        (obis.parse(reading["obis"]).hex(), reading["value"]) for reading in vector["expect"]["readings"]
    ]
    assert pairs == expected


def test_decode_kamstrup_object_list_gives_its_objects() -> None:
    from dlms import obis

    vector = VECTORS["association_object_list_kamstrup"]
    raw = vectors.octets(vector)
    lines = []
    for item in axdr.decode_all(raw).value:
        class_id, version, name, access = item.value
        counts = [len(part.value) for part in access.value]
        text = obis.to_text(name.value)
        lines.append(f"{class_id.value} v{version.value} {text} attributes={counts[0]} methods={counts[1]}")
    assert lines == vector["expect"]["objects"]


def test_every_vector_of_data_is_used() -> None:
    own = {
        "structure_followed_by_second_structure",
        "kamstrup_han_list_25",
        "association_object_list_kamstrup",
    }
    elsewhere = {"load_profile_24_rows"}  # test_profile
    clocks = {name for name, vector in VECTORS.items() if vector["expect"].get("data_type") == "octet-string"}
    assert set(VECTORS) == set(TYPED) | set(MALFORMED) | own | elsewhere | clocks


@given(strategies.data)
def test_encode_decode_any_value_unchanged(data: Data) -> None:
    raw = axdr.encode(data)
    assert axdr.decode_all(raw) == data
    assert axdr.decode(b"\xff" + raw + b"\x00", 1) == (data, len(raw) + 1)


@pytest.mark.parametrize("kind", strategies.SIMPLE_TYPES)
def test_encode_decode_each_simple_type_unchanged(kind: DataType) -> None:
    @given(strategies.simple(kind))
    @settings(max_examples=25)
    def check(data: Data) -> None:
        assert axdr.decode_all(axdr.encode(data)) == data

    check()


@given(st.binary(max_size=200))
def test_decode_hostile_octets_raise_only_protocol_errors(raw: bytes) -> None:
    try:
        data = axdr.decode_all(raw)
    except RemoteProtocolError:
        return
    assert axdr.decode_all(axdr.encode(data)) == data


@given(strategies.data, st.data())
def test_decode_cut_or_altered_octets_raise_only_protocol_errors(data: Data, draw: Any) -> None:
    raw = bytearray(axdr.encode(data))
    position = draw.draw(st.integers(0, len(raw) - 1))
    if len(raw) > 1:
        with pytest.raises(RemoteProtocolError):
            axdr.decode_all(bytes(raw[: max(1, position)]) if position < len(raw) else b"")
    raw[position] = draw.draw(st.integers(0, 255))
    with contextlib.suppress(DlmsError):
        axdr.decode_all(bytes(raw))


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"", "AXDR_TRUNCATED"),
        (b"\x06\x00\x00", "AXDR_TRUNCATED"),
        (b"\x09\x80", "AXDR_LENGTH"),
        (b"\x09\x85\x01\x01\x01\x01\x01", "AXDR_LENGTH"),
        (b"\x09\x84\xff\xff\xff\xff", "AXDR_TRUNCATED"),
        (b"\x01\x84\xff\xff\xff\xff", "AXDR_TRUNCATED"),
        (b"\x02\x84\xff\xff\xff\xff\x00", "AXDR_TRUNCATED"),
        (b"\x40", "AXDR_TYPE"),
        (b"\x00\x00", "AXDR_TRAILING"),
        (b"\x01\x01" * 40 + b"\x00", "AXDR_DEPTH"),
        (b"\x13" + b"\x02\x01" * 40 + b"\x00\x00", "AXDR_DEPTH"),
        (b"\x13\x00\x01\x00", "AXDR_LENGTH"),
        (b"\x13\x13\x00", "AXDR_TYPE"),
        (b"\x13\x01\xff\xff\x01\xff\xff\x00\x01\x00", "AXDR_TOO_MANY_ELEMENTS"),
    ],
)
def test_decode_beyond_a_limit_raises_its_code(raw: bytes, code: str) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        axdr.decode_all(raw)
    assert caught.value.code == code


@pytest.mark.parametrize(
    "data",
    [
        axdr.u8(256),
        axdr.u8(-1),
        axdr.u32("1"),
        Data(DataType.DATE_TIME, b"\x00"),
        Data(DataType.FLOAT32, Float(b"\x00")),
        Data(DataType.BIT_STRING, BitString(9, b"\x00")),
        Data(DataType.VISIBLE_STRING, "\u20ac"),
        Data(DataType.OCTET_STRING, None),
        axdr.structure(axdr.i8(200)),
    ],
)
def test_encode_value_that_does_not_fit_raises_local_error(data: Data) -> None:
    with pytest.raises(LocalProtocolError) as caught:
        axdr.encode(data)
    assert caught.value.code == "AXDR_VALUE"


def test_float_nan_payload_survives() -> None:
    raw = b"\x17\x7f\xc0\x12\x34"
    assert axdr.encode(axdr.decode_all(raw)) == raw


def test_utf8_string_that_is_none_keeps_its_octets() -> None:
    raw = b"\x0c\x02\xff\xfe"
    data = axdr.decode_all(raw)
    assert data.value == b"\xff\xfe"
    assert axdr.encode(data) == raw


def test_bit_string_text_and_number_agree() -> None:
    bits = BitString.from_text("111111111")
    assert (bits.octets, bits.text, bits.as_int) == (b"\xff\x80", "111111111", 511)
    assert BitString.from_text("").as_int == 0


def test_compact_array_of_arrays_decodes() -> None:
    description = TypeDescription(DataType.ARRAY, 2, (TypeDescription(DataType.UNSIGNED),))
    element = Data(DataType.ARRAY, (axdr.u8(1), axdr.u8(2)))
    data = Data(DataType.COMPACT_ARRAY, CompactArray(description, (element, element)))
    raw = bytes.fromhex("1301000211") + b"\x04\x01\x02\x01\x02"
    assert axdr.encode(data) == raw
    assert axdr.decode_all(raw) == data


def test_length_above_127_takes_the_shortest_form() -> None:
    assert axdr.write_length(127) == b"\x7f"
    assert axdr.write_length(128) == b"\x81\x80"
    assert axdr.write_length(256) == b"\x82\x01\x00"
    assert axdr.read_length(b"\x82\x00\x7b", 0) == (123, 3)
