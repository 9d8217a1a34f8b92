"""Two links that claim one identity, on one node and on two."""

from __future__ import annotations

import time

import pytest

from gateway import wire
from tests.gateway.ends import until

TIMES = {"HES_NODE_TTL_S": "0.9", "HES_PROBE_S": "1.2"}


@pytest.fixture(params=["one node", "two nodes"])
def two_doors(request, worker, open_node):
    first = open_node(**TIMES)
    return first, first if request.param == "one node" else open_node(**TIMES)


def holder(worker, identity):
    link = worker.link(identity)
    return link and (link.incarnation, link.connection)


def test_unproven_link_is_displaced_by_newer_login(two_doors, worker, dial, identity):
    old = dial(two_doors[0], login=identity)
    first = worker.live_link(identity)
    dial(two_doors[1], login=identity)
    until(lambda: holder(worker, identity) != (first.incarnation, first.connection))
    assert old.cut_within(2)
    time.sleep(0.2)
    assert worker.link(identity) is not None
    assert worker.transitions(identity) == [("up", "login"), ("up", "login")]


def test_proven_live_link_stands_and_clash_is_told_once(two_doors, worker, dial, identity):
    meter = dial(two_doors[0], login=identity)
    link = worker.live_link(identity)
    assert worker.ask(link, kind=wire.Kind.PROVEN).status == wire.Status.OK
    until(lambda: worker.link(identity).proven)
    thief = dial(two_doors[1], login=identity)
    until(lambda: ("clash", "proven_link_lives") in worker.transitions(identity))
    for _ in range(8):  # longer than the probe: a meter that says something passes it
        meter.login(identity)
        thief.login(identity)
        time.sleep(0.3)
    assert holder(worker, identity) == (link.incarnation, link.connection)
    request = worker.request(worker.link(identity), (b"who",))
    worker.post(request)
    assert meter.take() == b"who"
    assert [state for state, _ in worker.transitions(identity)] == ["up", "clash"]


def test_silent_proven_link_fails_probe_and_meter_is_let_in(two_doors, worker, dial, identity):
    """The common case: the meter's old link died without a word and it dials in anew."""
    old = dial(two_doors[0], login=identity)
    link = worker.live_link(identity)
    worker.ask(link, kind=wire.Kind.PROVEN)
    until(lambda: worker.link(identity).proven)
    new = dial(two_doors[1], login=identity)
    assert old.cut_within(3)
    fresh = until(
        lambda: (
            holder(worker, identity) not in (None, (link.incarnation, link.connection))
            and worker.link(identity)
        )
    )
    assert not fresh.proven
    request = worker.request(fresh, (b"hello",))
    worker.post(request)
    assert new.take() == b"hello"
    states = worker.transitions(identity)
    assert states == [
        ("up", "login"),
        ("clash", "proven_link_lives"),
        ("down", "probe_failed"),
        ("up", "login"),
    ]


def test_proven_mark_is_not_taken_from_lower_token(node, worker, dial, identity):
    dial(node, login=identity)
    link = worker.live_link(identity)
    assert worker.ask(link, (b"x",), token=9, expect=wire.Expect.NONE).status == wire.Status.OK
    assert worker.ask(link, kind=wire.Kind.PROVEN, token=8).status == wire.Status.FENCED
    time.sleep(0.1)
    assert not worker.link(identity).proven


def test_entry_left_by_a_lost_link_is_cleared_by_the_probe(node, worker, dial, identity):
    incarnation = worker.node_on(node.port)
    left = wire.Link(identity, incarnation, 999_999, 1, "here", "127.0.0.1:1", proven=True)
    worker.redis.set(wire.link_key(identity), wire.encode_link(left))
    dial(node, login=identity)
    until(lambda: (now := worker.link(identity)) and now.connection != 999_999)


def test_entry_of_a_dead_node_is_no_clash(node, worker, dial, identity):
    left = wire.Link(identity, "0123456789abcdef", 1, 1, "dead", "127.0.0.1:1", proven=True)
    worker.redis.set(wire.link_key(identity), wire.encode_link(left))
    dial(node, login=identity)
    until(lambda: worker.link(identity).incarnation != left.incarnation)
    assert worker.transitions(identity) == [("up", "login")]
