"""`python -m tests.gateway.measure [LINKS] [EXCHANGES]`: what a link and an exchange cost a node.

Starts a Redis and a node of its own; meters and worker are this process. Prints one JSON line a figure.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
from pathlib import Path

import psutil
import redis
import redis.asyncio
import uvloop

from dlms.framing.wrapper import encode_frame
from gateway import wire
from hes.embedded import EmbeddedRedis
from hes.supervisor import stop_children
from tests.gateway.ends import NodeEnd, start_node

#: as a dialog with a small answer
GET = bytes.fromhex("c001c100080000010000ff0200")
ANSWER = encode_frame(1, 1, bytes.fromhex("c401c10006000004d2"))
IN_FLIGHT = 500


class Meter(asyncio.Protocol):
    def __init__(self, identity: str) -> None:
        self.login = encode_frame(1, 0, b"HES1 " + identity.encode())

    def connection_made(self, transport) -> None:
        self.transport = transport
        transport.write(self.login)

    def data_received(self, data: bytes) -> None:
        self.transport.write(ANSWER)


async def dial(port: int, count: int) -> None:
    loop = asyncio.get_running_loop()
    for start in range(0, count, 200):
        names = [f"M{number:08d}" for number in range(start, min(start + 200, count))]
        await asyncio.gather(
            *(loop.create_connection(lambda name=name: Meter(name), "127.0.0.1", port) for name in names)
        )


async def exchange(url: str, links: list[wire.Link], count: int) -> float:
    """Seconds for `count` exchanges, each on the next link, refilled in batches as replies come."""
    bus = redis.asyncio.Redis.from_url(url)
    frames = [encode_frame(1, 1, GET)]
    sent = received = 0
    began = time.perf_counter()
    while received < count:
        room = min(IN_FLIGHT - (sent - received), count - sent)
        if room:
            batch = [
                wire.Request(
                    1, wire.Kind.EXCHANGE, number, "measure", link.incarnation, link.connection, 1, 1,
                    int(time.time() * 1000) + 20_000, frames, wire.Expect.ONE,
                )
                for number in range(sent, sent + room)
                for link in (links[number % len(links)],)
            ]  # fmt: skip
            await bus.rpush(wire.requests_key(links[0].incarnation), *map(wire.encode_request, batch))
            sent += room
        first = await bus.blpop(["wk:rep:measure"], timeout=5)
        packed = [first[1], *(await bus.lpop("wk:rep:measure", 1000) or [])]
        replies = [wire.decode_reply(item) for item in packed]
        assert all(reply.status == wire.Status.OK for reply in replies)
        received += len(replies)
    took = time.perf_counter() - began
    await bus.aclose()
    return took


async def measure(url: str, end: NodeEnd, count: int, exchanges: int) -> None:
    node, bus = psutil.Process(end.child.pid), redis.Redis.from_url(url)
    idle = node.memory_full_info().uss
    await dial(end.port, count)
    keys = [wire.link_key(f"M{number:08d}") for number in range(count)]
    while None in (entries := bus.mget(keys)):  # noqa: ASYNC110 - nobody here could set an event
        await asyncio.sleep(0.1)
    per_link = (node.memory_full_info().uss - idle) / count
    print(json.dumps({"name": "gateway.link_bytes", "value": round(per_link), "unit": "B", "links": count}))
    cpu = sum(node.cpu_times()[:2])
    took = await exchange(url, [wire.decode_link(entry) for entry in entries], exchanges)
    cpu = sum(node.cpu_times()[:2]) - cpu
    rate = {"name": "gateway.exchanges_per_s", "value": round(exchanges / took), "unit": "1/s"}
    print(json.dumps(rate | {"in_flight": IN_FLIGHT}))
    print(
        json.dumps(
            {"name": "gateway.exchange_cpu_us", "value": round(cpu / exchanges * 1e6, 1), "unit": "us"}
        )
    )


def main() -> None:
    words = [int(word) for word in sys.argv[1:]]
    count, exchanges = (*words, *(5000, 50_000)[len(words) :])
    with tempfile.TemporaryDirectory() as folder, EmbeddedRedis(Path(folder) / "redis") as server:
        node = start_node(Path(folder), server.url)
        try:
            time.sleep(1)
            uvloop.run(measure(server.url, node, count, exchanges))
        finally:
            stop_children([node.child])


if __name__ == "__main__":
    main()
