"""The database's connection: no wait without a limit."""

from __future__ import annotations

import socket
import time

import psycopg2
import pytest
from django.db import connections


def test_server_that_takes_connections_and_says_nothing_is_away_soon() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        database = connections.create_connection("default")
        database.settings_dict = database.settings_dict | {
            "HOST": "127.0.0.1",
            "PORT": silent.getsockname()[1],
        }
        began = time.monotonic()
        with pytest.raises(psycopg2.OperationalError, match="timeout"):
            database.connect()
    assert time.monotonic() - began < 10
