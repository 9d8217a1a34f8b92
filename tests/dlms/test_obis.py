from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlms import obis

ENERGY = bytes((1, 0, 1, 8, 0, 255))


@pytest.mark.parametrize(
    "text",
    [
        "1-0:1.8.0",
        "1-0:1.8.0*255",
        "1-0:1.8.0.255",
        "1.0.1.8.0.255",
        "0100010800ff",
        "0100010800FF",
        " 1-0:1.8.0 ",
    ],
)
def test_parse_each_form_gives_the_octets(text: str) -> None:
    assert obis.parse(text) == ENERGY


@pytest.mark.parametrize(
    "text", ["", "1-0:1.8", "1-0:1.8.256", "1.0.1.8.0", "1-0:1.8.0*", "x", "\u0661-0:1.8.0", "01" * 7]
)
def test_parse_anything_else_raises(text: str) -> None:
    with pytest.raises(obis.ObisError) as caught:
        obis.parse(text)
    assert caught.value.code == "OBIS_INVALID"


@given(st.binary(min_size=6, max_size=6))
def test_text_form_round_trips(name: bytes) -> None:
    assert obis.parse(obis.to_text(name)) == name


def test_to_text_always_names_f() -> None:
    assert obis.to_text(ENERGY) == "1-0:1.8.0.255"
    with pytest.raises(obis.ObisError):
        obis.to_text(b"\x01")
