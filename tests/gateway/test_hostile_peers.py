"""Peers that break the rules, say nothing or come in crowds: each is cut and counted by its reason."""

from __future__ import annotations

import random
import time

import pytest

from dlms.framing.wrapper import encode_frame
from gateway import wire
from tests.gateway.ends import until


def test_peer_that_says_nothing_is_cut_at_login_timeout(strict, worker, dial):
    meter = dial(strict)
    assert not meter.cut_within(0.4)
    assert meter.cut_within(1.5)
    assert strict.closed(meter)["reason"] == "login_timeout"


def test_peer_that_never_says_who_it_is_is_cut_and_its_frames_discarded(strict, worker, dial):
    meter = dial(strict)
    began = time.monotonic()
    while time.monotonic() - began < 0.4:
        meter.send(encode_frame(1, 1, b"\x0fI push before I log in"))
        time.sleep(0.1)
    assert meter.cut_within(1.5)
    assert strict.closed(meter)["reason"] == "login_timeout"
    assert worker.pushed("") == []
    incarnation = worker.node_on(strict.port)
    until(lambda: worker.node(incarnation)["counts"]["discarded"].get("unidentified", 0) >= 3)


def test_identified_peer_without_heartbeat_is_cut(strict, worker, dial, identity):
    meter = dial(strict, login=identity)
    worker.live_link(identity)
    for _ in range(4):
        time.sleep(0.5)
        meter.login(identity)
    assert worker.link(identity) is not None
    assert meter.cut_within(3)
    assert strict.closed(meter)["reason"] == "idle"
    until(lambda: worker.link(identity) is None)


@pytest.mark.parametrize("octets", ["00", "00010001", "0001000100010008c4", "0001000100000100" + "c4" * 99])
def test_half_frame_is_cut_after_its_time(strict, worker, dial, identity, octets):
    meter = dial(strict, login=identity)
    worker.live_link(identity)
    meter.send(bytes.fromhex(octets))
    assert not meter.cut_within(0.3)
    assert meter.cut_within(1.2)
    assert strict.closed(meter)["reason"] == "half_frame"


def test_frame_that_drips_in_is_cut_as_half_frame(strict, worker, dial, identity):
    meter = dial(strict, login=identity)
    worker.live_link(identity)
    began = time.monotonic()
    for octet in encode_frame(1, 1, bytes(200)):
        meter.socket.send(bytes([octet]))
        if meter.cut_within(0.02):
            break
    assert 0.3 < time.monotonic() - began < 2
    assert strict.closed(meter)["reason"] == "half_frame"


@pytest.mark.parametrize(
    ("octets", "code"),
    [
        (bytes.fromhex("000100010001ffff"), "frame_too_large"),
        (bytes.fromhex("00010001000103e9"), "frame_too_large"),
        (bytes.fromhex("0002000100010003c40100"), "wrapper_version"),
        (bytes.fromhex("0001000100010000"), "wrapper_length"),
        (b"GET / HTTP/1.1\r\nHost: meters\r\n\r\n", "wrapper_version"),
        (b"\x16\x03\x01\x02\x00\x01", "wrapper_version"),
    ],
)
def test_frame_against_the_rules_cuts_link_and_tells_who_waits(strict, worker, dial, identity, octets, code):
    meter = dial(strict, login=identity)
    request = worker.request(worker.live_link(identity), (b"ask",))
    worker.post(request)
    meter.take()
    meter.send(octets)
    reply = worker.wait(request)
    assert (reply.status, reply.detail) == (wire.Status.FRAME_ERROR, code.upper())
    assert meter.cut_within(1)
    assert strict.closed(meter)["reason"] == code
    assert ("down", code) in until(lambda: worker.transitions(identity)[1:])


