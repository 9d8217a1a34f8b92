"""A node's start, stop, death and stops in between; Redis that goes away and comes back."""

from __future__ import annotations

import os
import signal
import time

import pytest
import redis

from gateway import wire
from hes.embedded import EmbeddedRedis
from tests.gateway.ends import WorkerEnd, until

GET = bytes.fromhex("c001c100080000010000ff0200")


def exchange(worker, meter, identity, word=b"ask"):
    """One exchange over whatever link the identity has now."""
    request = worker.request(worker.live_link(identity), (word,))
    worker.post(request)
    assert meter.take() == word
    meter.answer(b"\xc4" + word)
    assert worker.wait(request).frames[0][8:] == b"\xc4" + word


def test_killed_node_is_dead_within_its_ttl_and_links_with_it(open_node, worker, dial, identity):
    node = open_node()
    dial(node, login=identity)
    link = worker.live_link(identity)
    os.kill(node.child.pid, signal.SIGKILL)
    until(lambda: worker.node(link.incarnation) is None, 2.5)
    assert worker.link(identity) == link, "no write per link is needed"


def test_meter_of_a_killed_node_is_let_in_by_another(worker, open_node, dial, identity):
    first, second = (open_node(HES_NODE_TTL_S="0.9") for _ in range(2))
    dial(first, login=identity)
    dead = worker.live_link(identity)
    worker.ask(dead, kind=wire.Kind.PROVEN)
    until(lambda: worker.link(identity).proven)
    os.kill(first.child.pid, signal.SIGKILL)
    meter = dial(second, login=identity)
    until(lambda: worker.link(identity).incarnation != dead.incarnation)
    exchange(worker, meter, identity)


def test_two_nodes_side_by_side_each_serve_their_own(worker, open_node, dial):
    nodes = [open_node(), open_node()]
    meters = {f"S{number}": dial(nodes[number % 2], login=f"S{number}") for number in range(10)}
    incarnations = {name: worker.live_link(name).incarnation for name in meters}
    assert len(set(incarnations.values())) == 2
    for name, meter in meters.items():
        exchange(worker, meter, name, name.encode())
    strayed = worker.request(worker.link("S0"), (b"x",), connection=worker.link("S1").connection + 50)
    worker.post(strayed)
    assert worker.wait(strayed).status == wire.Status.LINK_GONE


def test_stopped_node_announces_itself_and_its_links_again(open_node, worker, dial, identity):
    node = open_node()
    meter = dial(node, login=identity)
    link = worker.live_link(identity)
    os.kill(node.child.pid, signal.SIGSTOP)
    until(lambda: worker.node(link.incarnation) is None, 2.5)
    stale = worker.request(link, (b"meant for then",), timeout_s=0.2)
    worker.post(stale)
    time.sleep(0.3)
    os.kill(node.child.pid, signal.SIGCONT)
    until(lambda: worker.node(link.incarnation))
    assert worker.wait(stale).status == wire.Status.EXPIRED
    until(lambda: worker.transitions(identity) == [("up", "login"), ("up", "announced_again")])
    assert worker.link(identity) == link
    exchange(worker, meter, identity)


def test_link_of_a_stopped_node_yields_to_the_one_made_meanwhile(worker, open_node, dial, identity):
    first, second = (open_node(HES_NODE_TTL_S="0.9") for _ in range(2))
    old = dial(first, login=identity)
    link = worker.live_link(identity)
    os.kill(first.child.pid, signal.SIGSTOP)
    until(lambda: worker.node(link.incarnation) is None, 2.5)
    new = dial(second, login=identity)
    fresh = until(lambda: (now := worker.link(identity)).incarnation != link.incarnation and now)
    os.kill(first.child.pid, signal.SIGCONT)
    assert old.cut_within(2)
    time.sleep(0.2)
    assert worker.link(identity) == fresh
    assert worker.transitions(identity) == [("up", "login"), ("up", "login")]
    exchange(worker, new, identity)


