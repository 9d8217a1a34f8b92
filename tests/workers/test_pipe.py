"""What the workers tell the bus leaves once: a command whose answer was lost is not sent again."""

from __future__ import annotations

import asyncio
import socket
import threading
from urllib.parse import urlsplit

import pytest
import redis
from django.conf import settings

from hes import redis as hes_redis
from workers.errors import BusAway
from workers.pipe import Pipe


class AnswerLost:
    """Carries to Redis; cuts the connection instead of giving the answer to a request that holds `word`."""

    def __init__(self, url: str, word: bytes) -> None:
        parts = urlsplit(url)
        self._target = (parts.hostname, parts.port)
        self._word = word
        self.lost = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = url.replace(f":{parts.port}", f":{self._listener.getsockname()[1]}")
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._carry, args=(near,), daemon=True).start()

    def _carry(self, near: socket.socket) -> None:
        with near, socket.create_connection(self._target) as far:
            while request := near.recv(1 << 16):
                far.sendall(request)
                answer = far.recv(1 << 16)
                if self._word in request:
                    self.lost += 1
                    return
                near.sendall(answer)


def test_command_whose_answer_is_lost_is_done_once_and_told_as_bus_away(
    live_redis: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = AnswerLost(settings.REDIS_URL, b"RPUSH")
    monkeypatch.setattr(settings, "REDIS_URL", proxy.url)

    async def push() -> None:
        client = hes_redis.async_bus()
        try:
            await Pipe(client).execute("RPUSH", "gw:req:n", b"an ACTION")
        finally:
            await client.aclose()

    try:
        with pytest.raises(BusAway):
            asyncio.run(push())
    finally:
        proxy.close()
    assert proxy.lost == 1
    assert live_redis.lrange("gw:req:n", 0, -1) == [b"an ACTION"]
