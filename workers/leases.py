"""One dialog per meter: the lease with its fencing token. Owns the scripts and their keys.

A token is larger than every one given before, also when Redis lost its memory (it starts from Redis' clock):
the gateway refuses lower ones, so a worker that was stopped for longer than its lease cannot go on.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from workers import errors
from workers.pipe import Pipe

if TYPE_CHECKING:
    from workers.session import Session

log = structlog.get_logger()

NEWEST_KEY = "lease:newest"


def lease_key(meter_id: int) -> str:
    return f"lease:meter:{meter_id}"


#: KEYS lease, last token; ARGV owner, ttl_ms -> the token, or 0 where somebody else holds it
ACQUIRE = """
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
local now = redis.call('TIME')
local token = tonumber(now[1]) * 1000000 + tonumber(now[2])
local last = tonumber(redis.call('GET', KEYS[2]) or '0')
if token <= last then token = last + 1 end
local text = string.format('%.0f', token)
redis.call('SET', KEYS[2], text)
redis.call('SET', KEYS[1], text .. ':' .. ARGV[1], 'PX', ARGV[2])
return token
"""

#: KEYS lease; ARGV '<token>:<owner>', ttl_ms -> 1, or 0 where it is no longer ours
RENEW = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1
"""

#: KEYS lease; ARGV '<token>:<owner>' -> 1, or 0 where it was no longer ours
RELEASE = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[1])
return 1
"""


class Leases:
    """The leases that this process holds; renewed together, in one batch, while their dialogs run."""

    def __init__(self, pipe: Pipe, owner: str, lease_s: float) -> None:
        self._pipe = pipe
        self._owner = owner
        self._lease_ms = int(lease_s * 1000)
        #: by token: two dialogs of this process may both believe that they hold a meter, one of them in vain
        self._held: dict[int, int] = {}
        self._sessions: dict[int, Session] = {}

    async def acquire(self, meter_id: int) -> int:
        """The fencing token. Raises MeterBusy where another dialog holds the meter."""
        token = await self._pipe.script(
            ACQUIRE, [lease_key(meter_id), NEWEST_KEY], [self._owner, self._lease_ms]
        )
        if not token:
            raise errors.MeterBusy("another dialog holds the meter's lease")
        self._held[int(token)] = meter_id
        return int(token)

    def watch(self, meter_id: int, session: Session) -> None:
        """Tell this session when its lease is lost."""
        self._sessions[session.token] = session

    async def release(self, meter_id: int, token: int) -> None:
        """Give the lease back; where Redis is away it expires by itself."""
        self._held.pop(token, None)
        self._sessions.pop(token, None)
        try:
            await self._pipe.script(RELEASE, [lease_key(meter_id)], [f"{token}:{self._owner}"])
        except errors.BusAway as error:
            log.warning("lease_not_released", meter_id=meter_id, error=str(error))

    async def run(self) -> None:
        """Renew at a third of the lease's time; a lease that is no longer ours ends its dialog."""
        while True:
            await asyncio.sleep(self._lease_ms / 3000)
            held = list(self._held.items())
            answers = await asyncio.gather(
                *(
                    self._pipe.script(
                        RENEW, [lease_key(meter_id)], [f"{token}:{self._owner}", self._lease_ms]
                    )
                    for token, meter_id in held
                ),
                return_exceptions=True,
            )
            for (token, meter_id), answer in zip(held, answers, strict=True):
                if isinstance(answer, Exception):
                    log.warning("lease_not_renewed", meter_id=meter_id, error=str(answer))
                elif not answer and token in self._sessions:
                    self._sessions[token].lost = errors.LeaseLost(
                        "the lease ran out and another dialog took it"
                    )
