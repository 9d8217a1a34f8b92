"""Messages survive the way; junk is refused by name."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import wire

u64 = st.integers(0, 2**63 - 1)
u16 = st.integers(0, 0xFFFF)
frames = st.lists(st.binary(max_size=300), max_size=4)
words = st.text(max_size=70)


@given(
    st.builds(
        wire.Request,
        st.just(1), u16, u64, words, words, u64, u16, u64, u64, frames, st.integers(0, 1), words,
    )
)  # fmt: skip
def test_request_survives(request):
    assert wire.decode_request(wire.encode_request(request)) == request


@given(st.builds(wire.Reply, st.just(1), u64, st.sampled_from(wire.Status), frames, words))
def test_reply_survives(reply):
    assert wire.decode_reply(wire.encode_reply(reply)) == reply


@given(st.builds(wire.Link, words, words, u64, u16, words, words, st.booleans()))
def test_link_survives(link):
    assert wire.decode_link(wire.encode_link(link)) == link


@given(st.builds(wire.Push, st.just(1), words, words, u64, u16, u16, u64, st.binary(max_size=300)))
def test_push_survives(push):
    assert wire.decode_push(wire.encode_push(push)) == push


@given(st.binary(max_size=200))
@pytest.mark.parametrize(
    "decode", [wire.decode_request, wire.decode_reply, wire.decode_link, wire.decode_push]
)
def test_junk_is_malformed(decode, junk):
    with pytest.raises(wire.WireError) as caught:
        decode(junk)
    assert caught.value.code in ("WIRE_MALFORMED", "WIRE_VERSION")


def test_nested_junk_is_malformed():
    with pytest.raises(wire.WireError):
        wire.decode_request(b"\x9b" + b"\x91" * 200_000)


def test_other_version_is_named_and_its_sender_known():
    packed = wire.encode_request(wire.Request(2, 1, 77, "w", "n", 1, 1, 1, 1, [], 1))
    with pytest.raises(wire.WireError) as caught:
        wire.decode_request(packed)
    assert caught.value.code == "WIRE_VERSION"
    assert caught.value.message.request_id == 77
