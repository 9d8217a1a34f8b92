"""Switching a relay and proving it: the end states of each control mode, and reading them back.

Source: Blue Book, class 70 Disconnect control (control_mode table, output_state, control_state). ACTION
success may come before the relay has moved, so only the read-back counts.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from dlms import axdr, client
from dlms.connection import Connection
from dlms.effects import Dialog
from dlms.errors import RemoteProtocolError

CLASS_ID = 70
REMOTE_DISCONNECT = 1
REMOTE_RECONNECT = 2


class ControlState(enum.IntEnum):
    DISCONNECTED = 0
    CONNECTED = 1
    READY_FOR_RECONNECTION = 2


#: Modes in which remote_reconnect closes the relay; in 1, 3, 5 and 6 it leaves it ready for a hand at the
#: meter.
RECONNECTS = (2, 4)
MODES = range(7)


@dataclass(frozen=True, slots=True)
class RelayState:
    """`output_state` True: connected to the supply."""

    output_state: bool
    control_state: int
    control_mode: int

    def evidence(self) -> dict[str, object]:
        return {
            "output_state": self.output_state,
            "control_state": self.control_state,
            "control_mode": self.control_mode,
        }


def end_state(method: int, control_mode: int) -> tuple[bool, ControlState] | None:
    """(output_state, control_state) that the method ends in, or None where nothing switches (mode 0)."""
    if control_mode == 0:
        return None
    if method == REMOTE_DISCONNECT:
        return False, ControlState.DISCONNECTED
    if control_mode in RECONNECTS:
        return True, ControlState.CONNECTED
    return False, ControlState.READY_FOR_RECONNECTION


def reached(state: RelayState, method: int) -> bool:
    """Whether the relay stands where the method ends. A reconnect of a relay that is connected changes
    nothing."""
    if method == REMOTE_RECONNECT and state.output_state and state.control_state == ControlState.CONNECTED:
        return state.control_mode != 0
    return (state.output_state, state.control_state) == end_state(method, state.control_mode)


def read_state(connection: Connection, logical_name: bytes) -> Dialog[RelayState]:
    """Read output_state, control_state, control_mode."""
    output = yield from client.get(connection, CLASS_ID, logical_name, 2)
    control = yield from client.get(connection, CLASS_ID, logical_name, 3)
    mode = yield from client.get(connection, CLASS_ID, logical_name, 4)
    return RelayState(
        _boolean(output), _number(control, "control_state", 3), _number(mode, "control_mode", 7)
    )


def invoke(connection: Connection, logical_name: bytes, method: int) -> Dialog[None]:
    """Send the ACTION, once."""
    yield from client.action(connection, CLASS_ID, logical_name, method, axdr.i8(0))


def _boolean(data: axdr.Data) -> bool:
    if not isinstance(data.value, (bool, int)):
        raise RemoteProtocolError(f"output_state is a {data.type.name}", code="RELAY_STATE_TYPE")
    return bool(data.value)


def _number(data: axdr.Data, name: str, end: int) -> int:
    if not isinstance(data.value, int) or not 0 <= data.value < end:
        raise RemoteProtocolError(f"{name} is {data.type.name} {data.value!r}", code="RELAY_STATE_TYPE")
    return int(data.value)
