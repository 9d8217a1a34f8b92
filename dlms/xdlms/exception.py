"""exception-response: the service could not even be tried. Vector: exception_response_service_not_allowed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from dlms.enums import ApduTag, ServiceErrorCode
from dlms.xdlms.initiate import Cursor


@dataclass(frozen=True, slots=True)
class ExceptionResponse:
    """`expected_counter` comes with invocation-counter-error only: the lowest counter the server would
    accept.
    """

    TAG: ClassVar[int] = ApduTag.EXCEPTION_RESPONSE

    state_error: int
    service_error: int
    expected_counter: int | None = None

    def encode(self) -> bytes:
        head = bytes((self.TAG, self.state_error, self.service_error))
        return head if self.expected_counter is None else head + self.expected_counter.to_bytes(4)

    @classmethod
    def decode(cls, apdu: bytes) -> ExceptionResponse:
        cursor = Cursor(apdu, 1)
        state_error, service_error = cursor.octet(), cursor.octet()
        expected: int | None = None
        # Meters of before the counter was added to the book send three octets here, too.
        if service_error == ServiceErrorCode.INVOCATION_COUNTER_ERROR and not cursor.at_end:
            expected = cursor.number(4)
        cursor.finish()
        return cls(state_error, service_error, expected)
