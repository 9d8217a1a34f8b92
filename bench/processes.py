"""CPU and memory of process trees, as /proc counts them."""

from __future__ import annotations

from collections.abc import Mapping

import psutil


def cpu_s(pid: int, without: int | None = None) -> float:
    """User and system seconds of a process, its living descendants and those that ended and were collected.

    `without`: a descendant that does not count, such as the server's end of the measuring connection.
    """
    total = 0.0
    for process in _tree(pid):
        if process.pid == without:
            continue
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue  # its parent has its times now, seen by the next look
        total += times.user + times.system + times.children_user + times.children_system
    return total


def memory_mb(pid: int) -> float:
    """Proportional set size of a tree in MB: what processes share is counted once."""
    total = 0
    for process in _tree(pid):
        try:
            total += process.memory_full_info().pss
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return total / 1e6


def _tree(pid: int) -> list[psutil.Process]:
    root = psutil.Process(pid)
    return [root, *root.children(recursive=True)]


def spent_s(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    return {name: after[name] - before[name] for name in after}
