"""What a node counts since its start; shown in its node key."""

from __future__ import annotations

from collections import Counter
from typing import Any


class Counts:
    """Plain numbers, and numbers by reason where reasons are a small fixed set."""

    __slots__ = (
        "accepted",
        "bytes_in",
        "bytes_out",
        "clashes",
        "closed",
        "discarded",
        "exchanges",
        "frames_in",
        "logins",
        "pushes",
        "redis_errors",
        "replies",
        "undelivered",
    )

    def __init__(self) -> None:
        self.accepted = 0
        self.bytes_in = 0
        self.bytes_out = 0
        self.clashes = 0
        self.exchanges = 0
        self.frames_in = 0
        self.logins = 0
        self.pushes = 0
        self.redis_errors = 0
        #: links ended, by reason
        self.closed: Counter[str] = Counter()
        #: frames given to nobody, by reason
        self.discarded: Counter[str] = Counter()
        #: replies to workers, by status
        self.replies: Counter[str] = Counter()
        #: messages that could not be taken from or put on the bus, by reason
        self.undelivered: Counter[str] = Counter()

    def as_dict(self) -> dict[str, Any]:
        values = {name: getattr(self, name) for name in self.__slots__}
        return {name: dict(value) if isinstance(value, Counter) else value for name, value in values.items()}
