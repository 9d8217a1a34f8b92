"""What a meter is to `dlms.server`: its objects behind one interface, ways to refuse. Owns no protocol."""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field
from typing import Protocol

from dlms import axdr
from dlms.acse import Aarq
from dlms.enums import AcseServiceUserDiagnostic, ActionResult, Authentication, Conformance, DataAccessResult
from dlms.security import SYSTEM_TITLE_OCTETS, Keys
from dlms.xdlms.access import SelectiveAccess

MIN_CHALLENGE_OCTETS, MAX_CHALLENGE_OCTETS = 8, 64


class AccessRefusedError(Exception):
    """Raised by the device: GET or SET ends with this data-access-result."""

    def __init__(self, result: DataAccessResult) -> None:
        super().__init__(result.name)
        self.result = result


class ActionRefusedError(Exception):
    """Raised by the device: ACTION ends with this action-result."""

    def __init__(self, result: ActionResult) -> None:
        super().__init__(result.name)
        self.result = result


@dataclass(frozen=True, slots=True)
class ClientAssociation:
    """How one client address may associate."""

    authentication: Authentication
    ciphered: bool = False
    password: bytes = field(default=b"", repr=False)

    def refusal(self, aarq: Aarq) -> AcseServiceUserDiagnostic | None:
        """Why this AARQ's authentication is refused; None when it is good so far."""
        diagnostics = AcseServiceUserDiagnostic
        if aarq.mechanism is None and self.authentication is not Authentication.LOWEST:
            return diagnostics.AUTHENTICATION_MECHANISM_NAME_REQUIRED
        if (aarq.mechanism or 0) != self.authentication:
            return diagnostics.AUTHENTICATION_MECHANISM_NAME_NOT_RECOGNISED
        value = aarq.calling_authentication_value or b""
        if self.authentication is Authentication.LLS and not hmac.compare_digest(value, self.password):
            return diagnostics.AUTHENTICATION_FAILURE
        is_hls = self.authentication is Authentication.HLS_GMAC
        if (is_hls or self.ciphered) and len(aarq.calling_ap_title or b"") != SYSTEM_TITLE_OCTETS:
            return diagnostics.CALLING_AP_TITLE_NOT_RECOGNIZED
        if is_hls and not MIN_CHALLENGE_OCTETS <= len(value) <= MAX_CHALLENGE_OCTETS:
            return diagnostics.AUTHENTICATION_FAILURE
        return None


@dataclass(frozen=True, slots=True)
class Session:
    """An open association, as the device sees it."""

    client_address: int
    authentication: Authentication
    ciphered: bool
    conformance: Conformance
    client_max_pdu_bytes: int


class Device(Protocol):
    """What a meter is to the protocol. Values are A-XDR; `received_counter`: the highest accepted, or -1."""

    system_title: bytes
    max_pdu_bytes: int
    received_counter: int

    @property
    def keys(self) -> Keys: ...

    def association(self, client_address: int) -> ClientAssociation | None: ...

    def next_counter(self) -> int: ...

    def get(
        self,
        session: Session,
        class_id: int,
        logical_name: bytes,
        attribute: int,
        access: SelectiveAccess | None,
    ) -> bytes: ...

    def set(
        self, session: Session, class_id: int, logical_name: bytes, attribute: int, value: axdr.Data
    ) -> None: ...

    def action(
        self,
        session: Session,
        class_id: int,
        logical_name: bytes,
        method: int,
        parameter: axdr.Data | None,
    ) -> bytes | None: ...
