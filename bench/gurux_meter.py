"""gurux-dlms' Python server as a meter with the objects of `bench.day`: `python -m bench.gurux_meter PORT`.

The mended server of tests/interop with another set of objects. A process of its own, so that a client's CPU
is measured without it.
"""

from __future__ import annotations

import socket
import sys
from datetime import datetime, timedelta
from typing import Any

from gurux_dlms import GXDateTime
from gurux_dlms.enums import DataType, Security, Unit
from gurux_dlms.objects import (
    GXDLMSAssociationLogicalName,
    GXDLMSCaptureObject,
    GXDLMSClock,
    GXDLMSData,
    GXDLMSRegister,
)

from bench import day
from bench.gurux_client import dotted
from tests.interop.gurux_meter import GuruxMeter, GuruxPort, _Profile

TITLE = b"GRX\x00\x00\x00\x00\x07"
GUEK = bytes(range(0x10, 0x20))
GAK = bytes(range(0xD0, 0xE0))


class DayMeter(GuruxMeter):
    """Yesterday's 96 rows of status and eight channels."""

    def __init__(self) -> None:
        super().__init__()
        cipher = self.settings.cipher
        cipher.security = Security.AUTHENTICATION_ENCRYPTION
        cipher.systemTitle = TITLE
        cipher.blockCipherKey = GUEK
        cipher.authenticationKey = GAK

    def _add_objects(self) -> None:
        clock = GXDLMSClock(dotted(day.CLOCK))
        clock.time = GXDateTime(datetime.now().astimezone())
        status = GXDLMSData(dotted(day.STATUS))
        status.value = 0
        status.setDataType(2, DataType.UINT8)
        registers = [self._register(number, name) for number, name in enumerate(day.CHANNELS)]
        for item in (clock, status, *registers):
            self.items.append(item)
        profile = _Profile(dotted(day.PROFILE))
        profile.capturePeriod = 900
        for target in (clock, status, *registers):
            profile.captureObjects.append((target, GXDLMSCaptureObject(2, 0)))
        first, _ = day.yesterday()
        profile.buffer.extend(self._row(first, index) for index in range(day.ROWS))
        self.items.append(profile)
        self.profile = profile
        association = GXDLMSAssociationLogicalName()
        association.objectList.append(clock)
        self.items.append(association)

    @staticmethod
    def _register(number: int, name: str) -> Any:
        register = GXDLMSRegister(dotted(name))
        register.value, register.unit = 2300 + number, Unit.ACTIVE_ENERGY
        register.setDataType(2, DataType.UINT32 if number < 4 else DataType.UINT16)
        return register

    @staticmethod
    def _row(first: datetime, index: int) -> list[Any]:
        stamp = GXDateTime(first + timedelta(minutes=15 * index))
        energies = [1_000_000 * place + 37 * index for place in range(1, 5)]
        return [stamp, index % 3, *energies, *(2300 + index % 7 + place for place in range(4))]

    def answer(self, frame: bytes) -> bytes | None:
        """gurux writes the system title's outer length two octets short; its own client refuses that."""
        reply = super().answer(frame)
        return reply and reply.replace(b"\xa4\x08\x04\x08", b"\xa4\x0a\x04\x08", 1)


class ListeningPort(GuruxPort):
    """On the port that was asked for instead of a free one."""

    def __init__(self, meter: GuruxMeter, port: int) -> None:
        super().__init__(meter)
        self._listener.close()
        self._listener = socket.create_server(("127.0.0.1", port))


if __name__ == "__main__":
    ListeningPort(DayMeter(), int(sys.argv[1])).run()
