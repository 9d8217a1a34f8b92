"""The node: accepts meters, keeps its links within their bounds, does what requests ask, ends in order.

One event loop; everything but the tasks of `run` is called in it and never waits.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, Final

import structlog

from gateway import wire
from gateway.bus import Outbox, RequestReader
from gateway.config import Config, SettingError
from gateway.connect import BUS_ERRORS, Pauses, connect
from gateway.counts import Counts
from gateway.link import Claim, MeterLink
from gateway.presence import Presence
from gateway.scripts import LEFT_BEHIND, Mode

log = structlog.get_logger()

BACKLOG: Final = 4096
SWEEP_S: Final = 0.25
#: After a longer gap between sweeps the process was stopped: what came meanwhile is read before any cut.
STOPPED_S: Final = 2.0
#: What waits in the socket is read before a probe ends.
PROBE_LEAST_S: Final = 0.5
#: For the last words to Redis at the end.
LEAVE_S: Final = 5.0


class Node:
    def __init__(self, config: Config) -> None:
        self.config = config
        self.loop = asyncio.get_running_loop()
        self.incarnation = secrets.token_hex(8)
        self.name = ""
        self.port = 0
        self.counts = Counts()
        self.started_at = time.time()
        self.draining = False
        #: all links, by number, the one whose last whole frame is oldest first
        self.links: dict[int, MeterLink] = {}
        self._unidentified: dict[int, MeterLink] = {}
        self._halves: dict[int, MeterLink] = {}
        self._per_address: Counter[str] = Counter()
        self._last_number = 0
        self._waiting = 0
        self._stop = asyncio.Event()
        self._reading = connect(config.redis_url)
        self._writing = connect(config.redis_url)
        self._outbox = Outbox(self._writing, self.counts)
        self._presence = Presence(self, self._writing)

    # --- its life

    async def run(self) -> None:
        """From binding the port to the end of a drain. Raises SettingError where the port cannot be had."""
        for number in (signal.SIGTERM, signal.SIGINT):
            self.loop.add_signal_handler(number, self._stop.set)
        config = self.config
        try:
            server = await self.loop.create_server(
                lambda: MeterLink(self),
                config.host,
                config.port,
                backlog=BACKLOG,
                reuse_port=config.reuse_port,
                start_serving=False,
            )
        except OSError as error:
            raise SettingError(
                "HES_GATEWAY_PORT", f"cannot listen on {config.host}:{config.port}: {error}"
            ) from None
        self.port = server.sockets[0].getsockname()[1]
        self.name = config.name_on(self.port)
        if await self._first_announced():
            await self._serve(server)
        server.close()
        await self._reading.aclose()
        await self._writing.aclose()
        log.info("node_ended", node=self.name, incarnation=self.incarnation)

    async def _first_announced(self) -> bool:
        """Meters are let in once workers can find them; False where the node was stopped before that."""
        pauses = Pauses()
        while not self._stop.is_set():
            try:
                await self._presence.announce(first=True)
                return True
            except BUS_ERRORS as error:
                pause_s = pauses.next_s()
                log.warning("node_not_announced", error=str(error), retry_s=pause_s)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stop.wait(), pause_s)
        return False

    async def _serve(self, server: asyncio.Server) -> None:
        reader = RequestReader(self._reading, self.incarnation, self.handle, self.counts)
        async with asyncio.TaskGroup() as group:
            loops = (
                reader.run(),
                self._outbox.run(),
                self._presence.run(),
                self._presence.refresh(),
                self._sweep(),
            )
            tasks = [group.create_task(task) for task in loops]
            await server.start_serving()
            log.info(
                "node_started",
                node=self.name,
                incarnation=self.incarnation,
                host=self.config.host,
                port=self.port,
            )
            await self._stop.wait()
            await self._drain(server)
            for task in tasks:
                task.cancel()

    async def _drain(self, server: asyncio.Server) -> None:
        """No new peers, no new exchanges; those outstanding end by themselves or at the drain's deadline."""
        self.draining = True
        server.close()
        log.info("node_drains", node=self.name, links=len(self.links), outstanding=self._waiting)
        await self._until(lambda: not self._waiting, self.config.drain_s)
        for link in list(self.links.values()):
            link.end("drain")
        await self._until(lambda: self._presence.settled and self._outbox.empty, LEAVE_S)
        try:
            await self._presence.leave()
        except BUS_ERRORS as error:
            log.warning("node_left_unseen", error=str(error))

    async def _until(self, done: Callable[[], bool], limit_s: float) -> None:
        deadline = self.loop.time() + limit_s
        while not done() and self.loop.time() < deadline:  # noqa: ASYNC110 - once, at the end
            await asyncio.sleep(0.02)

    def facts(self) -> dict[str, Any]:
        """What stands in the node's key."""
        return {
            "name": self.name,
            "host": self.config.host,
            "port": self.port,
            "pid": os.getpid(),
            "started_at": self.started_at,
            "draining": self.draining,
            "links": len(self.links),
            "identified": len(self.links) - len(self._unidentified),
            "outstanding": self._waiting,
            "counts": self.counts.as_dict(),
        }

    # --- links, told by themselves

    def opened(self, link: MeterLink) -> None:
        self._last_number += 1
        link.number = self._last_number
        self.counts.accepted += 1
        full = len(self.links) >= self.config.max_links
        crowded = self._per_address[link.host] >= self.config.max_per_address
        self.links[link.number] = self._unidentified[link.number] = link
        self._per_address[link.host] += 1
        if full or crowded or self.draining:
            link.end("node_full" if full else "address_full" if crowded else "drain")

    def identified(self, link: MeterLink) -> None:
        """It claims an identity, for the first time."""
        self.counts.logins += 1
        self._unidentified.pop(link.number, None)
        self._presence.claim(link, Mode.FIRST)

    def frames_came(self, link: MeterLink) -> None:
        link.last_frame_at = self.loop.time()
        if self.links.pop(link.number, None) is not None:
            self.links[link.number] = link

    def half_frame_begins(self, link: MeterLink) -> None:
        self._halves.pop(link.number, None)
        self._halves[link.number] = link
        link.half_since = self.loop.time()

    def half_frame_ends(self, link: MeterLink) -> None:
        self._halves.pop(link.number, None)
        link.half_since = 0.0

    def closed(self, link: MeterLink) -> None:
        self.links.pop(link.number, None)
        self._unidentified.pop(link.number, None)
        self._halves.pop(link.number, None)
        self._per_address[link.host] -= 1
        if not self._per_address[link.host]:
            del self._per_address[link.host]
        self._presence.drop(link)
        counts = self.counts
        counts.closed[link.reason] += 1
        counts.bytes_in += link.bytes_in
        counts.bytes_out += link.bytes_out
        counts.frames_in += link.frames_in
        log.info(
            "link_closed",
            reason=link.reason,
            identity=link.identity,
            peer=link.peer,
            connection=link.number,
            proven=link.proven,
            duration_s=round(self.loop.time() - link.opened_at, 3),
            frames_in=link.frames_in,
            bytes_in=link.bytes_in,
            bytes_out=link.bytes_out,
            exchanges=link.exchanges,
        )

    def discard(self, reason: str) -> None:
        """A frame is given to nobody."""
        self.counts.discarded[reason] += 1

    def push(self, push: wire.Push) -> None:
        self.counts.pushes += 1
        self._outbox.push(wire.encode_push(push))

    def exchange_begins(self) -> None:
        self._waiting += 1

    def exchange_ends(self) -> None:
        self._waiting -= 1

    async def _sweep(self) -> None:
        """Cuts links that are silent, nameless or stuck in half a frame for too long."""
        config, swept_at = self.config, self.loop.time()
        while True:
            await asyncio.sleep(SWEEP_S)
            now, before = self.loop.time(), swept_at
            swept_at = now
            if now - before > STOPPED_S:
                continue
            self._end_older(self._unidentified, "opened_at", now - config.login_timeout_s, "login_timeout")
            self._end_older(self._halves, "half_since", now - config.half_frame_s, "half_frame")
            self._end_older(self.links, "last_frame_at", now - config.idle_s, "idle")

    def _end_older(self, links: dict[int, MeterLink], since: str, limit: float, reason: str) -> None:
        old = []
        for link in links.values():  # the oldest come first
            if getattr(link, since) > limit:
                break
            old.append(link)
        for link in old:
            link.end(reason)

    # --- requests, from the bus

    def handle(self, packed: bytes) -> None:
        """Do what a request asks for; its reply goes out now or when its exchange ends."""
        try:
            request = wire.decode_request(packed)
        except wire.WireError as error:
            self.counts.undelivered[error.code] += 1
            log.error("request_malformed", code=error.code, detail=error.detail)
            if isinstance(error.message, wire.Request):
                self._answer(error.message, (wire.Status.BAD_REQUEST, error.detail))
            return
        try:
            outcome = self._do(request)
        except Exception as error:  # one request must not cost all links
            log.exception("request_crashed", kind=request.kind, connection=request.connection)
            outcome = wire.Status.BAD_REQUEST, repr(error)
        if outcome is not None:
            self._answer(request, outcome)

    def _do(self, request: wire.Request) -> tuple[wire.Status, str] | None:
        match request.kind:
            case wire.Kind.EXCHANGE:
                return self._exchange(request)
            case wire.Kind.CUT:
                return self._cut(request)
            case wire.Kind.PROVEN:
                return self._proven(request)
            case wire.Kind.PROBE:
                return self.probe(request)
        return wire.Status.BAD_REQUEST, f"kind {request.kind}"

    def _answer(self, request: wire.Request, outcome: tuple[wire.Status, str]) -> None:
        self.reply(request.reply_to, request.request_id, outcome[0], [], outcome[1])

    def reply(
        self, reply_to: str, request_id: int, status: wire.Status, frames: list[bytes], detail: str = ""
    ) -> None:
        self.counts.replies[status.name] += 1
        if reply_to:
            reply = wire.Reply(wire.WIRE_VERSION, request_id, status, frames, detail)
            self._outbox.reply(reply_to, wire.encode_reply(reply))

    def _link_of(self, request: wire.Request) -> MeterLink | None:
        return self.links.get(request.connection) if request.incarnation == self.incarnation else None

    def _exchange(self, request: wire.Request) -> tuple[wire.Status, str] | None:
        left_s = request.deadline_ms / 1000 - time.time()
        link = self._link_of(request)
        self.counts.exchanges += 1
        if left_s <= 0:
            return wire.Status.EXPIRED, ""
        if self.draining:
            return wire.Status.DRAINING, ""
        if link is None:
            return wire.Status.LINK_GONE, "no such link"
        if request.expect not in (wire.Expect.NONE, wire.Expect.ONE):
            return wire.Status.BAD_REQUEST, f"expect {request.expect}"
        return link.exchange(request, left_s)

    def _cut(self, request: wire.Request) -> tuple[wire.Status, str]:
        link = self._link_of(request)
        if link is None:
            return wire.Status.LINK_GONE, "no such link"
        if link.fenced(request):
            return wire.Status.FENCED, ""
        link.end("cut_by_worker")
        return wire.Status.OK, ""

    def _proven(self, request: wire.Request) -> tuple[wire.Status, str]:
        link = self._link_of(request)
        if link is None:
            return wire.Status.LINK_GONE, "no such link"
        if link.fenced(request):
            return wire.Status.FENCED, ""
        if not link.proven and link.claim is Claim.HELD:
            link.proven = True
            self._presence.claim(link, Mode.PROVE)
        return wire.Status.OK, ""

    def probe(self, request: wire.Request) -> tuple[wire.Status, str]:
        """Another link claims this one's identity: a silent link is cut, one that was displaced at once."""
        link = self._link_of(request)
        if link is None:
            self._drop_left_entry(request)
            return wire.Status.LINK_GONE, "no such link"
        if request.detail == wire.DISPLACED:
            link.end("displaced")
        elif link.probe is None:
            wait_s = link.last_frame_at + self.config.probe_s - self.loop.time()
            link.probe = self.loop.call_later(
                max(PROBE_LEAST_S, wait_s), self._probe_ends, link, self.loop.time()
            )
        return wire.Status.OK, ""

    def _probe_ends(self, link: MeterLink, began: float) -> None:
        link.probe = None
        if link.last_frame_at <= began:
            link.end("probe_failed")

    def _drop_left_entry(self, request: wire.Request) -> None:
        """The entry that led to the probe was left behind by a link that is no more."""
        if request.incarnation == self.incarnation and request.frames:
            with contextlib.suppress(wire.WireError):
                self._presence.drop_entry(wire.decode_link(request.frames[0]), LEFT_BEHIND)
