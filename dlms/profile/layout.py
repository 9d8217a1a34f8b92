"""What the columns of a profile are. Owns the description; the rows are `dlms.profile.table`'s."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import tzinfo
from typing import Any, Literal

from dlms.errors import LocalProtocolError
from dlms.profile.coding import Coding
from dlms.xdlms.access import CaptureObject

Role = Literal["clock", "status", "channel"]


@dataclass(frozen=True, slots=True)
class Column:
    """One capture object. `null_repeats`: null-data means the value of the row before."""

    capture_object: CaptureObject
    role: Role = "channel"
    coding: Coding = Coding.INT
    null_repeats: bool = False


@dataclass(frozen=True, slots=True)
class Layout:
    """A profile's columns and how its clock is to be read; at most one clock and one status column."""

    logical_name: bytes
    capture_period_s: int
    columns: tuple[Column, ...]
    zone: tzinfo
    deviation_inverted: bool = False
    class_id: int = 7
    #: For each column its channel number, or -1.
    channel_numbers: tuple[int, ...] = field(init=False, repr=False, compare=False)
    channel_count: int = field(init=False, repr=False, compare=False)
    #: Row shapes that the fast reader met, the last one used first.
    shapes: list[Any] = field(init=False, repr=False, compare=False, default_factory=list)

    def __post_init__(self) -> None:
        roles = [column.role for column in self.columns]
        if roles.count("clock") > 1 or roles.count("status") > 1:
            raise LocalProtocolError("more than one clock or status column", code="LAYOUT_INVALID")
        numbers, channels = [], 0
        for role in roles:
            numbers.append(channels if role == "channel" else -1)
            channels += role == "channel"
        object.__setattr__(self, "channel_numbers", tuple(numbers))
        object.__setattr__(self, "channel_count", channels)

    @property
    def channels(self) -> tuple[Column, ...]:
        """The columns whose values are kept, in the order of `Table.values`."""
        return tuple(column for column in self.columns if column.role == "channel")

    @property
    def clock_object(self) -> CaptureObject | None:
        return next((column.capture_object for column in self.columns if column.role == "clock"), None)
