"""One simulated meter: the device behind `dlms.server`, with its clock, relay, event log, keys and counters.

It outlives its connections. Must not know sockets; time comes from the function it is given.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import numpy as np

from dlms import axdr
from dlms.device import AccessRefusedError, ActionRefusedError, ClientAssociation, Session
from dlms.enums import ActionResult, Authentication, ControlState, DataAccessResult
from dlms.security import Keys
from dlms.xdlms.access import SelectiveAccess
from simulator import truth
from simulator.eventlog import EventCode, EventLog
from simulator.faults import Fault
from simulator.identity import MeterIdentity, derive_octets
from simulator.objects import OBJECTS, PUBLIC, CosemObject
from simulator.profiles import LOAD_PROFILE_KEPT_S
from simulator.relay import DisconnectControl, Movement, Order

PUBLIC_CLIENT, READER_CLIENT, MANAGEMENT_CLIENT = 16, 32, 1
MAX_PDU_BYTES = 0xFFFF
#: The counter of sent APDUs starts from the time, 1/16 s since 2024: no restart sets it back.
_COUNTER_EPOCH_S = 1_704_067_200
_COUNTS_PER_S = 16
#: Meters start having seen up to so many APDUs, as those that come from another head-end.
_MAX_FIRST_COUNTER = 4096

_RELAY_EVENTS: Final = {
    Order.REMOTE_DISCONNECT: EventCode.REMOTE_DISCONNECTION,
    Order.REMOTE_RECONNECT: EventCode.REMOTE_CONNECTION,
    Order.MANUAL_DISCONNECT: EventCode.MANUAL_DISCONNECTION,
    Order.MANUAL_RECONNECT: EventCode.MANUAL_CONNECTION,
    Order.LOCAL_DISCONNECT: EventCode.LOCAL_DISCONNECTION,
    Order.LOCAL_RECONNECT: EventCode.LOCAL_RECONNECTION,
}


@dataclass(frozen=True, slots=True)
class MeterSettings:
    """What all meters of a fleet have in common."""

    control_mode: int = 2
    relay_delay_s: float = 0.0
    first_counter: int | None = None
    max_pdu_bytes: int = MAX_PDU_BYTES


class Meter:
    """See `dlms.device.Device` for the part that the protocol uses."""

    __slots__ = (
        "_associations",
        "_authentication_key",
        "_encryption_key",
        "_keys",
        "_registers",
        "_sent_counter",
        "clock_offset_s",
        "events",
        "fault",
        "max_pdu_bytes",
        "now_s",
        "number",
        "received_counter",
        "relay",
        "serial",
        "server_address",
        "source",
        "system_title",
    )
    received_counter: int
    relay: DisconnectControl
    serial: str
    server_address: int
    #: UTC seconds
    now_s: Callable[[], float]

    def __init__(
        self,
        seed: str,
        identity: MeterIdentity,
        settings: MeterSettings | None = None,
        fault: Fault | None = None,
        now_s: Callable[[], float] = time.time,
    ) -> None:
        settings = settings or MeterSettings()
        self.number, self.serial = identity.number, identity.serial
        self.server_address = identity.server_address
        self.system_title = identity.system_title
        self._encryption_key, self._authentication_key = identity.encryption_key, identity.authentication_key
        self._keys: Keys | None = None
        self.fault = fault
        if fault is Fault.WRONG_KEY:
            self._encryption_key = derive_octets(seed, identity.number, "another guek")
        if fault is Fault.WRONG_TITLE:
            self.system_title = b"BAD" + identity.system_title[3:]
        self.max_pdu_bytes = settings.max_pdu_bytes
        self.now_s = now_s
        self.source = truth.source_of(seed, identity.number)
        self.relay = DisconnectControl(settings.control_mode, settings.relay_delay_s)
        self.events = EventLog(self.source)
        self.clock_offset_s = 0.0
        first = settings.first_counter
        if first is None:
            first = (
                int.from_bytes(derive_octets(seed, identity.number, "first counter", 4), "big")
                % _MAX_FIRST_COUNTER
            )
        self.received_counter = first - 1
        self._sent_counter = 0
        self._registers: tuple[int, dict[str, int]] = (-1, {})
        self._associations = _associations(identity)

    # --- what dlms.server asks for ---

    @property
    def keys(self) -> Keys:
        """Made when they are first needed, then kept: their ciphers cost more than a short APDU."""
        if self._keys is None:
            self._keys = Keys(self._encryption_key, self._authentication_key)
        return self._keys

    def association(self, client_address: int) -> ClientAssociation | None:
        return self._associations.get(client_address)

    def next_counter(self) -> int:
        """The counter for the next APDU sent; rises with time, so that it never falls by a restart either."""
        by_time = int((self.now_s() - _COUNTER_EPOCH_S) * _COUNTS_PER_S)
        self._sent_counter = max(self._sent_counter + 1, by_time)
        return self._sent_counter

    def get(
        self,
        session: Session,
        class_id: int,
        logical_name: bytes,
        attribute: int,
        access: SelectiveAccess | None,
    ) -> bytes:
        item = self._find(session, class_id, logical_name)
        reader = item.attributes.get(attribute)
        if reader is None:
            raise AccessRefusedError(DataAccessResult.READ_WRITE_DENIED)
        if access is not None and access.selector not in item.selectors.get(attribute, ()):
            raise AccessRefusedError(DataAccessResult.SCOPE_OF_ACCESS_VIOLATED)
        return reader(self, session, access)

    def set(
        self, session: Session, class_id: int, logical_name: bytes, attribute: int, value: axdr.Data
    ) -> None:
        item = self._find(session, class_id, logical_name)
        writer = item.writers.get(attribute)
        if writer is None or not self.may_act(session):
            raise AccessRefusedError(DataAccessResult.READ_WRITE_DENIED)
        writer(self, session, value)

    def action(
        self, session: Session, class_id: int, logical_name: bytes, method: int, parameter: axdr.Data | None
    ) -> bytes | None:
        try:
            item = self._find(session, class_id, logical_name)
        except AccessRefusedError as error:
            raise ActionRefusedError(ActionResult(error.result)) from None
        act = item.methods.get(method)
        if act is None or not self.may_act(session):
            raise ActionRefusedError(ActionResult.READ_WRITE_DENIED)
        return act(self, session, parameter)

    # --- rights ---

    def _find(self, session: Session, class_id: int, logical_name: bytes) -> CosemObject:
        item = OBJECTS.get(logical_name)
        if item is None:
            raise AccessRefusedError(DataAccessResult.OBJECT_UNDEFINED)
        if item.class_id != class_id:
            raise AccessRefusedError(DataAccessResult.OBJECT_CLASS_INCONSISTENT)
        if session.client_address == PUBLIC_CLIENT and logical_name not in PUBLIC:
            raise AccessRefusedError(DataAccessResult.READ_WRITE_DENIED)
        return item

    def visible(self, session: Session) -> Iterator[CosemObject]:
        public = session.client_address == PUBLIC_CLIENT
        return (item for name, item in OBJECTS.items() if not public or name in PUBLIC)

    def may_act(self, session: Session) -> bool:
        return session.client_address == MANAGEMENT_CLIENT

    # --- the device itself ---

    def clock_s(self) -> float:
        """The meter's own clock, UTC seconds; it may have been set wrong."""
        return self.now_s() + self.clock_offset_s

    def set_clock(self, to_s: float) -> None:
        now_s = self.now_s()
        self.events.record(now_s, EventCode.CLOCK_ADJUSTED_OLD)
        self.clock_offset_s = to_s - now_s
        self.events.record(now_s, EventCode.CLOCK_ADJUSTED_NEW)

    def switch(self, order: Order, client_address: int | None = None) -> Movement:
        """The relay gets an order; it is remembered, and an event where something moves."""
        movement = self.relay.order(order, self.now_s(), client_address)
        if movement.state_after != movement.state_before:
            code = _RELAY_EVENTS[order]
            if (
                order is Order.REMOTE_RECONNECT
                and movement.state_after is ControlState.READY_FOR_RECONNECTION
            ):
                code = EventCode.READY_FOR_MANUAL_RECONNECTION
            self.events.record(movement.effective_s, code)
        return movement

    def register(self, name: str) -> int:
        """The register now; all registers of one second are computed together, as they are read."""
        now_s = int(self.now_s())
        if self._registers[0] != now_s:
            self._registers = now_s, self.source.registers_at(now_s)
        return self._registers[1][name]

    def status(self) -> int:
        """The status octet of the last complete interval."""
        end = int(self.now_s()) // truth.CAPTURE_PERIOD_S * truth.CAPTURE_PERIOD_S
        return int(self.source.interval_status(np.array((end,), np.int64))[0])

    def last_event_code(self) -> int:
        rows = self.events.rows(self.now_s())
        return rows[-1][1] if rows else 0

    def held(self) -> tuple[datetime, datetime]:
        """The first and last moment of which the load profile may hold a row."""
        now_s = int(self.now_s())
        oldest = datetime.fromtimestamp(now_s - LOAD_PROFILE_KEPT_S + 1, UTC)
        return oldest, datetime.fromtimestamp(now_s, UTC)


def _associations(identity: MeterIdentity) -> dict[int, ClientAssociation]:
    return {
        PUBLIC_CLIENT: ClientAssociation(Authentication.LOWEST),
        READER_CLIENT: ClientAssociation(Authentication.LLS, password=identity.lls_password.encode("ascii")),
        MANAGEMENT_CLIENT: ClientAssociation(Authentication.HLS_GMAC, ciphered=True),
    }
