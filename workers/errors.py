"""Errors of carrying dialogs, and the one table from code to class.

They share the base of the protocol's errors, so that whoever records an outcome needs one shape: `code`,
`retryable`, `hint`, `cause_class`.
"""

from __future__ import annotations

from dlms import errors as dlms_errors
from dlms.errors import DlmsError
from meters.hints import explain


class CarriageError(DlmsError):
    """Base: the dialog could not be carried to its end. Cause class and hint are those of `meters.hints`."""

    code = "CARRIAGE_ERROR"

    def __init_subclass__(cls) -> None:
        explained = explain(cls.code)
        cls.cause_class, cls.hint = explained.cause, explained.hint

    def __init__(self, detail: str = "", *, code: str | None = None) -> None:
        super().__init__(detail, code=code, hint=explain(code or self.code).hint)


CarriageError.cause_class, CarriageError.hint = "link", explain(CarriageError.code).hint


class MeterOffline(CarriageError):
    code = "METER_OFFLINE"


class MeterBusy(CarriageError):
    code = "METER_BUSY"


class LeaseLost(MeterBusy):
    code = "LEASE_LOST"


class DialogTimeout(CarriageError):
    """No reply in time. The link's address is quarantined: a late reply is given to nobody."""

    code = "RESPONSE_TIMEOUT"


class DialogDeadline(DialogTimeout):
    code = "DIALOG_DEADLINE"


class LinkLost(CarriageError):
    code = "LINK_LOST"


class LinkQuarantined(CarriageError):
    code = "LINK_QUARANTINED"


class GatewayLost(CarriageError):
    code = "GATEWAY_LOST"


class GatewayDraining(GatewayLost):
    code = "GATEWAY_DRAINING"


class GatewayRefused(CarriageError):
    code = "GATEWAY_REFUSED"
    retryable = False


class BusAway(CarriageError):
    code = "BUS_AWAY"


class ConfigurationError(CarriageError):
    """The meter's record or type lacks what the dialog needs; nothing was sent."""

    code = "CREDENTIAL_MISSING"
    retryable = False


class CounterError(CarriageError):
    code = "COUNTERS_USED_UP"
    retryable = False


class NotStored(CarriageError):
    code = "READING_NOT_STORED"
    retryable = False


class RelayError(CarriageError):
    """The relay did not do what was asked; the evidence stands in the command's result."""

    code = "RELAY_NOT_MOVED"
    retryable = False


class RelayUnproven(CarriageError):
    code = "RELAY_UNPROVEN"
    retryable = False


class InternalError(CarriageError):
    code = "INTERNAL_ERROR"


def _classes(base: type[DlmsError]) -> list[type[DlmsError]]:
    found = [base]
    for child in base.__subclasses__():
        found += _classes(child)
    return found


#: code -> class, of every error that can stand on a meter's record (finer codes of a class share its hint)
BY_CODE: dict[str, type[DlmsError]] = {cls.code: cls for cls in _classes(dlms_errors.DlmsError)}
