"""Every control mode, state and order of the disconnect control, written out apart from the code's table."""

from __future__ import annotations

import pytest

from dlms.enums import ControlState
from simulator.relay import DisconnectControl, Order

OFF, ON, READY = ControlState.DISCONNECTED, ControlState.CONNECTED, ControlState.READY_FOR_RECONNECTION
R_OFF, R_ON = Order.REMOTE_DISCONNECT, Order.REMOTE_RECONNECT
M_OFF, M_ON = Order.MANUAL_DISCONNECT, Order.MANUAL_RECONNECT
L_OFF, L_ON = Order.LOCAL_DISCONNECT, Order.LOCAL_RECONNECT

#: (mode, state, order) -> state: what moves. Everything else stays.
MOVES = {
    **{(mode, ON, R_OFF): OFF for mode in (1, 2, 3, 4, 5, 6)},
    **{(mode, READY, R_OFF): OFF for mode in (1, 2, 3, 4, 5, 6)},
    **{(mode, OFF, R_ON): ON for mode in (2, 4)},
    **{(mode, OFF, R_ON): READY for mode in (1, 3, 5, 6)},
    **{(mode, READY, M_ON): ON for mode in (1, 2, 3, 4, 5, 6)},
    **{(mode, ON, M_OFF): READY for mode in (1, 2, 5)},
    **{(mode, ON, L_OFF): READY for mode in (1, 2, 3, 4, 5, 6)},
    **{(mode, READY, L_ON): ON for mode in (5, 6)},
}


@pytest.mark.parametrize("order", Order)
@pytest.mark.parametrize("state", ControlState)
@pytest.mark.parametrize("mode", range(7))
def test_order_moves_as_the_control_mode_says(mode: int, state: ControlState, order: Order) -> None:
    relay = DisconnectControl(control_mode=mode, state=state)
    movement = relay.order(order, 100.0)
    expected = MOVES.get((mode, state, order), state)
    assert relay.control_state(100.0) is expected
    assert relay.output_state(100.0) is (expected is ON)
    assert (movement.state_before, movement.state_after) == (state, expected)


def test_mode_0_stays_connected_whatever_is_asked() -> None:
    relay = DisconnectControl(control_mode=0)
    for order in Order:
        relay.order(order, 1.0)
    assert relay.output_state(2.0)
    assert len(relay.movements) == len(Order)


def test_movement_is_shown_after_the_delay() -> None:
    relay = DisconnectControl(delay_s=5.0)
    relay.order(R_OFF, 100.0, client_address=1)
    assert relay.control_state(104.9) is ON
    assert relay.output_state(104.9)
    assert relay.control_state(105.0) is OFF
    assert not relay.output_state(105.0)


def test_order_during_a_movement_starts_from_its_end() -> None:
    relay = DisconnectControl(delay_s=5.0)
    relay.order(R_OFF, 100.0)
    relay.order(R_ON, 102.0)
    shown = [relay.control_state(at) for at in (101.0, 104.0, 106.0, 111.0)]
    assert shown == [ON, ON, OFF, ON]


def test_order_without_effect_during_a_movement_does_not_hurry_it() -> None:
    relay = DisconnectControl(delay_s=5.0)
    relay.order(R_OFF, 100.0)
    relay.order(R_OFF, 101.0)
    assert relay.control_state(102.0) is ON
    assert relay.control_state(105.0) is OFF


def test_every_order_is_remembered_with_its_client() -> None:
    relay = DisconnectControl()
    relay.order(R_OFF, 1.0, client_address=1)
    relay.order(R_OFF, 2.0, client_address=1)
    remembered = [
        (movement.order, movement.client_address, movement.state_after) for movement in relay.movements
    ]
    assert remembered == [(R_OFF, 1, OFF), (R_OFF, 1, OFF)]


def test_unknown_control_mode_is_refused() -> None:
    with pytest.raises(ValueError, match="control_mode"):
        DisconnectControl(control_mode=7)
