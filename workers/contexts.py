"""All that a dialog must know of its meter, read in a handful of queries for a whole batch. Runs in database
threads.

Secrets live in a context for one dialog and are never shown (`repr=False`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from zoneinfo import ZoneInfo

from django.conf import settings

from dlms import obis
from dlms.connection import Counters, Settings
from dlms.enums import Authentication as Mechanism
from meters import counters, credentials
from meters.models import Association, Credential, Meter, MeterType
from meters.models.type import Authentication, Purpose
from workers import errors

MECHANISM = {
    Authentication.LOWEST: Mechanism.LOWEST,
    Authentication.LLS: Mechanism.LLS,
    Authentication.HLS_GMAC: Mechanism.HLS_GMAC,
}


@dataclass(frozen=True, slots=True)
class Register:
    """One register of the type's set; `type_register_id` is where a scaler read from a meter is kept."""

    type_register_id: int
    class_id: int
    logical_name: bytes
    attribute: int
    scaler: int | None
    unit: int | None


@dataclass(frozen=True, slots=True)
class TypeContext:
    type_id: int
    max_pdu_bytes: int
    response_timeout_s: float
    request_pause_s: float
    deviation_inverted: bool
    null_data_repeats: bool
    associations: tuple[Association, ...]
    registers: tuple[Register, ...]
    event_log: bytes
    disconnect_control: bytes | None
    invocation_counter: bytes | None


@dataclass(frozen=True, slots=True)
class MeterContext:
    meter_id: int
    serial: str
    server_address: int
    zone: ZoneInfo
    type: TypeContext
    system_title: bytes | None
    secrets: dict[str, bytes] = field(repr=False)
    guek_credential_id: int | None
    key_id: str

    def association_for(self, purpose: Purpose) -> Association:
        """The first association of the type that serves the purpose. Raises ConfigurationError."""
        for association in self.type.associations:
            if purpose in association.purposes:
                return association
        raise errors.ConfigurationError(
            f"meter type has no association for purpose {purpose}", code="ASSOCIATION_MISSING"
        )

    def connection_settings(self, association: Association) -> Settings:
        """Raises ConfigurationError where a secret that the association needs is missing."""
        ciphered = association.ciphering != Association.Ciphering.NONE
        password = self._secret(Credential.Kind.LLS_PASSWORD) if association.authentication == "lls" else b""
        keyed = ciphered or association.authentication == Authentication.HLS_GMAC
        return Settings(
            client_address=association.client_address,
            server_address=self.server_address,
            authentication=MECHANISM[Authentication(association.authentication)],
            ciphered=ciphered,
            client_system_title=settings.HES_SYSTEM_TITLE if keyed else b"",
            password=password,
            encryption_key=self._secret(Credential.Kind.GUEK) if keyed else b"",
            authentication_key=self._secret(Credential.Kind.GAK) if keyed else b"",
            max_pdu_bytes=self.type.max_pdu_bytes,
            response_timeout_s=self.type.response_timeout_s,
            meter_system_title=self.system_title if keyed else None,
        )

    def _secret(self, kind: str) -> bytes:
        try:
            return self.secrets[kind]
        except KeyError:
            raise errors.ConfigurationError(f"the meter has no credential {kind!r}") from None


def load(meter_ids: Iterable[int]) -> dict[int, MeterContext]:
    """Contexts by meter id; a meter that does not exist is left out."""
    meters = list(Meter.objects.filter(pk__in=list(meter_ids)))
    types = _load_types({meter.meter_type_id for meter in meters})
    ids = [meter.pk for meter in meters]
    secrets = credentials.load_secrets(ids)
    rows = Credential.objects.filter(meter_id__in=ids, kind=Credential.Kind.GUEK).values_list(
        "meter_id", "pk"
    )
    guek_rows = dict(rows)
    key_ids = {
        meter_id: counters.key_id(found["guek"]) for meter_id, found in secrets.items() if "guek" in found
    }
    return {
        meter.pk: MeterContext(
            meter_id=meter.pk,
            serial=meter.serial,
            server_address=meter.server_address or types[meter.meter_type_id][1].server_address,
            zone=ZoneInfo(meter.time_zone or types[meter.meter_type_id][1].time_zone),
            type=types[meter.meter_type_id][0],
            system_title=bytes.fromhex(meter.system_title) if meter.system_title else None,
            secrets=secrets.get(meter.pk, {}),
            guek_credential_id=guek_rows.get(meter.pk),
            key_id=key_ids.get(meter.pk, ""),
        )
        for meter in meters
    }


