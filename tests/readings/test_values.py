"""Exact values: digits are moved, never rounded."""

from __future__ import annotations

import math
import struct
from decimal import Decimal, localcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlms import axdr
from dlms.enums import unit_symbol as symbol
from dlms.profile import Coding, coding_for, value_of
from dlms.profile.coding import encode_cell
from readings.values import decimal_text, formatter, scaled, typed, value_json


@pytest.mark.parametrize(
    ("number", "scaler", "text"),
    [
        (12345, -1, "1234.5"),
        (12340, -1, "1234.0"),
        (5, 3, "5000"),
        (-5, -2, "-0.05"),
        (0, -3, "0.000"),
        (0, 2, "0"),
        (-(2**63), -9, "-9223372036.854775808"),
        (7, -10, "0.0000000007"),
    ],
)
def test_scaled_moves_the_point(number, scaler, text):
    assert scaled(number, scaler) == text


@given(st.integers(-(2**63), 2**64 - 1), st.integers(-128, 127))
def test_scaled_equals_exact_arithmetic(number, scaler):
    with localcontext(prec=400):
        assert Decimal(scaled(number, scaler)) == Decimal(number) * Decimal(10) ** scaler


@given(st.floats(allow_nan=False, allow_infinity=False), st.integers(-9, 9))
def test_decimal_text_is_the_exact_expansion(value, scaler):
    with localcontext(prec=2000):
        assert Decimal(decimal_text(value, scaler)) == Decimal(value) * Decimal(10) ** scaler
        assert float(decimal_text(value)) == value


def test_decimal_text_of_what_is_no_number():
    assert [decimal_text(v) for v in (math.nan, math.inf, -math.inf)] == ["NaN", "Infinity", "-Infinity"]
    assert decimal_text(-0.0) == "-0"


@given(
    st.one_of(
        st.integers(-(2**63), 2**63 - 1).map(axdr.i64),
        st.integers(0, 2**64 - 1).map(axdr.u64),
        st.integers(0, 255).map(axdr.enum),
        st.booleans().map(axdr.boolean),
        st.floats(width=32, allow_nan=False).map(axdr.f32),
        st.floats(allow_nan=False).map(axdr.f64),
        st.text("01", max_size=63).map(axdr.bits),
    )
)
def test_formatter_says_what_the_protocol_says(data):
    coding = coding_for(data)
    number = encode_cell(coding, data)
    assert number is not None
    text = formatter(str(coding), 0)(number)
    if coding is Coding.BITS:
        assert text == data.value.text
    else:
        assert Decimal(text) == Decimal(value_of(coding, number))


def test_float32_is_exact_and_keeps_no_more():
    raw = int.from_bytes(struct.pack(">f", 0.1))
    assert formatter("f32", 0)(raw) == "0.100000001490116119384765625"
    assert formatter("f32", -1)(raw) == "0.0100000001490116119384765625"


def test_typed_names_types_as_the_books_do():
    data = axdr.structure(axdr.octets(b"\x01"), axdr.array(axdr.u64(2**64 - 1)), axdr.bits("01"), axdr.null())
    assert typed(data) == {
        "type": "structure",
        "value": [
            {"type": "octet-string", "value": "01"},
            {"type": "array", "value": [{"type": "long64-unsigned", "value": "18446744073709551615"}]},
            {"type": "bit-string", "value": "01"},
            {"type": "null-data", "value": None},
        ],
    }


def test_value_json_of_broken_octets_is_undecoded_not_fatal():
    assert value_json("extra", None, 0, b"\x09\x7f") == {"type": "undecoded", "value": "097f"}
    assert value_json("int", None, 0, None) is None


def test_symbol_of_an_unknown_unit_shows_its_number():
    assert (symbol(30), symbol(255), symbol(200)) == ("Wh", "", "unit 200")
