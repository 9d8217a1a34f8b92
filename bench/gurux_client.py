"""gurux-dlms' Python client doing the dialog of `bench.day`, asking nothing twice and nothing that is known.

It speaks no sockets itself; `bench.wire` carries its frames, as it carries ours. gurux-dlms is GPL-2.0-only:
it is loaded here to be measured, nothing of the head-end imports this module.
"""

from __future__ import annotations

from contextlib import redirect_stdout
from datetime import UTC, datetime
from io import TextIOBase
from typing import Any

from gurux_dlms import GXByteBuffer, GXReplyData
from gurux_dlms.enums import Authentication, InterfaceType, Security
from gurux_dlms.objects import (
    GXDLMSCaptureObject,
    GXDLMSClock,
    GXDLMSData,
    GXDLMSProfileGeneric,
    GXDLMSRegister,
)
from gurux_dlms.secure import GXDLMSSecureClient

from bench import day
from bench.registry import BenchError
from bench.wire import Wire


def dotted(name: str) -> str:
    """1-0:1.8.0.255 as gurux writes it."""
    return name.replace("-", ".").replace(":", ".")


class _Nowhere(TextIOBase):
    def write(self, text: str) -> int:
        return len(text)


def silenced() -> redirect_stdout[TextIOBase]:
    """gurux prints a line for each ciphered APDU: neither into the figures nor at its cost."""
    return redirect_stdout(_Nowhere())


class Objects:
    """The objects, capture objects included, as a program holds them that has read them before."""

    def __init__(self) -> None:
        self.clock = GXDLMSClock(dotted(day.CLOCK))
        self.registers = [GXDLMSRegister(dotted(name)) for name in day.REGISTERS]
        self.profile = GXDLMSProfileGeneric(dotted(day.PROFILE))
        captured = [self.clock, GXDLMSData(dotted(day.STATUS))]
        captured += [GXDLMSRegister(dotted(name)) for name in day.CHANNELS]
        self.profile.captureObjects = [(item, GXDLMSCaptureObject(2, 0)) for item in captured]


class Dialog:
    """One association; a new client object for each, as a head-end has one for each meter it speaks with."""

    def __init__(self, wire: Wire, title: bytes, guek: bytes, gak: bytes, counter: int) -> None:
        self._wire = wire
        client = GXDLMSSecureClient(True, 1, 1, Authentication.HIGH_GMAC, None, InterfaceType.WRAPPER)
        client.maxReceivePDUSize = 0xFFFF
        client.ciphering.security = Security.AUTHENTICATION_ENCRYPTION
        client.ciphering.systemTitle = title
        client.ciphering.blockCipherKey = guek
        client.ciphering.authenticationKey = gak
        client.ciphering.invocationCounter = counter
        self.client = client

    def exchange(self, frames: Any) -> GXReplyData:
        """Send, and receive until gurux has the whole answer."""
        reply = GXReplyData()
        for frame in [frames] if isinstance(frames, bytes | bytearray) else frames:
            while True:
                self._wire.send(frame)
                self.client.getData(GXByteBuffer(self._wire.receive()), reply, None)
                if reply.error:
                    raise BenchError(f"gurux: the meter answers with error {reply.error}")
                if not reply.isMoreData():
                    break
                frame = self.client.receiverReady(reply)
        return reply

    def associate(self) -> None:
        self.client.parseAareResponse(self.exchange(self.client.aarqRequest()).data)
        answer = self.exchange(self.client.getApplicationAssociationRequest())
        self.client.parseApplicationAssociationResponse(answer.data)

    def read(self, item: Any, attribute: int) -> Any:
        reply = self.exchange(self.client.read(item, attribute))
        return self.client.updateValue(item, attribute, reply.value)

    def read_rows(self, profile: GXDLMSProfileGeneric, first: datetime, last: datetime) -> list[list[Any]]:
        reply = self.exchange(self.client.readRowsByRange(profile, first, last))
        self.client.updateValue(profile, 2, reply.value)
        rows: list[list[Any]] = profile.buffer
        return rows

    def release(self) -> None:
        self.exchange(self.client.releaseRequest())

    def whole(self, objects: Objects, first: datetime, last: datetime) -> tuple[Any, list[Any], list[Any]]:
        """The dialog that is measured: its clock, registers and rows as gurux gives them."""
        self.associate()
        clock = self.read(objects.clock, 2)
        registers = [self.read(register, 2) for register in objects.registers]
        rows = self.read_rows(objects.profile, first, last)
        self.release()
        return clock, registers, rows


def answer_of(clock: Any, registers: list[Any], rows: list[Any]) -> day.Answer:
    """gurux' values in the common form; not part of what is measured."""
    return day.Answer(
        clock=clock.value.astimezone(UTC),
        registers=tuple(int(value) for value in registers),
        stamps_s=tuple(int(row[0].value.astimezone(UTC).timestamp()) for row in rows),
        status=tuple(int(row[1]) for row in rows),
        values=tuple(tuple(int(cell) for cell in row[2:]) for row in rows),
    )