def test_sigterm_drains_waiting_exchange_refuses_new_and_leaves_nothing(
    live_redis, open_node, worker, dial, identity
):
    node = open_node()
    meter = dial(node, login=identity)
    link = worker.live_link(identity)
    waiting = worker.request(link, (GET,))
    worker.post(waiting)
    meter.take()
    os.kill(node.child.pid, signal.SIGTERM)
    time.sleep(0.3)
    with pytest.raises(ConnectionRefusedError):
        dial(node)
    assert worker.ask(link, (b"new",), server_address=9).status == wire.Status.DRAINING
    meter.answer(b"\xc4in time")
    assert worker.wait(waiting).frames[0][8:] == b"\xc4in time"
    assert meter.cut_within(2)
    until(lambda: node.child.exit_status() is not None)
    assert node.child.exit_status() == 0
    assert worker.transitions(identity) == [("up", "login"), ("down", "drain")]
    assert (
        worker.redis.keys("gw:node:*")
        == worker.redis.keys("gw:req:*")
        == worker.redis.keys("gw:link:*")
        == []
    )
    assert worker.redis.smembers(wire.NODES_SET) == set()


def test_drain_ends_at_its_deadline_though_meter_is_silent(worker, open_node, dial, identity):
    node = open_node(HES_GATEWAY_DRAIN_S="0.5")
    meter = dial(node, login=identity)
    waiting = worker.request(worker.live_link(identity), (GET,), timeout_s=30)
    worker.post(waiting)
    meter.take()
    began = time.monotonic()
    os.kill(node.child.pid, signal.SIGTERM)
    reply = worker.wait(waiting)
    assert (reply.status, reply.detail) == (wire.Status.LINK_GONE, "drain")
    until(lambda: node.child.exit_status() is not None)
    assert time.monotonic() - began < 3


@pytest.fixture
def own_redis(tmp_path):
    server = EmbeddedRedis(tmp_path / "redis").start()
    yield server
    server.stop()


@pytest.mark.parametrize("memory", ["kept", "lost"])
def test_redis_restart_keeps_links_and_tells_what_happened_meanwhile(own_redis, open_node, dial, memory):
    node = open_node(own_redis.url, HES_NODE_TTL_S="0.9")
    worker = WorkerEnd(redis.Redis.from_url(own_redis.url))
    stays, leaves, comes = dial(node, login="STAYS"), dial(node, login="LEAVES"), None
    links = worker.live_link("STAYS"), worker.live_link("LEAVES")
    own_redis.stop()
    if memory == "lost":
        for path in own_redis.folder.glob("appendonly*"):
            path.unlink()
    time.sleep(1.5)
    leaves.close()
    comes = dial(node, login="COMES")
    time.sleep(0.3)
    own_redis.start()
    worker = WorkerEnd(redis.Redis.from_url(own_redis.url))
    assert worker.live_link("STAYS", 8) == links[0]
    worker.live_link("COMES", 8)
    until(lambda: worker.link("LEAVES") is None)
    until(lambda: worker.node(links[0].incarnation))
    until(lambda: worker.transitions("LEAVES")[-1:] == [("down", "peer_closed")])
    assert {state for state, _ in worker.transitions("COMES")} == {"up"}
    until(lambda: worker.transitions("STAYS")[-1] == ("up", "announced_again"))
    exchange(worker, stays, "STAYS")
    exchange(worker, comes, "COMES")


def test_reply_that_comes_while_redis_is_away_is_delivered_after(own_redis, open_node, dial):
    node = open_node(own_redis.url)
    worker = WorkerEnd(redis.Redis.from_url(own_redis.url))
    meter = dial(node, login="WAITS")
    request = worker.request(worker.live_link("WAITS"), (GET,), timeout_s=10)
    worker.post(request)
    meter.take()
    own_redis.stop()
    meter.answer(b"\xc4while away")
    time.sleep(0.5)
    own_redis.start()
    again = WorkerEnd(redis.Redis.from_url(own_redis.url))
    again.incarnation = worker.incarnation
    assert again.wait(request, 8).frames[0][8:] == b"\xc4while away"
