"""Login, exchanges, the fence: what a worker and a meter see of each other through a real node."""

from __future__ import annotations

import time

from dlms.framing.wrapper import encode_frame
from gateway import wire
from tests.gateway.ends import until

GET = bytes.fromhex("c001c100080000010000ff0200")


def test_login_makes_link_entry_and_presence(node, worker, dial, identity):
    meter = dial(node, login=identity, address=17)
    link = worker.live_link(identity)
    assert (link.identity, link.server_address, link.proven) == (identity, 17, False)
    assert link.peer == f"127.0.0.1:{meter.socket.getsockname()[1]}"
    assert link.incarnation == worker.node_on(node.port)
    assert worker.node(link.incarnation)["name"] == link.node
    assert worker.transitions(identity) == [("up", "login")]


def test_heartbeat_repeats_login_and_changes_nothing(node, worker, dial, identity):
    meter = dial(node, login=identity)
    before = worker.live_link(identity)
    for _ in range(3):
        meter.login(identity)
    meter.answer(b"x")
    time.sleep(0.2)
    assert worker.link(identity) == before
    assert worker.transitions(identity) == [("up", "login")]


def test_exchange_carries_frames_both_ways(node, worker, dial, identity):
    meter = dial(node, login=identity)
    request = worker.request(worker.live_link(identity), (GET,))
    worker.post(request)
    assert meter.take() == GET
    meter.answer(b"\xc4\x01\xc1\x00")
    reply = worker.wait(request)
    assert reply.status == wire.Status.OK
    assert reply.frames == [bytes.fromhex("0001 0001 0001 0004 c401c100".replace(" ", ""))]


def test_reply_a_byte_at_a_time_is_one_frame(node, worker, dial, identity):
    meter = dial(node, login=identity)
    request = worker.request(worker.live_link(identity), (GET,))
    worker.post(request)
    meter.take()
    for octet in bytes.fromhex("0001000100010003c40100"):
        meter.send(bytes([octet]))
        time.sleep(0.005)
    assert worker.wait(request).frames == [bytes.fromhex("0001000100010003c40100")]


def test_several_frames_in_one_request_are_sent_in_order(node, worker, dial, identity):
    meter = dial(node, login=identity)
    link = worker.live_link(identity)
    assert worker.ask(link, (b"one", b"two"), expect=wire.Expect.NONE).status == wire.Status.OK
    assert [meter.take(), meter.take()] == [b"one", b"two"]


def test_request_without_frames_waits_for_next_reply(node, worker, dial, identity):
    meter = dial(node, login=identity)
    link = worker.live_link(identity)
    assert worker.ask(link, expect=wire.Expect.ONE).status == wire.Status.BAD_REQUEST
    assert worker.ask(link, (GET,), expect=wire.Expect.NONE).status == wire.Status.OK
    request = worker.request(link)
    worker.post(request)
    time.sleep(0.2)
    meter.answer(b"\xc4block")
    assert worker.wait(request).frames[0][8:] == b"\xc4block"


def test_batch_of_exchanges_over_many_links_all_answered(node, worker, dial):
    meters = {f"B{number:03d}": None for number in range(60)}
    for name in meters:
        meters[name] = dial(node, login=name)
    requests = {name: worker.request(worker.live_link(name), (name.encode(),)) for name in meters}
    worker.post(*requests.values())
    for meter in meters.values():
        meter.answer(b"\xc4" + meter.take())
    for name, request in requests.items():
        assert worker.wait(request).frames[0][8:] == b"\xc4" + name.encode()


def test_addresses_of_one_link_have_exchanges_of_their_own(node, worker, dial, identity):
    meter = dial(node, login=identity)
    link = worker.live_link(identity)
    first, second = (worker.request(link, (GET,), server_address=address) for address in (100, 101))
    worker.post(first, second)
    meter.take(), meter.take()
    meter.answer(b"\xc4second", address=101)
    meter.answer(b"\xc4first", address=100)
    assert worker.wait(first).frames[0][8:] == b"\xc4first"
    assert worker.wait(second).frames[0][8:] == b"\xc4second"


def test_second_exchange_of_address_is_busy_first_unharmed(node, worker, dial, identity):
    meter = dial(node, login=identity)
    link = worker.live_link(identity)
    first = worker.request(link, (b"first",))
    worker.post(first)
    assert meter.take() == b"first"
    assert worker.ask(link, (b"second",), token=2).status == wire.Status.BUSY
    meter.answer(b"\xc4first")
    assert worker.wait(first).frames[0][8:] == b"\xc4first"


