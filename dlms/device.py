"""What a meter is to `dlms.server`: its objects behind one interface, ways to refuse. Owns no protocol."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from dlms import axdr
from dlms.enums import ActionResult, Authentication, Conformance, DataAccessResult
from dlms.security import Keys
from dlms.xdlms.access import SelectiveAccess


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
