"""Errors of the protocol, by who must act. Owns the codes of this layer; each is stable and part of the API.

A code never changes its meaning: it stands on a meter's record, in the admin, in API answers and in the
troubleshooting table of the docs.
"""

from __future__ import annotations

from typing import ClassVar


class DlmsError(Exception):
    """Base of all protocol errors: a stable `code`, words for the engineer, a `hint` for the operator.

    `retryable` says whether the same dialog may succeed later without anybody acting.
    """

    code: str = "DLMS_ERROR"
    retryable: bool = True
    hint: str = ""
    #: association | timeout | incomplete | security | service | link | internal (the cause class on the
    #: boards)
    cause_class: ClassVar[str] = "internal"

    def __init__(self, detail: str = "", *, code: str | None = None, hint: str | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        if code is not None:
            self.code = code
        if hint is not None:
            self.hint = hint

    def __str__(self) -> str:
        return f"{self.code}: {self.detail}" if self.detail else self.code


class LocalProtocolError(DlmsError):
    """We broke the rules: our bug, or a caller's."""

    code = "LOCAL_PROTOCOL_ERROR"
    retryable = False
    hint = "A fault of the head-end itself: report it with the frame trace."


class RemoteProtocolError(DlmsError):
    """The meter broke the rules; the connection is dead after it."""

    code = "REMOTE_PROTOCOL_ERROR"
    cause_class = "incomplete"
    hint = (
        "The meter sent what the protocol does not allow: "
        "check frame size, framing and the OBIS mapping of its type."
    )


class SecurityError(DlmsError):
    """A tag, a counter, a system title or a key does not match."""

    code = "SECURITY_ERROR"
    retryable = False
    cause_class = "security"
    hint = "Check the meter's keys and system title."


class InvocationCounterError(SecurityError):
    """The meter refused our invocation counter. `expected` is its hint, or None where it gave none."""

    code = "INVOCATION_COUNTER_REFUSED"
    retryable = True
    hint = "The meter holds a higher counter than ours; the next dialog starts above it."

    def __init__(self, detail: str = "", *, expected: int | None = None) -> None:
        super().__init__(detail)
        self.expected = expected


class AssociationRejected(DlmsError):
    """The meter refused the association (AARE)."""

    code = "ASSOCIATION_REJECTED"
    retryable = False
    cause_class = "association"
    hint = "Check client address, server address, authentication and keys of the meter and its type."

    def __init__(
        self, result: int, diagnostic: int | None, detail: str = "", *, code: str | None = None
    ) -> None:
        super().__init__(detail, code=code)
        self.result = result
        self.diagnostic = diagnostic


class ServiceError(DlmsError):
    """The meter answered a service with an error: a data-access-result, an action-result or an exception."""

    code = "SERVICE_ERROR"
    retryable = False
    cause_class = "service"
    hint = "The meter does not offer this object or attribute to this client: check type and association."

    def __init__(self, data_access_result: int | None, detail: str = "", *, code: str | None = None) -> None:
        super().__init__(detail, code=code)
        self.data_access_result = data_access_result
