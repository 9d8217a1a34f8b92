"""The COSEM objects of a simulated meter: what each attribute reads, what may be set, what the methods do.

One table for all meters of a process; the meter itself is handed in. Owns which class an object is of and how
its attributes are coded; must not know associations beyond the session it is shown.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from dlms import axdr, clock, obis
from dlms.device import AccessRefusedError, ActionRefusedError, Session
from dlms.enums import ActionResult, ApplicationContext, DataAccessResult, DataType, Unit
from dlms.errors import DlmsError
from dlms.xdlms.access import BY_ENTRY, BY_RANGE, SelectiveAccess
from simulator.profiles import CLOCK, EVENT_LOG, LOAD_PROFILE, Profile
from simulator.relay import Order

if TYPE_CHECKING:
    from simulator.meter import Meter

Reader = Callable[["Meter", Session, SelectiveAccess | None], bytes]
Writer = Callable[["Meter", Session, axdr.Data], None]
Method = Callable[["Meter", Session, axdr.Data | None], bytes | None]

DATA, REGISTER, PROFILE_GENERIC, CLOCK_CLASS, ASSOCIATION_LN, SAP_ASSIGNMENT, DISCONNECT_CONTROL = (
    1,
    3,
    7,
    8,
    15,
    17,
    70,
)
#: access_mode and method access_mode of the association's object list
_NO_ACCESS, _READ, _WRITE = 0, 1, 2


@dataclass(frozen=True, slots=True)
class CosemObject:
    class_id: int
    logical_name: bytes
    attributes: dict[int, Reader]
    version: int = 0
    writers: dict[int, Writer] = field(default_factory=dict)
    methods: dict[int, Method] = field(default_factory=dict)
    #: attribute -> the access selectors it takes
    selectors: dict[int, tuple[int, ...]] = field(default_factory=dict)


def _fixed(data: axdr.Data) -> Reader:
    encoded = axdr.encode(data)
    return lambda meter, session, access: encoded


def _live(value: Callable[[Meter], axdr.Data]) -> Reader:
    return lambda meter, session, access: axdr.encode(value(meter))


def _object(class_id: int, name: str | bytes, attributes: dict[int, Reader], **rest: object) -> CosemObject:
    logical_name = name if isinstance(name, bytes) else obis.parse(name)
    readers = {1: _fixed(axdr.octets(logical_name)), **attributes}
    return CosemObject(class_id, logical_name, readers, **rest)  # type: ignore[arg-type]


def _data(name: str | bytes, value: Callable[[Meter], axdr.Data]) -> CosemObject:
    return _object(DATA, name, {2: _live(value)})


# --- registers ---

#: name -> (scaler, unit, type): the registers of `truth.Source.registers_at`
REGISTERS = {
    "1-0:1.8.0.255": (0, Unit.ACTIVE_ENERGY_WH, axdr.u32),
    "1-0:2.8.0.255": (0, Unit.ACTIVE_ENERGY_WH, axdr.u32),
    "1-0:3.8.0.255": (0, Unit.REACTIVE_ENERGY_VARH, axdr.u32),
    "1-0:4.8.0.255": (0, Unit.REACTIVE_ENERGY_VARH, axdr.u32),
    "1-0:1.7.0.255": (0, Unit.ACTIVE_POWER_W, axdr.u32),
    "1-0:32.7.0.255": (-1, Unit.VOLTAGE_V, axdr.u16),
    "1-0:52.7.0.255": (-1, Unit.VOLTAGE_V, axdr.u16),
    "1-0:72.7.0.255": (-1, Unit.VOLTAGE_V, axdr.u16),
    "1-0:31.7.0.255": (-2, Unit.CURRENT_A, axdr.u16),
    "1-0:51.7.0.255": (-2, Unit.CURRENT_A, axdr.u16),
    "1-0:71.7.0.255": (-2, Unit.CURRENT_A, axdr.u16),
    "1-0:13.7.0.255": (-3, Unit.COUNT, axdr.u16),
}


def _register(name: str) -> CosemObject:
    scaler, unit, coded = REGISTERS[name]
    attributes = {
        2: _live(lambda meter: coded(meter.register(name))),
        3: _fixed(axdr.structure(axdr.i8(scaler), axdr.enum(unit))),
    }
    return _object(REGISTER, name, attributes)


# --- clock ---


def _set_clock(meter: Meter, session: Session, value: axdr.Data) -> None:
    if value.type not in (DataType.OCTET_STRING, DataType.DATE_TIME):
        raise AccessRefusedError(DataAccessResult.TYPE_UNMATCHED)
    try:
        moment = clock.parse_datetime(value.value, UTC).utc
    except DlmsError as error:
        raise AccessRefusedError(DataAccessResult.OTHER_REASON) from error
    meter.set_clock(moment.timestamp())


def _clock_time(meter: Meter) -> axdr.Data:
    moment = datetime.fromtimestamp(meter.clock_s(), UTC)
    return axdr.octets(clock.format_datetime(moment, UTC))


#: no daylight saving time: month, day and hour of its begin and end are not specified
_NO_DST = axdr.octets(bytes.fromhex("ffffffffffffffffff800000"))
CLOCK_OBJECT = _object(
    CLOCK_CLASS,
    CLOCK.logical_name,
    {
        2: _live(_clock_time),
        3: _fixed(axdr.i16(0)),
        4: _fixed(axdr.u8(0)),
        5: _fixed(_NO_DST),
        6: _fixed(_NO_DST),
        7: _fixed(axdr.i8(0)),
        8: _fixed(axdr.boolean(False)),
        9: _fixed(axdr.enum(1)),
    },
    writers={2: _set_clock},
)

# --- profiles ---


def _profile(profile: Profile) -> CosemObject:
    attributes = {
        2: lambda meter, session, access: profile.buffer(meter, access),
        3: _fixed(axdr.array(*(column.capture_object.to_data() for column in profile.columns))),
        4: _fixed(axdr.u32(profile.capture_period_s)),
        5: _fixed(axdr.enum(1)),  # fifo
        6: _fixed(CLOCK.to_data()),
        7: _live(lambda meter: axdr.u32(profile.entries_in_use(meter))),
        8: _fixed(axdr.u32(profile.profile_entries)),
    }
    selectors = {2: (BY_RANGE, BY_ENTRY)}
    return _object(PROFILE_GENERIC, profile.logical_name, attributes, version=1, selectors=selectors)


# --- disconnect control ---


def _remote(order: Order) -> Method:
    def method(meter: Meter, session: Session, parameter: axdr.Data | None) -> None:
        if parameter is not None and parameter.type is not DataType.INTEGER:
            raise ActionRefusedError(ActionResult.TYPE_UNMATCHED)
        meter.switch(order, session.client_address)

    return method


RELAY_OBJECT = _object(
    DISCONNECT_CONTROL,
    "0-0:96.3.10.255",
    {
        2: _live(lambda meter: axdr.boolean(meter.relay.output_state(meter.now_s()))),
        3: _live(lambda meter: axdr.enum(meter.relay.control_state(meter.now_s()))),
        4: _live(lambda meter: axdr.enum(meter.relay.control_mode)),
    },
    methods={1: _remote(Order.REMOTE_DISCONNECT), 2: _remote(Order.REMOTE_RECONNECT)},
)

# --- the association ---


def _of_session(value: Callable[[Meter, Session], axdr.Data]) -> Reader:
    return lambda meter, session, access: axdr.encode(value(meter, session))


def _object_list(meter: Meter, session: Session) -> axdr.Data:
    return axdr.array(*(_list_element(meter, session, item) for item in meter.visible(session)))


def _list_element(meter: Meter, session: Session, item: CosemObject) -> axdr.Data:
    may_act = meter.may_act(session)
    attributes = [
        axdr.structure(
            axdr.i8(attribute),
            axdr.enum(_READ | (_WRITE if may_act and attribute in item.writers else 0)),
            axdr.array(*map(axdr.i8, item.selectors[attribute]))
            if attribute in item.selectors
            else axdr.null(),
        )
        for attribute in item.attributes
    ]
    methods = [
        axdr.structure(axdr.i8(method), axdr.enum(_READ if may_act else _NO_ACCESS))
        for method in item.methods
    ]
    return axdr.structure(
        axdr.u16(item.class_id),
        axdr.u8(item.version),
        axdr.octets(item.logical_name),
        axdr.structure(axdr.array(*attributes), axdr.array(*methods)),
    )


def _context_name(session: Session) -> axdr.Data:
    context = ApplicationContext.LN_CIPHERED if session.ciphered else ApplicationContext.LN
    return axdr.octets(bytes.fromhex("608574050801") + bytes((context,)))


def _context_info(meter: Meter, session: Session) -> axdr.Data:
    return axdr.structure(
        axdr.Data(DataType.BIT_STRING, axdr.BitString(24, int(session.conformance).to_bytes(3, "big"))),
        axdr.u16(meter.max_pdu_bytes),
        axdr.u16(session.client_max_pdu_bytes),
        axdr.u8(6),
        axdr.i8(0),
        axdr.octets(b""),
    )


ASSOCIATION_OBJECT = _object(
    ASSOCIATION_LN,
    "0-0:40.0.0.255",
    {
        2: _of_session(_object_list),
        3: _of_session(
            lambda meter, session: axdr.structure(
                axdr.i8(session.client_address), axdr.u16(meter.server_address)
            )
        ),
        4: _of_session(lambda meter, session: _context_name(session)),
        5: _of_session(_context_info),
        6: _of_session(
            lambda meter, session: axdr.octets(
                bytes.fromhex("608574050802") + bytes((session.authentication,))
            )
        ),
        8: _fixed(axdr.enum(2)),  # associated
    },
)
SAP_OBJECT = _object(
    SAP_ASSIGNMENT,
    "0-0:41.0.0.255",
    {
        2: _live(
            lambda meter: axdr.array(
                axdr.structure(axdr.u16(meter.server_address), axdr.octets(meter.serial.encode("ascii")))
            )
        )
    },
)

# --- the table ---

LOGICAL_DEVICE_NAME = _data("0-0:42.0.0.255", lambda meter: axdr.octets(meter.serial.encode("ascii")))
INVOCATION_COUNTER = _data("0-0:43.1.0.255", lambda meter: axdr.u32(max(0, meter.received_counter)))

OBJECTS: dict[bytes, CosemObject] = {
    item.logical_name: item
    for item in (
        ASSOCIATION_OBJECT,
        SAP_OBJECT,
        LOGICAL_DEVICE_NAME,
        CLOCK_OBJECT,
        INVOCATION_COUNTER,
        _data("0-0:96.1.0.255", lambda meter: axdr.octets(meter.serial.encode("ascii"))),
        _data("0-0:96.10.1.255", lambda meter: axdr.u8(meter.status())),
        _data("0-0:96.11.0.255", lambda meter: axdr.u8(meter.last_event_code())),
        *(_register(name) for name in REGISTERS),
        _profile(LOAD_PROFILE),
        _profile(EVENT_LOG),
        RELAY_OBJECT,
    )
}
#: What a client without authentication may read.
PUBLIC = frozenset(
    item.logical_name for item in (ASSOCIATION_OBJECT, LOGICAL_DEVICE_NAME, CLOCK_OBJECT, INVOCATION_COUNTER)
)
