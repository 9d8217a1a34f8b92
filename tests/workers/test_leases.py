"""Leases in one process: what one dialog gives back or loses says nothing about the next one's."""

from __future__ import annotations

import asyncio

import pytest
import redis

from hes import redis as hes_redis
from workers import errors
from workers.leases import Leases, lease_key
from workers.pipe import Pipe

METER = 7
LEASE_S = 0.6


class Dialog:
    """What `Leases` sees of a session."""

    def __init__(self, token: int) -> None:
        self.token = token
        self.lost: errors.LeaseLost | None = None


def test_lease_is_kept_when_a_dialog_that_lost_it_in_the_same_process_ends(live_redis: redis.Redis) -> None:
    async def check() -> tuple[Dialog, Dialog, bytes | None]:
        client = hes_redis.async_bus()
        leases = Leases(Pipe(client), "worker", LEASE_S)
        first = Dialog(await leases.acquire(METER))
        leases.watch(METER, first)  # type: ignore[arg-type]
        live_redis.delete(lease_key(METER))  # it ran out: the process was stopped
        second = Dialog(await leases.acquire(METER))
        leases.watch(METER, second)  # type: ignore[arg-type]
        renewing = asyncio.create_task(leases.run())
        await asyncio.sleep(LEASE_S)
        await leases.release(METER, first.token)
        await asyncio.sleep(2 * LEASE_S)
        held = live_redis.get(lease_key(METER))
        renewing.cancel()
        await client.aclose()
        return first, second, held

    first, second, held = asyncio.run(check())
    assert isinstance(first.lost, errors.LeaseLost)
    assert second.lost is None
    assert held == f"{second.token}:worker".encode()


def test_lease_taken_by_another_worker_ends_the_dialog(live_redis: redis.Redis) -> None:
    async def check() -> Dialog:
        client = hes_redis.async_bus()
        leases = Leases(Pipe(client), "worker", LEASE_S)
        dialog = Dialog(await leases.acquire(METER))
        leases.watch(METER, dialog)  # type: ignore[arg-type]
        live_redis.set(lease_key(METER), f"{dialog.token + 1}:other")
        renewing = asyncio.create_task(leases.run())
        await asyncio.sleep(LEASE_S)
        with pytest.raises(errors.MeterBusy):
            await leases.acquire(METER)
        renewing.cancel()
        await leases.release(METER, dialog.token)
        await client.aclose()
        return dialog

    assert isinstance(asyncio.run(check()).lost, errors.LeaseLost)
    assert live_redis.get(lease_key(METER)).endswith(b":other")
