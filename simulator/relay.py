"""Disconnect control (class 70): its states, control modes and the time the relay needs to move.

The state diagram's transitions a..h, and which of them each control_mode allows (written out a second time in
tests/simulator/test_relay.py). In mode 0 the object stays connected whatever is asked.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from dlms.enums import ControlState


class Order(StrEnum):
    """Who asks for what: remote is the two methods, manual the button, local the meter's own limiter."""

    REMOTE_DISCONNECT = "remote_disconnect"
    REMOTE_RECONNECT = "remote_reconnect"
    MANUAL_DISCONNECT = "manual_disconnect"
    MANUAL_RECONNECT = "manual_reconnect"
    LOCAL_DISCONNECT = "local_disconnect"
    LOCAL_RECONNECT = "local_reconnect"


_OFF, _ON, _READY = ControlState.DISCONNECTED, ControlState.CONNECTED, ControlState.READY_FOR_RECONNECTION

#: transition letter -> (order, state before, state after)
TRANSITIONS: Final = {
    "a": (Order.REMOTE_RECONNECT, _OFF, _ON),
    "b": (Order.REMOTE_DISCONNECT, _ON, _OFF),
    "c": (Order.REMOTE_DISCONNECT, _READY, _OFF),
    "d": (Order.REMOTE_RECONNECT, _OFF, _READY),
    "e": (Order.MANUAL_RECONNECT, _READY, _ON),
    "f": (Order.MANUAL_DISCONNECT, _ON, _READY),
    "g": (Order.LOCAL_DISCONNECT, _ON, _READY),
    "h": (Order.LOCAL_RECONNECT, _READY, _ON),
}
#: control_mode -> the transitions it allows
CONTROL_MODES: Final = {0: "", 1: "bcdefg", 2: "abcefg", 3: "bcdeg", 4: "abceg", 5: "bcdefgh", 6: "bcdegh"}
_NEXT: Final = {
    (mode, order, before): after
    for mode, letters in CONTROL_MODES.items()
    for order, before, after in (TRANSITIONS[letter] for letter in letters)
}
MAX_REMEMBERED = 200


@dataclass(frozen=True, slots=True)
class Movement:
    """One order that the relay got and what it made of it."""

    at_s: float
    order: Order
    client_address: int | None
    state_before: ControlState
    state_after: ControlState
    effective_s: float


@dataclass(slots=True)
class DisconnectControl:
    """The relay of one meter. Times are UTC seconds given by the caller, so that nothing has to be scheduled.

    An order is answered at once; `control_state` and `output_state` show it `delay_s` later. An order that
    comes while the relay moves starts from where the movement ends.
    """

    control_mode: int = 2
    delay_s: float = 0.0
    state: ControlState = ControlState.CONNECTED
    movements: deque[Movement] = field(default_factory=lambda: deque(maxlen=MAX_REMEMBERED))

    def __post_init__(self) -> None:
        if self.control_mode not in CONTROL_MODES:
            raise ValueError(f"control_mode is 0 to 6, got {self.control_mode}")

    def order(self, order: Order, at_s: float, client_address: int | None = None) -> Movement:
        """Take an order. What mode or state do not allow is remembered, nothing more."""
        before = self.state
        after = _NEXT.get((self.control_mode, order, before), before)
        settled_s = max(at_s, self.movements[-1].effective_s) if self.movements else at_s
        effective_s = settled_s + (self.delay_s if after != before else 0.0)
        movement = Movement(at_s, order, client_address, before, after, effective_s)
        self.movements.append(movement)
        self.state = after
        return movement

    def control_state(self, at_s: float) -> ControlState:
        """The state that the meter shows at this time."""
        shown = self.state
        for movement in reversed(self.movements):
            if movement.effective_s <= at_s:
                break
            shown = movement.state_before
        return shown

    def output_state(self, at_s: float) -> bool:
        """True while the supply is connected; only the connected state closes the relay."""
        return self.control_state(at_s) is ControlState.CONNECTED
