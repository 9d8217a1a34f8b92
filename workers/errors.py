"""Errors of carrying dialogs, and the one table from code to class.

They share the base of the protocol's errors, so that whoever records an outcome needs one shape: `code`,
`retryable`, `hint`, `cause_class`.
"""

from __future__ import annotations

from typing import ClassVar

from dlms import errors as dlms_errors
from dlms.errors import DlmsError


class CarriageError(DlmsError):
    """Base: the dialog could not be carried to its end."""

    code = "CARRIAGE_ERROR"
    cause_class: ClassVar[str] = "link"


class MeterOffline(CarriageError):
    code = "METER_OFFLINE"
    hint = (
        "The meter has no link to any gateway node: check its modem, SIM and the address and port it dials."
    )


class MeterBusy(CarriageError):
    code = "METER_BUSY"
    hint = "Another dialog holds the meter; it is tried again when that one ends."


class LeaseLost(MeterBusy):
    code = "LEASE_LOST"
    hint = "This dialog was stopped for longer than its lease and another one took over."


class DialogTimeout(CarriageError):
    """No reply in time. The link's address is quarantined: a late reply is given to nobody."""

    code = "RESPONSE_TIMEOUT"
    cause_class = "timeout"
    hint = (
        "The meter did not answer in time: check signal, server address and the response timeout of its type."
    )


class DialogDeadline(DialogTimeout):
    code = "DIALOG_DEADLINE"
    hint = "The whole dialog took longer than it may: check the link's speed, or raise HES_DIALOG_DEADLINE_S."


class LinkLost(CarriageError):
    code = "LINK_LOST"
    hint = "The meter's connection ended during the dialog; it is tried again when the meter is back."


class LinkQuarantined(CarriageError):
    code = "LINK_QUARANTINED"
    hint = "An earlier request is still unanswered; the link is cut soon and the meter dials in anew."


class GatewayLost(CarriageError):
    code = "GATEWAY_LOST"
    hint = "The gateway node that held the link is gone; the meter dials in to another one."


class GatewayDraining(GatewayLost):
    code = "GATEWAY_DRAINING"
    hint = "The gateway node is being stopped; the meter dials in to another one."


class GatewayRefused(CarriageError):
    code = "GATEWAY_REFUSED"
    retryable = False
    cause_class: ClassVar[str] = "internal"
    hint = "The gateway did not accept the request: head-end processes of different versions?"


class BusAway(CarriageError):
    code = "BUS_AWAY"
    hint = "Redis does not answer; dialogs go on when it is back."


class ConfigurationError(CarriageError):
    """The meter's record or type lacks what the dialog needs; nothing was sent."""

    code = "CREDENTIAL_MISSING"
    retryable = False
    cause_class: ClassVar[str] = "association"
    hint = "Complete the credentials of the meter and the associations of its type."


class CounterError(CarriageError):
    code = "COUNTERS_USED_UP"
    retryable = False
    cause_class: ClassVar[str] = "security"
    hint = "The invocation counters of this key are used up: rotate the key."


class NotStored(CarriageError):
    code = "READING_NOT_STORED"
    retryable = False
    cause_class: ClassVar[str] = "internal"
    hint = "The reading was taken but could not be stored: see the dead letters of the ingest."


class RelayError(CarriageError):
    """The relay did not do what was asked; the evidence stands in the command's result."""

    code = "RELAY_NOT_MOVED"
    retryable = False
    cause_class: ClassVar[str] = "service"
    hint = (
        "The meter took the action but its relay did not reach the end state: check control mode and supply."
    )


class RelayUnproven(CarriageError):
    code = "RELAY_UNPROVEN"
    retryable = False
    cause_class: ClassVar[str] = "service"
    hint = "The switch was sent but not read back: read the meter before you act again."


class InternalError(CarriageError):
    code = "INTERNAL_ERROR"
    cause_class: ClassVar[str] = "internal"
    hint = "A fault of the head-end itself: see the log of the worker at this time."


def _classes(base: type[DlmsError]) -> list[type[DlmsError]]:
    found = [base]
    for child in base.__subclasses__():
        found += _classes(child)
    return found


#: code -> class, of every error that can stand on a meter's record (finer codes of a class share its hint)
BY_CODE: dict[str, type[DlmsError]] = {cls.code: cls for cls in _classes(dlms_errors.DlmsError)}