def test_lower_token_is_fenced_and_nothing_sent(node, worker, dial, identity):
    meter = dial(node, login=identity)
    link = worker.live_link(identity)
    sent = {"expect": wire.Expect.NONE}
    assert worker.ask(link, (b"newer",), token=1_795_000_000_000_001, **sent).status == wire.Status.OK
    assert worker.ask(link, (b"older",), token=1_795_000_000_000_000, **sent).status == wire.Status.FENCED
    assert worker.ask(link, kind=wire.Kind.CUT, token=5).status == wire.Status.FENCED
    assert worker.ask(link, (b"same",), token=1_795_000_000_000_001, **sent).status == wire.Status.OK
    assert [meter.take(), meter.take()] == [b"newer", b"same"]


def test_expired_request_is_not_sent(node, worker, dial, identity):
    meter = dial(node, login=identity)
    link = worker.live_link(identity)
    assert worker.ask(link, (b"stale",), timeout_s=-0.5).status == wire.Status.EXPIRED
    assert worker.ask(link, (b"fresh",), expect=wire.Expect.NONE).status == wire.Status.OK
    assert meter.take() == b"fresh"


def test_cut_ends_link_and_waiting_exchange(node, worker, dial, identity):
    meter = dial(node, login=identity)
    link = worker.live_link(identity)
    waiting = worker.request(link, (GET,))
    worker.post(waiting)
    meter.take()
    assert worker.ask(link, kind=wire.Kind.CUT).status == wire.Status.OK
    assert worker.wait(waiting).status == wire.Status.LINK_GONE
    assert meter.cut_within(2)
    assert worker.ask(link, (GET,)).status == wire.Status.LINK_GONE
    until(lambda: worker.link(identity) is None)
    assert worker.transitions(identity) == [("up", "login"), ("down", "cut_by_worker")]
    dial(node, login=identity)
    assert worker.live_link(identity).connection > link.connection


def test_meter_that_closes_ends_waiting_exchange(node, worker, dial, identity):
    meter = dial(node, login=identity)
    request = worker.request(worker.live_link(identity), (GET,))
    worker.post(request)
    meter.take()
    meter.close()
    reply = worker.wait(request)
    assert (reply.status, reply.detail) == (wire.Status.LINK_GONE, "peer_closed")


def test_malformed_requests_are_refused_node_goes_on(node, worker, dial, identity):
    meter = dial(node, login=identity)
    link = worker.live_link(identity)
    worker.redis.rpush(wire.requests_key(link.incarnation), b"", b"\xff" * 40, b"\x91" * 100_000)
    bad = wire.Status.BAD_REQUEST
    assert worker.ask(link, frames=[b"\x00\x01"]).status == bad
    assert worker.ask(link, (GET,), frames=[b"\x00\x01\x00\x01\x00\x01\x00\x09x"]).status == bad
    assert worker.ask(link, (GET,), kind=99).status == bad
    assert worker.ask(link, (GET,), expect=7).status == bad
    assert worker.ask(link, (GET,), version=2).status == bad
    elsewhere = worker.request(link, (GET,)).frames
    assert worker.ask(link, frames=elsewhere, server_address=9).status == bad
    assert worker.ask(link, (b"good",), expect=wire.Expect.NONE).status == wire.Status.OK
    assert meter.take() == b"good"


def test_frame_of_another_client_is_no_reply(node, worker, dial, identity):
    meter = dial(node, login=identity)
    request = worker.request(worker.live_link(identity), (GET,), client=16)
    worker.post(request)
    meter.take()
    meter.answer(b"\xc4wrong client", client=32)
    meter.answer(b"\xc4wrong address", client=16, address=2)
    meter.answer(b"\xc4right", client=16)
    assert worker.wait(request).frames[0][8:] == b"\xc4right"
    assert worker.pushed(identity) == []


def test_reply_behind_a_general_ciphered_frame_is_kept_for_who_asks_on(node, worker, dial, identity):
    meter = dial(node, login=identity)
    link = worker.live_link(identity)
    request = worker.request(link, (GET,))
    worker.post(request)
    meter.take()
    meter.send(encode_frame(1, 1, b"\xdb\x08push") + encode_frame(1, 1, b"\xccreply"))
    assert worker.wait(request).frames == [encode_frame(1, 1, b"\xdb\x08push")]
    assert worker.ask(link, (), token=request.token).frames == [encode_frame(1, 1, b"\xccreply")]


def test_frame_behind_a_general_ciphered_reply_is_given_to_no_later_request(node, worker, dial, identity):
    meter = dial(node, login=identity)
    link = worker.live_link(identity)
    request = worker.request(link, (GET,))
    worker.post(request)
    meter.take()
    meter.send(encode_frame(1, 1, b"\xdb\x08reply") + encode_frame(1, 1, b"\xccstray"))
    worker.wait(request)
    second = worker.request(link, (GET,), token=request.token + 1)
    worker.post(second)
    meter.take()
    meter.answer(b"\xc4own")
    assert worker.wait(second).frames == [encode_frame(1, 1, b"\xc4own")]
