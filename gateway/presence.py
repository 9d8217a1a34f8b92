"""What others see of the node: its own key, its links' entries, the transitions in the presence stream.

Owns the claims of identities. Redis may be away: what is to be told is kept as a state of each link, so it is
bounded by the links there may be, and told when Redis is back.
"""

from __future__ import annotations

import asyncio
import time
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, cast

import msgspec
import structlog
from redis.asyncio import Redis

from gateway import wire
from gateway.connect import BUS_ERRORS, Pauses
from gateway.link import Claim, MeterLink
from gateway.scripts import CLAIM, DROP, PRESENCE_MAXLEN, Mode, Verdict

if TYPE_CHECKING:
    from gateway.node import Node

log = structlog.get_logger()

LINKS_PER_SCRIPT: Final = 200
LONGEST_REFRESH_S: Final = 5.0
#: A request to a node that is dead is not kept for long.
REQUESTS_TTL_S: Final = 120


class Presence:
    def __init__(self, node: Node, redis: Redis) -> None:
        self._node = node
        self._redis = redis
        self._wanted: dict[int, tuple[MeterLink, Mode]] = {}
        self._dropped: dict[int, tuple[wire.Link, str]] = {}
        self._refused: dict[int, MeterLink] = {}
        #: (link that stood in the way, detail), for the nodes that hold them
        self._probes: list[tuple[wire.Link, str]] = []
        self._changed = asyncio.Event()
        self._writing = False
        self._pauses = Pauses()

    @property
    def settled(self) -> bool:
        """Whether all is told."""
        return not (self._writing or self._wanted or self._dropped or self._probes)

    def claim(self, link: MeterLink, mode: Mode) -> None:
        """Have the entry of a link's identity written; the link's `claim` tells what became of it."""
        waiting = self._wanted.get(link.number)
        if waiting is not None and waiting[1] is not Mode.PROVE:
            return
        self._wanted[link.number] = (link, mode)
        if link.claim is Claim.NONE:
            link.claim = Claim.WANTED
        self._changed.set()

    def drop(self, link: MeterLink) -> None:
        """The link has ended."""
        self._wanted.pop(link.number, None)
        self._refused.pop(link.number, None)
        if link.claim is Claim.HELD:
            self.drop_entry(link.entry(), link.reason)

    def drop_entry(self, entry: wire.Link, reason: str) -> None:
        """A link that is no more may have left its entry. Bounded: a clash finds one that was forgotten."""
        self._dropped.setdefault(entry.connection, (entry, reason))
        if len(self._dropped) > self._node.config.max_links + LINKS_PER_SCRIPT:
            del self._dropped[next(iter(self._dropped))]
        self._changed.set()

    # --- the node's own key

    async def announce(self, *, first: bool = False) -> None:
        """Write the node's key. Where it was gone, the node was thought dead: every link is told again."""
        node = self._node
        key = wire.node_key(node.incarnation)
        ttl_ms = int(node.config.node_ttl_s * 1000)
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.set(key, msgspec.json.encode(node.facts()), px=ttl_ms, get=True)
            pipe.sadd(wire.NODES_SET, node.incarnation)
            before, _ = await pipe.execute()
        if before is None and not first:
            log.warning("node_announced_again", links=len(node.links))
            for link in list(node.links.values()):
                if link.claim is Claim.HELD:
                    self.claim(link, Mode.AGAIN)

    async def refresh(self) -> None:
        """Keeps the node's key alive, and tries refused claims again."""
        while True:
            await asyncio.sleep(min(self._node.config.node_ttl_s / 3, LONGEST_REFRESH_S))
            pauses = Pauses()
            while True:
                try:
                    await self.announce()
                    break
                except BUS_ERRORS as error:
                    self._node.counts.redis_errors += 1
                    pause_s = pauses.next_s()
                    log.warning("node_not_announced", error=str(error), retry_s=pause_s)
                    await asyncio.sleep(pause_s)
            for link in self._refused.values():
                self.claim(link, Mode.RETRY)

    async def leave(self) -> None:
        """The node ends in order: nothing of it stays behind."""
        incarnation = self._node.incarnation
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.delete(wire.node_key(incarnation), wire.requests_key(incarnation))
            pipe.srem(wire.NODES_SET, incarnation)
            await pipe.execute()

    # --- entries and transitions

    async def run(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            while not self.settled:
                try:
                    self._writing = True
                    await self._write_drops()
                    await self._write_probes()
                    await self._write_claims()
                    self._pauses.reset()
                except BUS_ERRORS as error:
                    self._node.counts.redis_errors += 1
                    pause_s = self._pauses.next_s()
                    log.warning("presence_unwritable", error=str(error), retry_s=pause_s)
                    await asyncio.sleep(pause_s)
                finally:
                    self._writing = False

    async def _write_drops(self) -> None:
        while batch := dict(islice(self._dropped.items(), LINKS_PER_SCRIPT)):
            await self._eval(DROP, list(batch.values()))
            for number in batch:
                self._dropped.pop(number, None)

    async def _write_claims(self) -> None:
        # Links that were there before come first: a claim that was refused must not slip in before them.
        waiting = sorted(self._wanted, key=lambda number: self._wanted[number][1] is Mode.RETRY)
        for start in range(0, len(waiting), LINKS_PER_SCRIPT):
            numbers = waiting[start : start + LINKS_PER_SCRIPT]
            batch = [self._wanted.pop(number) for number in numbers if number in self._wanted]
            for link, _ in batch:
                link.claim = Claim.HELD  # it may be, from now on: the answer may get lost
            try:
                answers = await self._eval(CLAIM, [(link.entry(), mode) for link, mode in batch])
            except BaseException:
                for link, mode in batch:
                    if not link.reason:
                        self._wanted.setdefault(link.number, (link, mode))
                raise
            for (link, mode), (verdict, other) in zip(batch, answers, strict=True):
                self._judge(link, mode, Verdict(verdict), other)
            await self._write_probes()
            await self._write_drops()

    async def _eval(
        self, script: str, links: list[tuple[wire.Link, Mode]] | list[tuple[wire.Link, str]]
    ) -> Any:
        """Run a script over links. Sent whole each time: Redis forgets scripts when restarted."""
        keys = [wire.PRESENCE_STREAM, *(wire.link_key(link.identity) for link, _ in links)]
        args: list[str | int | bytes] = [PRESENCE_MAXLEN, int(time.time() * 1000)]
        for link, word in links:
            args += (wire.encode_link(link), str(word))
        return await cast(Any, self._redis.eval(script, len(keys), *keys, *args))

    def _judge(self, link: MeterLink, mode: Mode, verdict: Verdict, other: bytes) -> None:
        if verdict in (Verdict.HELD, Verdict.DISPLACED):
            self._refused.pop(link.number, None)
        if verdict is Verdict.DISPLACED:
            self._probes.append((wire.decode_link(other), wire.DISPLACED))
        elif verdict is Verdict.SUPERSEDED:
            link.end("superseded")
        elif verdict is Verdict.CLASH:
            self._probes.append((wire.decode_link(other), ""))
            self._node.counts.clashes += mode is Mode.FIRST
            if not link.reason:
                link.claim = Claim.REFUSED
                self._refused[link.number] = link

    async def _write_probes(self) -> None:
        """Have the nodes of links that stand in the way probe them, or cut them where they were displaced."""
        probes, self._probes = self._probes, []
        pipe = self._redis.pipeline(transaction=False)
        for holder, detail in probes:
            request = _probe_of(holder, detail)
            if holder.incarnation == self._node.incarnation:
                self._node.probe(request)
                continue
            key = wire.requests_key(holder.incarnation)
            pipe.rpush(key, wire.encode_request(request))
            pipe.expire(key, REQUESTS_TTL_S)
        try:
            if pipe:
                await pipe.execute()
        except BUS_ERRORS:
            self._probes = probes + self._probes
            raise


def _probe_of(holder: wire.Link, detail: str) -> wire.Request:
    return wire.Request(
        version=wire.WIRE_VERSION,
        kind=wire.Kind.PROBE,
        request_id=0,
        reply_to="",
        incarnation=holder.incarnation,
        connection=holder.connection,
        server_address=holder.server_address,
        token=0,
        deadline_ms=int((time.time() + REQUESTS_TTL_S) * 1000),
        frames=[wire.encode_link(holder)],
        expect=wire.Expect.NONE,
        detail=detail,
    )
