"""The least that dials in: a meter of plain bytes, written from the frame's description alone."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from typing import Any

import redis

from meters.models import Association, Command, Meter, MeterType, TypeRegister
from meters.models.type import Authentication, Purpose
from tests.conftest import GatewayNode
from tests.flow.conftest import wait_until_present

IDENTITY = "plain.1"
SERVER, CLIENT = 3, 48
#: accepted, application context without ciphering, conformance of GET, receives 1024 octets
AARE = bytes.fromhex(
    "6129 a109060760857405080101 a203020100 a305a103020100 be10040e 0800065f1f0400 001010 0400 0007"
)
RLRE = bytes.fromhex("6303800100")
#: class 3, 1-0:1.8.0*255 -> attribute -> value: 123456 (double-long-unsigned); scaler -1, unit Wh
REGISTER = bytes.fromhex("00030100010800ff")
VALUES = {2: bytes.fromhex("06 0001e240"), 3: bytes.fromhex("0202 0fff 161e")}


def wrap(destination: int, apdu: bytes) -> bytes:
    """version 1, source wPort, destination wPort, length, each of two octets"""
    head = (1, SERVER, destination, len(apdu))
    return b"".join(number.to_bytes(2, "big") for number in head) + apdu


def answer(apdu: bytes) -> bytes:
    if apdu[0] == 0x60:  # AARQ
        return AARE
    if apdu[0] == 0x62:  # RLRQ
        return RLRE
    value = VALUES.get(apdu[11]) if apdu[:2] == b"\xc0\x01" and apdu[3:11] == REGISTER else None
    if value is None:  # data-access-result 4, object-undefined
        return b"\xc4\x01" + apdu[2:3] + b"\x01\x04"
    return b"\xc4\x01" + apdu[2:3] + b"\x00" + value


def meter(peer: socket.socket) -> None:
    peer.sendall(wrap(0, b"HES1 " + IDENTITY.encode()))
    buffer = b""
    while chunk := peer.recv(4096):
        buffer += chunk
        while len(buffer) >= 8 and len(buffer) >= 8 + int.from_bytes(buffer[6:8], "big"):
            end = 8 + int.from_bytes(buffer[6:8], "big")
            frame, buffer = buffer[:end], buffer[end:]
            peer.sendall(wrap(int.from_bytes(frame[2:4], "big"), answer(frame[8:])))


def test_meter_of_plain_bytes_is_read(
    active_runner: Any,
    live_redis: redis.Redis,
    gateway_node: GatewayNode,
    carry: Callable[..., Command],
    read_api: Callable[..., dict[str, Any]],
) -> None:
    kind = MeterType.objects.create(name="PLAIN", server_address=SERVER, disconnect_control="")
    Association.objects.create(
        meter_type=kind,
        name="anybody",
        client_address=CLIENT,
        authentication=Authentication.LOWEST,
        ciphering=Association.Ciphering.NONE,
        purposes=[Purpose.READ],
    )
    for name in ("1-0:1.8.0.255", "1-0:2.8.0.255"):
        TypeRegister.objects.create(meter_type=kind, logical_name=name)
    Meter.objects.create(serial=IDENTITY, meter_type=kind)
    with socket.create_connection(("127.0.0.1", gateway_node.port)) as peer:
        answering = threading.Thread(target=meter, args=(peer,), daemon=True)
        answering.start()
        wait_until_present(live_redis, 1)
        command = carry(IDENTITY, "registers_read")
        peer.shutdown(socket.SHUT_RDWR)
        answering.join(5)
    assert command.state == "confirmed", (command.error_code, command.error_detail)
    assert command.result["registers"][1]["error"] == "DATA_ACCESS_OBJECT_UNDEFINED"
    (told,) = read_api("/api/instantaneous", meter=IDENTITY)["registers"]
    assert (told["obis"], told["value"], told["unit"]) == ("1-0:1.8.0.255", "12345.6", "Wh")
