"""The worker's end of the wire to the gateway nodes: requests out in batches, replies in by one list.

Owns request ids, the reply list of this worker incarnation, and the watch over nodes that die with requests
outstanding. Knows links, not meters.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from dataclasses import dataclass

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from dlms.errors import DlmsError, RemoteProtocolError
from gateway import wire
from workers import errors
from workers.pipe import Pipe

log = structlog.get_logger()

#: A reply may take this long on the bus beyond the deadline that the gateway itself keeps.
REPLY_GRACE_S = 3.0
#: How often nodes with outstanding requests are looked at.
NODE_WATCH_S = 1.0
REPLIES_PER_POP = 1000
#: Shorter than the client's own socket timeout: what is popped as the client gives up would be lost.
REPLY_WAIT_S = 2
REQUESTS_TTL_S = 120


@dataclass(slots=True)
class _Outstanding:
    future: asyncio.Future[list[bytes]]
    incarnation: str


class Bus:
    """One per worker process, lives in its event loop thread."""

    def __init__(self, redis: Redis) -> None:
        self.incarnation = secrets.token_hex(8)
        self.pipe = Pipe(redis)
        self._redis = redis
        self._replies_key = wire.replies_key(self.incarnation)
        self._outstanding: dict[int, _Outstanding] = {}
        self._last_id = 0
        self._kept_at: dict[str, float] = {}

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._read_replies())
            group.create_task(self._watch_nodes())

    async def find_link(self, identity: str) -> wire.Link:
        """The live link of a meter. Raises MeterOffline, also where the entry's node is dead."""
        packed = await self.pipe.execute("GET", wire.link_key(identity))
        if packed is None:
            raise errors.MeterOffline("no link entry")
        link = wire.decode_link(packed)
        if not await self.pipe.execute("EXISTS", wire.node_key(link.incarnation)):
            raise errors.MeterOffline("its gateway node is gone")
        return link

    async def exchange(
        self,
        link: wire.Link,
        server_address: int,
        token: int,
        frames: list[bytes],
        timeout_s: float,
        expect: int = 1,
    ) -> list[bytes]:
        """Send frames and wait for the reply, at most `timeout_s`. Raises what the gateway's status means."""
        self._last_id += 1
        request_id = self._last_id
        request = wire.Request(
            version=wire.WIRE_VERSION,
            kind=wire.Kind.EXCHANGE,
            request_id=request_id,
            reply_to=self.incarnation,
            incarnation=link.incarnation,
            connection=link.connection,
            server_address=server_address,
            token=token,
            deadline_ms=int((time.time() + timeout_s) * 1000),
            frames=frames,
            expect=expect,
        )
        future: asyncio.Future[list[bytes]] = asyncio.get_running_loop().create_future()
        self._outstanding[request_id] = _Outstanding(future, link.incarnation)
        try:
            async with asyncio.timeout(timeout_s + REPLY_GRACE_S):
                await self._push(link.incarnation, request)
                return await future
        except TimeoutError:
            raise errors.DialogTimeout("no word from the gateway node either") from None
        finally:
            del self._outstanding[request_id]

    async def tell(self, link: wire.Link, server_address: int, token: int, kind: wire.Kind) -> None:
        """CUT or PROVEN: no reply is waited for."""
        request = wire.Request(
            version=wire.WIRE_VERSION,
            kind=kind,
            request_id=0,
            reply_to="",
            incarnation=link.incarnation,
            connection=link.connection,
            server_address=server_address,
            token=token,
            deadline_ms=int((time.time() + 10) * 1000),
            frames=[],
            expect=wire.Expect.NONE,
        )
        await self._push(link.incarnation, request)

    async def _push(self, incarnation: str, request: wire.Request) -> None:
        key = wire.requests_key(incarnation)
        pushed = self.pipe.execute("RPUSH", key, wire.encode_request(request))
        now = time.monotonic()
        if now - self._kept_at.get(key, -REQUESTS_TTL_S) > REQUESTS_TTL_S / 4:
            # A dead node's list would stay for ever otherwise; there is something to expire after the push.
            self._kept_at[key] = now
            await self.pipe.execute("EXPIRE", key, REQUESTS_TTL_S)
        await pushed

    async def _read_replies(self) -> None:
        while True:
            try:
                popped = await self._redis.blpop([self._replies_key], timeout=REPLY_WAIT_S)
                if popped is None:
                    continue
                packed = [popped[1], *(await self._redis.lpop(self._replies_key, REPLIES_PER_POP) or [])]
            except (RedisError, OSError) as error:
                log.warning("replies_unreadable", error=str(error))
                await asyncio.sleep(0.5)
                continue
            for item in packed:
                try:
                    self._deliver(wire.decode_reply(item))
                except wire.WireError as error:
                    log.error("reply_malformed", code=error.code)

    def _deliver(self, reply: wire.Reply) -> None:
        outstanding = self._outstanding.get(reply.request_id)
        if outstanding is None or outstanding.future.done():
            return  # its dialog has given up: a late reply is given to nobody
        if reply.status == wire.Status.OK:
            outstanding.future.set_result(reply.frames)
        else:
            outstanding.future.set_exception(_error_of(reply))

    async def _watch_nodes(self) -> None:
        while True:
            await asyncio.sleep(NODE_WATCH_S)
            incarnations = {o.incarnation for o in self._outstanding.values()}
            for incarnation in incarnations:
                with contextlib.suppress(errors.BusAway):
                    if await self.pipe.execute("EXISTS", wire.node_key(incarnation)):
                        continue
                    await self.pipe.execute("UNLINK", wire.requests_key(incarnation))
                    for outstanding in list(self._outstanding.values()):
                        if outstanding.incarnation == incarnation and not outstanding.future.done():
                            outstanding.future.set_exception(
                                errors.GatewayLost(f"node {incarnation} is gone")
                            )


def _error_of(reply: wire.Reply) -> DlmsError:
    detail = reply.detail
    match reply.status:
        case wire.Status.TIMEOUT:
            return errors.DialogTimeout(detail)
        case wire.Status.EXPIRED:
            return errors.DialogDeadline("the request was past its deadline before it could be sent")
        case wire.Status.LINK_GONE:
            return errors.LinkLost(detail)
        case wire.Status.FENCED:
            return errors.LeaseLost(detail or "a higher lease token was seen")
        case wire.Status.QUARANTINED | wire.Status.BUSY:
            return errors.LinkQuarantined(detail)
        case wire.Status.DRAINING:
            return errors.GatewayDraining(detail)
        case wire.Status.FRAME_ERROR:
            return RemoteProtocolError("the meter sent a malformed frame", code=detail or None)
    return errors.GatewayRefused(f"status {reply.status}: {detail}")