def test_wrong_length_shifts_next_frame_and_is_found_out(strict, worker, dial, identity):
    """A length one too small leaves an octet behind, at which the next frame cannot begin."""
    meter = dial(strict, login=identity)
    link = worker.live_link(identity)
    request = worker.request(link, (b"ask",))
    worker.post(request)
    meter.take()
    meter.send(bytes.fromhex("0001000100010002c40177"))
    assert worker.wait(request).frames[0][8:] == b"\xc4\x01"
    meter.login(identity)
    assert meter.cut_within(1)
    assert strict.closed(meter)["reason"] == "wrapper_version"


@pytest.mark.parametrize(
    "payload", [b"HES1 ", b"HES1 two words", b"HES1 " + b"x" * 65, b"HES1 \xff", b"HES1 a\n"]
)
def test_malformed_login_is_cut(strict, worker, dial, payload):
    meter = dial(strict)
    meter.send(encode_frame(1, 0, payload))
    assert meter.cut_within(0.5)
    assert strict.closed(meter)["reason"] == "login_malformed"


@pytest.mark.parametrize(("change", "address"), [("-other", 1), ("", 2)])
def test_identity_that_changes_on_one_link_is_cut(strict, worker, dial, identity, change, address):
    meter = dial(strict, login=identity)
    worker.live_link(identity)
    meter.send(encode_frame(address, 0, b"HES1 " + (identity + change).encode()))
    assert meter.cut_within(1)
    assert strict.closed(meter)["reason"] == "identity_changed"
    assert worker.link(identity + "-other") is None


def test_links_beyond_the_ceilings_are_refused(worker, open_node, dial):
    node = open_node(HES_GATEWAY_MAX_LINKS="2", HES_NODE_TTL_S="0.6")
    until(lambda: worker.node(worker.node_on(node.port))["links"] == 0)
    kept = [dial(node, login=f"K{number}") for number in range(2)]
    for number in range(2):
        worker.live_link(f"K{number}")
    meter = dial(node)
    assert meter.cut_within(1)
    assert node.closed(meter)["reason"] == "node_full"
    kept[0].close()
    until(lambda: worker.node(worker.node_on(node.port))["links"] == 1)
    dial(node, login="K2")
    worker.live_link("K2")


def test_crowd_from_one_address_is_bounded(worker, open_node, dial):
    node = open_node(HES_GATEWAY_MAX_PER_ADDRESS="2", HES_NODE_TTL_S="0.6")
    until(lambda: worker.node(worker.node_on(node.port))["links"] == 0)
    for number in range(2):
        dial(node, login=f"C{number}")
        worker.live_link(f"C{number}")
    meter = dial(node)
    assert meter.cut_within(1)
    assert node.closed(meter)["reason"] == "address_full"


def test_peer_that_does_not_read_is_given_no_more(node, worker, dial, identity):
    dial(node, login=identity)
    link = worker.live_link(identity)
    statuses = [worker.ask(link, (bytes(60_000),), expect=wire.Expect.NONE).status for _ in range(200)]
    assert statuses[0] == wire.Status.OK
    assert statuses[-1] == wire.Status.BUSY
    assert statuses == sorted(statuses, key=lambda status: status == wire.Status.BUSY)


def test_random_octets_harm_nobody_else(node, worker, dial, identity):
    meter = dial(node, login=identity)
    link = worker.live_link(identity)
    chance = random.Random(4059)
    for _ in range(150):
        begin = chance.choice([b"", b"\x00\x01", bytes.fromhex("00010001000000") + b"\x20HES1 "])
        peer = dial(node)
        peer.send(begin + chance.randbytes(chance.randint(1, 400)))
        if chance.random() < 0.5:
            peer.close()
    request = worker.request(link, (b"still here",))
    worker.post(request)
    assert meter.take() == b"still here"
    meter.answer(b"\xc4yes")
    assert worker.wait(request).frames[0][8:] == b"\xc4yes"
    assert node.child.exit_status() is None


def test_one_line_per_link_at_its_end(strict, worker, dial, identity):
    meter = dial(strict, login=identity)
    worker.live_link(identity)
    meter.close()
    line = strict.closed(meter)
    assert (line["identity"], line["reason"]) == (identity, "peer_closed")
    assert (line["frames_in"], line["bytes_in"]) == (1, 22)