def keep_system_title(meter_id: int, system_title: str) -> bool:
    """False: another meter has this title; two devices under one name are for a person to sort out."""
    taken = Meter.objects.filter(system_title=system_title).exclude(pk=meter_id).exists()
    unknown = Meter.objects.filter(pk=meter_id, system_title=None)
    return not taken and bool(unknown.update(system_title=system_title))


def load_many(meter_ids: list[int]) -> list[MeterContext | Exception]:
    """For gathered calls: one answer a meter id, in their order."""
    found = load(meter_ids)
    return [
        found.get(i) or errors.ConfigurationError(f"no meter {i}", code="METER_UNKNOWN") for i in meter_ids
    ]


def _load_types(type_ids: set[int]) -> dict[int, tuple[TypeContext, MeterType]]:
    rows = MeterType.objects.filter(pk__in=type_ids).prefetch_related("associations", "registers")
    return {
        row.pk: (
            TypeContext(
                type_id=row.pk,
                max_pdu_bytes=row.max_pdu_bytes,
                response_timeout_s=row.response_timeout_s,
                request_pause_s=row.request_pause_s,
                deviation_inverted=row.deviation_inverted,
                null_data_repeats=row.null_data_repeats,
                associations=tuple(row.associations.all()),
                registers=tuple(
                    Register(r.pk, r.class_id, obis.parse(r.logical_name), r.attribute, r.scaler, r.unit)
                    for r in row.registers.all()
                ),
                event_log=obis.parse(row.event_log),
                disconnect_control=obis.parse(row.disconnect_control) if row.disconnect_control else None,
                invocation_counter=obis.parse(row.invocation_counter) if row.invocation_counter else None,
            ),
            row,
        )
        for row in rows
    }


#: How many counters a dialog begins with, and how few are left when more are reserved.
BLOCK = 64
LOW = 8


@dataclass(frozen=True, slots=True)
class CounterRequest:
    context: MeterContext
    count: int = BLOCK


@dataclass(frozen=True, slots=True)
class Reserved:
    """`received`: the highest counter accepted from the meter. It is looked up with the block, under the
    lease: while a dialog waited for its meter another one may have received more."""

    block: counters.Block
    received: int | None


def reserve(requests: list[CounterRequest]) -> list[Reserved | Exception]:
    """Counters for many dialogs in one committed statement."""
    title = settings.HES_SYSTEM_TITLE.hex()
    wanted = [
        counters.Reservation(r.context.key_id, r.context.guek_credential_id, r.count)
        for r in requests
        if r.context.guek_credential_id is not None
    ]
    blocks = iter(counters.reserve(title, wanted))
    received = counters.highest_received({_sender(request.context) for request in requests})
    answers: list[Reserved | Exception] = []
    for request in requests:
        if request.context.guek_credential_id is None:
            answers.append(errors.ConfigurationError("the meter has no credential 'guek'"))
        elif (block := next(blocks)) is None:
            answers.append(errors.CounterError("no invocation counter is left below 2^32"))
        else:
            answers.append(Reserved(block, received.get(_sender(request.context))))
    return answers


def _sender(context: MeterContext) -> tuple[str, str]:
    return context.key_id, (context.system_title or b"").hex()


def counters_of(block: counters.Block) -> Counters:
    return Counters(block.start, block.count)
