from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlms.errors import LocalProtocolError, RemoteProtocolError
from dlms.framing.wrapper import Frame, WrapperFramer, decode_frame, encode_frame
from tests.dlms import vectors

ACSE = vectors.load("acse")
PUSH = vectors.load("push")
FRAMES = {
    "aarq": ACSE["wrapper_aarq_sn_protocol_version_short_conformance_tag"],
    "push": PUSH["udp_wrapper_general_glo_11"],
}
PORTS = st.integers(0, 0xFFFF)
PAYLOADS = st.binary(min_size=1, max_size=300)


@pytest.mark.parametrize("name", FRAMES)
def test_frame_vector_gives_its_addresses(name: str) -> None:
    raw, expect = vectors.octets(FRAMES[name]), FRAMES[name]["expect"]["wrapper"]
    framer = WrapperFramer()
    framer.feed(raw)
    frame = framer.next_frame()
    assert frame == decode_frame(raw)
    assert (frame.source, frame.destination) == (expect["source_wport"], expect["destination_wport"])
    assert len(frame.payload) == expect["length"]
    assert encode_frame(frame.source, frame.destination, frame.payload) == raw


@given(st.lists(st.tuples(PORTS, PORTS, PAYLOADS), max_size=5), st.integers(1, 40))
def test_stream_in_pieces_gives_the_same_frames(frames: list[tuple[int, int, bytes]], piece: int) -> None:
    stream = b"".join(encode_frame(*frame) for frame in frames)
    framer, found = WrapperFramer(), []
    for start in range(0, len(stream), piece):
        framer.feed(stream[start : start + piece])
        found.extend(framer)
    assert found == [Frame(*frame, encode_frame(*frame)) for frame in frames]
    assert framer.buffered == 0


def test_stream_octet_by_octet_needs_data_until_the_last() -> None:
    raw = encode_frame(1, 16, b"\xc4\x01\xc1")
    framer = WrapperFramer()
    for octet in raw[:-1]:
        framer.feed(bytes((octet,)))
        assert framer.next_frame() is None
    assert framer.buffered == len(raw) - 1
    framer.feed(raw[-1:])
    assert framer.next_frame() == Frame(1, 16, b"\xc4\x01\xc1", raw)


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"\x00\x02", "WRAPPER_VERSION"),
        (b"\x7e\xa0\x07\x03\x03\x97\xa8\x57\x7e", "WRAPPER_VERSION"),
        (b"\x00\x01\x00\x01\x00\x10\x00\x00", "WRAPPER_LENGTH"),
        (b"\x00\x01\x00\x01\x00\x10\x04\x01", "FRAME_TOO_LARGE"),
    ],
)
def test_stream_that_breaks_the_rules_dies(raw: bytes, code: str) -> None:
    framer = WrapperFramer(max_frame_bytes=1032)
    framer.feed(raw)
    with pytest.raises(RemoteProtocolError) as caught:
        framer.next_frame()
    assert caught.value.code == code
    assert framer.buffered == 0
    with pytest.raises(RemoteProtocolError):
        framer.feed(encode_frame(1, 1, b"x"))
    with pytest.raises(RemoteProtocolError):
        framer.next_frame()


@given(st.binary(max_size=100))
def test_stream_of_hostile_octets_raises_only_protocol_errors(raw: bytes) -> None:
    framer = WrapperFramer()
    framer.feed(raw)
    with contextlib.suppress(RemoteProtocolError):
        list(framer)


def test_decode_frame_with_wrong_length_raises() -> None:
    raw = encode_frame(1, 2, b"abc")
    for wrong in (raw[:-1], raw + b"x", raw[:5], b"\x00\x02" + raw[2:]):
        with pytest.raises(RemoteProtocolError):
            decode_frame(wrong)


def test_encode_frame_that_cannot_be_raises() -> None:
    with pytest.raises(LocalProtocolError):
        encode_frame(1, 1, bytes(0x10000))
    with pytest.raises(LocalProtocolError):
        encode_frame(-1, 1, b"x")
