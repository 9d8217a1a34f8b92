"""Both ends of a gateway node for its tests: a meter by a plain socket, a worker by plain Redis commands."""

from __future__ import annotations

import datetime as dt
import itertools
import json
import secrets
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis

from dlms.framing.wrapper import encode_frame
from gateway import wire
from hes.embedded import free_port
from hes.supervisor import Child

CLIENT = 1
METER = 1


def until(probe: Callable[[], Any], timeout_s: float = 5.0, what: str = "") -> Any:
    """What `probe` gives once it is true."""
    deadline = time.monotonic() + timeout_s
    while not (value := probe()):
        assert time.monotonic() < deadline, f"not within {timeout_s} s: {what or probe}"
        time.sleep(0.02)
    return value


@dataclass(slots=True)
class NodeEnd:
    """A running node: where it listens, its process."""

    child: Child
    port: int

    def closed(self, meter: MeterEnd) -> dict[str, Any]:
        """The line that the node wrote at the end of a meter's link; the port may have had another before."""
        return until(lambda: next((line for line in self._closings() if meter.is_told_by(line)), None))

    def _closings(self) -> list[dict[str, Any]]:
        lines = [line for line in self.child.log_path.read_text().splitlines() if '"link_closed"' in line]
        return [json.loads(line) for line in lines]


def start_node(folder: Path, redis_url: str, **env: str) -> NodeEnd:
    """A node that was announced and listens."""
    port = free_port()
    words = {"REDIS_URL": redis_url, "HES_GATEWAY_HOST": "127.0.0.1", "HES_GATEWAY_PORT": str(port)} | env
    child = Child(f"gateway.{port}", [sys.executable, "-m", "gateway"], folder / f"{port}.log", words).start()

    def listens() -> bool:
        assert child.exit_status() is None, child.log_tail()
        return "node_started" in child.log_path.read_text()

    until(listens, 20)
    return NodeEnd(child, port)


class MeterEnd:
    """A peer that does what it is told; octets come and go as they are."""

    def __init__(self, port: int, *, login: str = "", address: int = METER) -> None:
        self.dialled_at = dt.datetime.now(dt.UTC)
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=5)
        self.name = f"127.0.0.1:{self.socket.getsockname()[1]}"
        self.address = address
        if login:
            self.login(login)

    def is_told_by(self, line: dict[str, Any]) -> bool:
        at = dt.datetime.fromisoformat(line["timestamp"])
        return line["peer"] == self.name and at >= self.dialled_at

    def login(self, identity: str) -> None:
        self.send(encode_frame(self.address, 0, b"HES1 " + identity.encode()))

    def send(self, octets: bytes) -> None:
        self.socket.sendall(octets)

    def answer(self, apdu: bytes, *, address: int | None = None, client: int = CLIENT) -> None:
        self.send(encode_frame(self.address if address is None else address, client, apdu))

    def take(self, timeout_s: float = 5.0) -> bytes:
        """The APDU of the next frame."""
        self.socket.settimeout(timeout_s)
        header = self._octets(8)
        return self._octets(int.from_bytes(header[6:8]))

    def _octets(self, count: int) -> bytes:
        octets = b""
        while len(octets) < count:
            more = self.socket.recv(count - len(octets))
            assert more, "the link was cut"
            octets += more
        return octets

    def cut_within(self, timeout_s: float) -> bool:
        """Whether the node ends the link, sending nothing more."""
        self.socket.settimeout(timeout_s)
        try:
            return self.socket.recv(1) == b""
        except TimeoutError:
            return False
        except ConnectionError:
            return True

    def close(self) -> None:
        self.socket.close()


class WorkerEnd:
    """Sends requests and waits for replies, each by its id."""

    def __init__(self, client: redis.Redis) -> None:
        self.redis = client
        self.incarnation = secrets.token_hex(4)
        self._ids = itertools.count(1)
        self._replies: dict[int, wire.Reply] = {}

    def link(self, identity: str) -> wire.Link | None:
        packed = self.redis.get(wire.link_key(identity))
        return wire.decode_link(packed) if packed else None

    def live_link(self, identity: str, timeout_s: float = 5.0) -> wire.Link:
        return until(lambda: self.link(identity), timeout_s, f"a link of {identity}")

    def request(self, link: wire.Link, apdus: tuple[bytes, ...] = (), **changes: Any) -> wire.Request:
        server_address = changes.get("server_address", link.server_address)
        client = changes.pop("client", CLIENT)
        fields: dict[str, Any] = {
            "version": wire.WIRE_VERSION,
            "kind": wire.Kind.EXCHANGE,
            "request_id": next(self._ids),
            "reply_to": self.incarnation,
            "incarnation": link.incarnation,
            "connection": link.connection,
            "server_address": server_address,
            "token": 1,
            "deadline_ms": int((time.time() + changes.pop("timeout_s", 5.0)) * 1000),
            "frames": [encode_frame(client, server_address, apdu) for apdu in apdus],
            "expect": wire.Expect.ONE,
        }
        return wire.Request(**(fields | changes))

    def post(self, *requests: wire.Request) -> None:
        for incarnation, some in itertools.groupby(requests, lambda request: request.incarnation):
            self.redis.rpush(wire.requests_key(incarnation), *map(wire.encode_request, some))

    def wait(self, request: wire.Request, timeout_s: float = 5.0) -> wire.Reply:
        deadline = time.monotonic() + timeout_s
        while request.request_id not in self._replies:
            left = deadline - time.monotonic()
            assert left > 0, "no reply from the node"
            popped = self.redis.blpop([wire.replies_key(self.incarnation)], timeout=left)
            if popped:
                reply = wire.decode_reply(popped[1])
                assert reply.request_id not in self._replies, "two replies to one request"
                self._replies[reply.request_id] = reply
        return self._replies[request.request_id]

    def ask(self, link: wire.Link, apdus: tuple[bytes, ...] = (), **changes: Any) -> wire.Reply:
        """Post a request and wait for its reply."""
        request = self.request(link, apdus, **changes)
        self.post(request)
        return self.wait(request, changes.get("timeout_s", 5.0) + 3.0)

    def node(self, incarnation: str) -> dict[str, Any] | None:
        """What stands in a node's key."""
        packed = self.redis.get(wire.node_key(incarnation))
        return json.loads(packed) if packed else None

    def node_on(self, port: int) -> str:
        """The incarnation of the node that listens on a port."""
        for member in self.redis.smembers(wire.NODES_SET):
            facts = self.node(member.decode())
            if facts and facts["port"] == port:
                return member.decode()
        raise AssertionError(f"no node on port {port}")

    def transitions(self, identity: str) -> list[tuple[str, str]]:
        """(state, reason) of an identity, in the order of the stream."""
        return [
            (fields[b"state"].decode(), fields[b"reason"].decode())
            for _, fields in self.redis.xrange(wire.PRESENCE_STREAM)
            if fields[b"identity"].decode() == identity
        ]

    def pushed(self, identity: str) -> list[wire.Push]:
        entries = [wire.decode_push(fields[b"p"]) for _, fields in self.redis.xrange(wire.PUSH_STREAM)]
        return [push for push in entries if push.identity == identity]
