"""What refusals mean as errors: AARE, confirmed-service-error, exception-response. Owns their codes."""

from __future__ import annotations

from dlms.acse import Aare
from dlms.enums import (
    AcseServiceProviderDiagnostic,
    AcseServiceUserDiagnostic,
    ApduTag,
    AssociationResult,
    ServiceErrorCode,
)
from dlms.errors import AssociationRejected, DlmsError, InvocationCounterError, SecurityError, ServiceError
from dlms.xdlms.exception import ExceptionResponse
from dlms.xdlms.initiate import ConfirmedServiceError


def rejected(aare: Aare) -> AssociationRejected:
    """The AARE's refusal, with a code for each diagnostic: ASSOCIATION_AUTHENTICATION_FAILURE, ..."""
    names = AcseServiceUserDiagnostic if aare.diagnostic_source == 1 else AcseServiceProviderDiagnostic
    try:
        name = names(aare.diagnostic).name
    except ValueError:
        name = "NULL"
    code = "ASSOCIATION_REJECTED" if name == "NULL" else f"ASSOCIATION_{name}"
    detail = f"result {aare.result}, diagnostic {aare.diagnostic_source}/{aare.diagnostic}"
    information = aare.user_information or b""
    if information[:1] == bytes((ApduTag.CONFIRMED_SERVICE_ERROR,)):
        detail += f", initiate error {information[1:4].hex()}"
    error = AssociationRejected(aare.result, aare.diagnostic, detail, code=code)
    error.retryable = aare.result == AssociationResult.REJECTED_TRANSIENT
    return error


def initiate_rejected(apdu: bytes, result: int, diagnostic: int | None) -> AssociationRejected:
    error = ConfirmedServiceError.decode(apdu)
    detail = f"service {error.service}, category {error.category}, value {error.value}"
    return AssociationRejected(result, diagnostic, detail, code="ASSOCIATION_INITIATE_ERROR")


def exception_error(response: ExceptionResponse, associating: bool = False) -> DlmsError:
    """The error that an exception-response means."""
    detail = f"state-error {response.state_error}, service-error {response.service_error}"
    if response.service_error == ServiceErrorCode.INVOCATION_COUNTER_ERROR:
        return InvocationCounterError(detail, expected=response.expected_counter)
    if response.service_error == ServiceErrorCode.DECIPHERING_ERROR:
        return SecurityError(detail, code="EXCEPTION_DECIPHERING_ERROR")
    try:
        code = f"EXCEPTION_{ServiceErrorCode(response.service_error).name}"
    except ValueError:
        code = "EXCEPTION_UNKNOWN"
    if associating:
        return AssociationRejected(AssociationResult.REJECTED_PERMANENT, None, detail, code=code)
    return ServiceError(None, detail, code=code)
