"""Meters that wait for a client, each in a process of its own that ends with the bench."""

from __future__ import annotations

import socket
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bench.registry import BenchError
from hes.embedded import free_port
from hes.reaper import ROOT
from hes.supervisor import Supervisor

START_TIMEOUT_S = 30.0


@contextmanager
def var_folder() -> Iterator[Path]:
    """A fresh folder under var/, removed afterwards."""
    (ROOT / "var").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bench-", dir=ROOT / "var") as folder:
        yield Path(folder)


@contextmanager
def listening(module: str, words: Sequence[str]) -> Iterator[int]:
    """`python -m module words`, where the word PORT is replaced; the port, once somebody accepts on it."""
    port = free_port()
    filled = [str(port) if word == "PORT" else word for word in words]
    with var_folder() as folder, Supervisor(folder, {}) as supervisor:
        child = supervisor.add("simulator.1", [sys.executable, "-m", module, *filled])
        deadline = time.monotonic() + START_TIMEOUT_S
        while not _accepts(port):
            if child.exit_status() is not None or time.monotonic() > deadline:
                raise BenchError(f"{module} does not listen:\n{child.log_tail(15)}")
            time.sleep(0.05)
        yield port


def _accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True
