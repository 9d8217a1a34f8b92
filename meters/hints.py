"""From an error code to what an operator can do: cause class and hint.

Codes of the protocol are explained by their classes in `dlms.errors`; those of carrying a dialog and of this
app stand here, since the workers that raise them may not be imported.
"""

from __future__ import annotations

from dataclasses import dataclass

from dlms import errors as dlms_errors
from dlms.errors import DlmsError


@dataclass(frozen=True, slots=True)
class Explanation:
    """`cause`: association | timeout | incomplete | security | service | link | internal."""

    code: str
    cause: str
    hint: str


_OWN: dict[str, tuple[str, str]] = {
    "METER_OFFLINE": (
        "link",
        "The meter has no link to any gateway node: check its modem, SIM and the address and port it dials.",
    ),
    "METER_BUSY": ("link", "Another dialog holds the meter; it is tried again when that one ends."),
    "LEASE_LOST": ("link", "This dialog was stopped for longer than its lease and another one took over."),
    "RESPONSE_TIMEOUT": (
        "timeout",
        "The meter did not answer in time: check signal, server address and its type's response timeout.",
    ),
    "DIALOG_DEADLINE": (
        "timeout",
        "The whole dialog took longer than it may: check the link's speed, or raise HES_DIALOG_DEADLINE_S.",
    ),
    "LINK_LOST": (
        "link",
        "The connection ended during the dialog; it is tried again when the meter is back.",
    ),
    "LINK_QUARANTINED": (
        "link",
        "An earlier request is still unanswered; the link is cut soon and the meter dials in anew.",
    ),
    "GATEWAY_LOST": (
        "link",
        "The gateway node that held the link is gone; the meter dials in to another one.",
    ),
    "GATEWAY_DRAINING": ("link", "The gateway node is being stopped; the meter dials in to another one."),
    "GATEWAY_REFUSED": (
        "internal",
        "The gateway did not accept the request: processes of different versions?",
    ),
    "CARRIAGE_ERROR": ("link", "The dialog could not be carried to its end; it is tried again."),
    "CREDENTIAL_MISSING": (
        "association",
        "Complete the meter's keys or password, as its type's associations need them.",
    ),
    "CREDENTIAL_UNREADABLE": (
        "association",
        "The stored key does not open under this HES_KEK: set it again.",
    ),
    "ASSOCIATION_MISSING": ("association", "The meter's type has no association for this purpose: add one."),
    "BUS_AWAY": ("link", "Redis does not answer; dialogs go on when it is back."),
    "CANCELLED": ("internal", "The worker was being stopped; it is tried again."),
    "OBIS_INVALID": ("internal", "A logical name is malformed: check the meter's type and the reading plan."),
    "TAG_MISMATCH": ("security", "The meter's keys are not the ones stored here: check GUEK and GAK."),
    "SYSTEM_TITLE_MISMATCH": (
        "security",
        "Another device answers under this serial: check the system title, or the meter that is installed.",
    ),
    "COUNTER_NOT_RISING": (
        "security",
        "The meter sent a counter that was used before: a replayed frame, or a meter that lost its counter.",
    ),
    "EXCEPTION_DECIPHERING_ERROR": (
        "security",
        "The meter could not decipher our request: check GUEK, GAK and the invocation counter.",
    ),
    "COUNTERS_USED_UP": ("security", "The invocation counters of this key are used up: rotate the key."),
    "READING_NOT_STORED": (
        "internal",
        "The reading was taken but could not be stored: see the dead letters of the ingest.",
    ),
    "RELAY_NOT_MOVED": (
        "service",
        "The meter took the action but its relay did not reach the end state: check control mode and supply.",
    ),
    "RELAY_NONE": ("service", "The meter's type names no disconnect control: complete the type."),
    "RELAY_MODE": ("service", "The meter is in control mode 0: its relay cannot be switched remotely."),
    "RELAY_UNPROVEN": (
        "service",
        "The switch was sent but not read back: read the meter before you act again.",
    ),
    "COMMAND_EXPIRED": ("timeout", "Its time passed before anything was sent: order it again."),
    "COMMAND_TAKEN": ("internal", "Another worker has this command; nothing is to be done."),
    "WORKER_LOST": ("internal", "Its worker stopped while it ran; if it acts, read the relay's state first."),
    "METER_UNKNOWN": ("internal", "There is no such meter: check the serial."),
    "METER_NOT_OPERATED": ("internal", "The meter's state allows no dialogs: set it to installed or active."),
    "INTERNAL_ERROR": ("internal", "A fault of the head-end itself: see the log of the worker at this time."),
}
#: finer codes of a class, told by how they begin
_FINER: dict[type[DlmsError], tuple[str, ...]] = {
    dlms_errors.RemoteProtocolError: (
        "ACSE_",
        "APDU_",
        "AXDR_",
        "BLOCK_SEQUENCE",
        "CAPTURE_OBJECT_",
        "CLOCK_INVALID",
        "CLOCK_TYPE",
        "CONFORMANCE_",
        "EXTRA_",
        "FRAME_",
        "INVOKE_ID_MISMATCH",
        "PROFILE_",
        "RELAY_STATE_TYPE",
        "REPLY_MISSING",
        "REPLY_UNEXPECTED",
        "RESULT_TOO_LARGE",
        "SCALER_UNIT_INVALID",
        "SELECTIVE_ACCESS_",
        "WRAPPER_",
    ),
    dlms_errors.AssociationRejected: ("ASSOCIATION_",),
    dlms_errors.ServiceError: (
        "ACCESS_",
        "ACTION_",
        "CONFIRMED_SERVICE_",
        "DATA_ACCESS_",
        "EXCEPTION_",
        "SERVICE_",
    ),
    dlms_errors.SecurityError: (
        "CIPHER",
        "CONTEXT_MISMATCH",
        "COUNTER_",
        "HLS_",
        "MECHANISM_MISMATCH",
        "NOT_CIPHERED",
        "REPLY_NOT_CIPHERED",
        "SECURITY_",
        "SYSTEM_TITLE_",
        "TAG_",
    ),
    dlms_errors.LocalProtocolError: (
        "AUTHENTICATION_NOT_SUPPORTED",
        "CARRIER",
        "CLOCK_NAIVE",
        "COUNTERS_",
        "KEY_LENGTH",
        "LAYOUT_INVALID",
        "LOCAL_",
        "REQUEST_TOO_LARGE",
        "SCALER_UNIT",
        "STATE",
    ),
}
_UNKNOWN = ("internal", "See the log of the worker at this time.")


def explain(code: str) -> Explanation:
    """What a code means to an operator; an unknown one is `internal`."""
    if code in _OWN:
        return Explanation(code, *_OWN[code])
    found = _CLASSES.get(code) or next(
        (cls for cls, starts in _FINER.items() if code.startswith(starts)), None
    )
    if found is None:
        return Explanation(code, *_UNKNOWN)
    return Explanation(code, found.cause_class, found.hint or _UNKNOWN[1])


def _classes(base: type[DlmsError]) -> dict[str, type[DlmsError]]:
    found = {base.code: base}
    for child in base.__subclasses__():
        if child.__module__ == dlms_errors.__name__:
            found |= _classes(child)
    return found


_CLASSES = _classes(DlmsError)
