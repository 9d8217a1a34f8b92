"""Redis clients, one of each kind per process, made when first asked for.

`bus` holds requests, leases and streams and must never evict; `cache` may. Neither is ever flushed.
A process that forks must not have called these before the fork.
"""

from __future__ import annotations

from functools import cache as once

import redis
import redis.asyncio
from django.conf import settings

#: a server that does not answer within this is away (a blocking read adds its own wait)
CONNECT_TIMEOUT_S = 5.0


@once
def bus() -> redis.Redis:
    """Client of REDIS_URL for plain code; answers are bytes."""
    return redis.Redis.from_url(settings.REDIS_URL, socket_connect_timeout=CONNECT_TIMEOUT_S)


@once
def cache() -> redis.Redis:
    """Client of HES_CACHE_REDIS_URL for plain code; answers are bytes."""
    return redis.Redis.from_url(settings.HES_CACHE_REDIS_URL, socket_connect_timeout=CONNECT_TIMEOUT_S)


def async_bus() -> redis.asyncio.Redis:
    """A new asyncio client of REDIS_URL: it belongs to the loop that uses it, who asks closes it."""
    return redis.asyncio.Redis.from_url(settings.REDIS_URL, socket_connect_timeout=CONNECT_TIMEOUT_S)


def async_cache() -> redis.asyncio.Redis:
    """A new asyncio client of HES_CACHE_REDIS_URL: it belongs to the loop that uses it."""
    return redis.asyncio.Redis.from_url(
        settings.HES_CACHE_REDIS_URL, socket_connect_timeout=CONNECT_TIMEOUT_S
    )
