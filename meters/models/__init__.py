"""The tables of this app, one module a subject."""

from meters.models.audit import AuditEntry
from meters.models.command import Command
from meters.models.credential import Credential, InvocationCounter, ReceivedCounter
from meters.models.link import Link, UnknownPeer
from meters.models.meter import Meter
from meters.models.plan import DueRead, ReadingPlan
from meters.models.type import Association, MeterType, TypeRegister

__all__ = [
    "Association",
    "AuditEntry",
    "Command",
    "Credential",
    "DueRead",
    "InvocationCounter",
    "Link",
    "Meter",
    "MeterType",
    "ReadingPlan",
    "ReceivedCounter",
    "TypeRegister",
    "UnknownPeer",
]
