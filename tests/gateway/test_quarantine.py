"""A late reply is given to nobody; what the meter pushes goes to the stream."""

from __future__ import annotations

import pytest

from gateway import wire
from tests.gateway.ends import until

GET = bytes.fromhex("c001c100080000010000ff0200")
LATE = b"late answer of the first dialog"


@pytest.mark.parametrize("tag", [b"\xc4", b"\xcc", b"\xdb", b"\xdd", b"\xdf"])
def test_late_reply_reaches_neither_next_exchange_nor_push(node, worker, dial, identity, tag):
    meter = dial(node, login=identity)
    link = worker.live_link(identity)
    assert worker.ask(link, (GET,), timeout_s=0.2).status == wire.Status.TIMEOUT
    assert meter.take() == GET
    assert worker.ask(link, (b"next",), token=2).status == wire.Status.QUARANTINED
    meter.answer(tag + LATE)
    assert worker.ask(link, (b"next",), token=2).status == wire.Status.QUARANTINED
    assert meter.cut_within(3), "the quarantine ends with the link"

    again = dial(node, login=identity)
    fresh = until(lambda: (new := worker.link(identity)) and new.connection != link.connection and new)
    request = worker.request(fresh, (b"next",), token=2)
    worker.post(request)
    assert again.take() == b"next"
    again.answer(b"\xc4fresh answer")
    assert worker.wait(request).frames[0][8:] == b"\xc4fresh answer"
    assert worker.pushed(identity) == []
    assert not any(LATE in reply.frames[0] for reply in worker._replies.values() if reply.frames)
    until(lambda: worker.node(link.incarnation)["counts"]["discarded"].get("late"))
    assert worker.transitions(identity)[:2] == [("up", "login"), ("down", "quarantine")]


def test_worker_may_cut_quarantined_link_at_once(worker, open_node, dial, identity):
    node = open_node(HES_QUARANTINE_S="60")
    meter = dial(node, login=identity)
    link = worker.live_link(identity)
    assert worker.ask(link, (GET,), timeout_s=0.1).status == wire.Status.TIMEOUT
    assert worker.ask(link, kind=wire.Kind.CUT).status == wire.Status.OK
    assert meter.take() == GET
    assert meter.cut_within(2)


def test_quarantine_of_one_address_leaves_others_until_cut(worker, open_node, dial, identity):
    node = open_node(HES_QUARANTINE_S="1.5")
    meter = dial(node, login=identity)
    link = worker.live_link(identity)
    assert worker.ask(link, (GET,), timeout_s=0.1, server_address=100).status == wire.Status.TIMEOUT
    request = worker.request(link, (GET,), server_address=101)
    worker.post(request)
    meter.take(), meter.take()
    meter.answer(b"\xc4late", address=100)
    meter.answer(b"\xc4other", address=101)
    assert worker.wait(request).frames[0][8:] == b"\xc4other"
    waiting = worker.request(link, (GET,), server_address=101)
    worker.post(waiting)
    assert worker.wait(waiting).status == wire.Status.LINK_GONE


@pytest.mark.parametrize("tag", [b"\x0f", b"\xc2", b"\xca", b"\xdb", b"\xdd", b"\xdf"])
def test_push_outside_exchange_goes_to_stream(node, worker, dial, identity, tag):
    meter = dial(node, login=identity)
    link = worker.live_link(identity)
    meter.answer(tag + b"alarm", client=3)
    pushes = until(lambda: worker.pushed(identity))
    assert [push.frame[8:] for push in pushes] == [tag + b"alarm"]
    assert (pushes[0].source, pushes[0].destination, pushes[0].connection) == (1, 3, link.connection)


def test_notification_during_exchange_is_push_and_not_the_reply(node, worker, dial, identity):
    meter = dial(node, login=identity)
    request = worker.request(worker.live_link(identity), (GET,))
    worker.post(request)
    meter.take()
    meter.answer(b"\x0fpushed meanwhile")
    meter.answer(b"\xdbthe general ciphered reply")
    assert worker.wait(request).frames[0][8:] == b"\xdbthe general ciphered reply"
    assert [p.frame[8:] for p in until(lambda: worker.pushed(identity))] == [b"\x0fpushed meanwhile"]


def test_response_nobody_asked_for_is_discarded(node, worker, dial, identity):
    meter = dial(node, login=identity)
    link = worker.live_link(identity)
    meter.answer(b"\xc4unasked")
    request = worker.request(link, (GET,))
    worker.post(request)
    meter.take()
    meter.answer(b"\xc4asked")
    assert worker.wait(request).frames[0][8:] == b"\xc4asked"
    assert worker.pushed(identity) == []
