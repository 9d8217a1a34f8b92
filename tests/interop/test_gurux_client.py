"""gurux-dlms' client, an independent implementation, reads our simulated meter over a real socket."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from gurux_dlms import GXByteBuffer, GXReplyData
from gurux_dlms.enums import Authentication, Conformance, InterfaceType, Security
from gurux_dlms.objects import (
    GXDLMSClock,
    GXDLMSData,
    GXDLMSDisconnectControl,
    GXDLMSProfileGeneric,
    GXDLMSRegister,
)
from gurux_dlms.secure import GXDLMSSecureClient

from simulator import truth
from simulator.identity import derive_identity

SEED, NUMBER = "interop", 7
IDENTITY = derive_identity(SEED, NUMBER)
PUBLIC, READER, MANAGEMENT = 16, 32, 1
WAIT_S = 20
EXCEPTION_RESPONSE = 0xD8


@pytest.fixture(scope="module")
def meter_port() -> Iterator[int]:
    """A simulated meter in a process of its own that waits for a client."""
    words = ["--listen", "0", "--seed", SEED, "--first", str(NUMBER), "--relay-delay-s", "0"]
    process = subprocess.Popen([sys.executable, "-m", "simulator", *words], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    line = process.stdout.readline()
    yield int(line.rsplit(" ", 1)[1])
    process.terminate()
    assert process.wait(WAIT_S) == 0
    process.stdout.close()


class GuruxLink:
    """gurux' client, which speaks no sockets itself, on a socket."""

    def __init__(self, port: int, client: GXDLMSSecureClient) -> None:
        self.client = client
        self.socket = socket.create_connection(("127.0.0.1", port), WAIT_S)
        self.largest = 0
        self.frames = 0

    def close(self) -> None:
        self.socket.close()

    def _octets(self, count: int) -> bytes:
        octets = b""
        while len(octets) < count:
            part = self.socket.recv(count - len(octets))
            assert part, "the meter closed the link"
            octets += part
        return octets

    def raw(self, frame: bytes) -> bytes:
        """One frame out, one frame back."""
        self.socket.sendall(frame)
        header = self._octets(8)
        payload = self._octets(int.from_bytes(header[6:8], "big"))
        self.largest = max(self.largest, len(payload))
        self.frames += 1
        return header + payload

    def exchange(self, frames: Any) -> GXReplyData:
        """Send, and receive until gurux has the whole answer."""
        reply = GXReplyData()
        for frame in [frames] if isinstance(frames, bytes | bytearray) else frames:
            self._one(frame, reply)
        return reply

    def _one(self, frame: Any, reply: GXReplyData) -> None:
        while True:
            answer = self.raw(bytes(frame))
            self.client.getData(GXByteBuffer(answer), reply, GXReplyData())
            assert reply.error == 0, f"error {reply.error}"
            if not reply.isMoreData():
                return
            frame = self.client.receiverReady(reply)

    def associate(self) -> None:
        self.client.parseAareResponse(self.exchange(self.client.aarqRequest()).data)
        if self.client.authentication > Authentication.LOW:
            answer = self.exchange(self.client.getApplicationAssociationRequest())
            self.client.parseApplicationAssociationResponse(answer.data)

    def read(self, item: Any, attribute: int) -> Any:
        reply = self.exchange(self.client.read(item, attribute))
        return self.client.updateValue(item, attribute, reply.value)

    def release(self) -> None:
        self.exchange(self.client.releaseRequest())


def gurux_client(client_address: int, *, max_pdu_bytes: int = 0xFFFF, counter: int = 0) -> GXDLMSSecureClient:
    level, password = {
        PUBLIC: (Authentication.NONE, None),
        READER: (Authentication.LOW, IDENTITY.lls_password.encode()),
        MANAGEMENT: (Authentication.HIGH_GMAC, None),
    }[client_address]
    client = GXDLMSSecureClient(True, client_address, 1, level, password, InterfaceType.WRAPPER)
    client.maxReceivePDUSize = max_pdu_bytes
    if client_address == MANAGEMENT:
        client.ciphering.security = Security.AUTHENTICATION_ENCRYPTION
        client.ciphering.systemTitle = b"GRX\x00\x00\x00\x00\x01"
        client.ciphering.blockCipherKey = IDENTITY.encryption_key
        client.ciphering.authenticationKey = IDENTITY.authentication_key
        client.ciphering.invocationCounter = counter
    return client


def next_counter(port: int) -> int:
    """As a client that knows nothing learns it: from the public client's invocation counter object."""
    link = GuruxLink(port, gurux_client(PUBLIC))
    link.associate()
    counter = link.read(GXDLMSData("0.0.43.1.0.255"), 2)
    link.release()
    link.close()
    return int(counter) + 1


@pytest.fixture
def opened(meter_port: int) -> Iterator[Any]:
    """A function that gives an associated link of a client address."""
    links: list[GuruxLink] = []

    def make(client_address: int, max_pdu_bytes: int = 0xFFFF, general: bool = True) -> GuruxLink:
        counter = next_counter(meter_port) if client_address == MANAGEMENT else 0
        client = gurux_client(client_address, max_pdu_bytes=max_pdu_bytes, counter=counter)
        if not general:
            client.proposedConformance &= ~Conformance.GENERAL_PROTECTION
        link = GuruxLink(meter_port, client)
        links.append(link)
        link.associate()
        return link

    yield make
    for link in links:
        link.close()


def utc(moment: Any) -> datetime:
    """gurux' date-time, whatever zone of this machine it converted it to, as UTC."""
    value: datetime = moment.value
    return value.astimezone(UTC)


@pytest.mark.parametrize("client_address", [PUBLIC, READER, MANAGEMENT])
def test_gurux_reads_clock_and_name(opened: Any, client_address: int) -> None:
    link = opened(client_address)
    moment = utc(link.read(GXDLMSClock("0.0.1.0.0.255"), 2))
    assert abs(moment - datetime.now(UTC)) < timedelta(seconds=10)
    name = link.read(GXDLMSData("0.0.42.0.0.255"), 2)
    assert bytes(name) == b"SIM00000007"
    link.release()


@pytest.mark.parametrize("client_address", [READER, MANAGEMENT])
def test_gurux_reads_registers_with_scaler_and_unit(opened: Any, client_address: int) -> None:
    link = opened(client_address)
    before = int(datetime.now(UTC).timestamp())
    energy, voltage = GXDLMSRegister("1.0.1.8.0.255"), GXDLMSRegister("1.0.32.7.0.255")
    for register in (energy, voltage):
        link.read(register, 3)
        link.read(register, 2)
    after = int(datetime.now(UTC).timestamp())
    source = truth.source_of(SEED, NUMBER)
    seconds = [source.registers_at(second) for second in range(before, after + 1)]
    assert (energy.scaler, energy.unit) == (1, 30)
    assert energy.value in {registers["1-0:1.8.0.255"] for registers in seconds}
    assert (voltage.scaler, voltage.unit) == (0.1, 35)
    assert round(voltage.value * 10) in {registers["1-0:32.7.0.255"] for registers in seconds}


@pytest.mark.parametrize("general", [True, False])
@pytest.mark.parametrize("max_pdu_bytes", [0xFFFF, 1024, 200])
@pytest.mark.parametrize("client_address", [READER, MANAGEMENT])
def test_gurux_reads_the_profile_by_range(
    opened: Any, client_address: int, max_pdu_bytes: int, general: bool
) -> None:
    """Ciphered as general-glo-ciphering (what gurux prefers where it is offered) and by glo-services."""
    link = opened(client_address, max_pdu_bytes, general)
    profile = GXDLMSProfileGeneric("1.0.99.1.0.255")
    link.read(profile, 3)
    assert [item.logicalName for item, _ in profile.captureObjects][2] == "1.0.1.8.0.255"
    end = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    start = end - timedelta(hours=6)
    frames = link.frames
    reply = link.exchange(link.client.readRowsByRange(profile, start, end))
    link.client.updateValue(profile, 2, reply.value)
    stamps, values, status = truth.interval_rows(SEED, NUMBER, start, end)
    assert [utc(row[0]).timestamp() * 1_000_000 for row in profile.buffer] == stamps.tolist()
    assert [row[1] for row in profile.buffer] == status.tolist()
    assert [row[2:] for row in profile.buffer] == values.tolist()
    assert link.largest <= max_pdu_bytes
    blocks = link.frames - frames
    agreed = bool(link.client.negotiatedConformance & Conformance.GENERAL_PROTECTION)
    assert agreed is (general and client_address == MANAGEMENT)
    assert blocks == 1 if max_pdu_bytes == 0xFFFF else blocks > 1
    link.release()


def test_gurux_reads_rows_by_entry(opened: Any) -> None:
    link = opened(READER)
    profile = GXDLMSProfileGeneric("1.0.99.1.0.255")
    link.read(profile, 3)
    reply = link.exchange(link.client.readRowsByEntry(profile, 10, 4))
    link.client.updateValue(profile, 2, reply.value)
    assert len(profile.buffer) == 4
    first = utc(profile.buffer[0][0])
    assert profile.buffer[0][2:] == truth.interval_rows(SEED, NUMBER, first, first)[1].tolist()[0]


@pytest.mark.parametrize("client_address", [READER, MANAGEMENT])
def test_gurux_reads_the_event_log(opened: Any, client_address: int) -> None:
    link = opened(client_address)
    log = GXDLMSProfileGeneric("0.0.99.98.0.255")
    link.read(log, 3)
    link.read(log, 2)
    now_s = int(datetime.now(UTC).timestamp())
    began = [start for start, _ in truth.source_of(SEED, NUMBER).outages(now_s - 39 * 86_400, now_s)]
    found = [int(utc(row[0]).timestamp()) for row in log.buffer if row[1] == 1]
    assert began
    assert set(began) <= set(found)


@pytest.mark.parametrize("max_pdu_bytes", [0xFFFF, 128])
@pytest.mark.parametrize(("client_address", "count"), [(PUBLIC, 4), (READER, 23), (MANAGEMENT, 23)])
def test_gurux_reads_the_object_list(
    opened: Any, client_address: int, count: int, max_pdu_bytes: int
) -> None:
    link = opened(client_address, max_pdu_bytes)
    reply = link.exchange(link.client.getObjectsRequest())
    objects = link.client.parseObjects(reply.data, True)
    assert len(objects) == count
    assert link.largest <= max_pdu_bytes


def test_gurux_switches_the_relay(opened: Any) -> None:
    link = opened(MANAGEMENT)
    relay = GXDLMSDisconnectControl("0.0.96.3.10.255")
    link.exchange(relay.remoteDisconnect(link.client))
    assert [link.read(relay, attribute) for attribute in (2, 3, 4)] == [False, 0, 2]
    link.exchange(relay.remoteReconnect(link.client))
    assert [link.read(relay, attribute) for attribute in (2, 3)] == [True, 1]
    link.release()


def test_gurux_sets_the_clock(opened: Any) -> None:
    link = opened(MANAGEMENT)
    clock = GXDLMSClock("0.0.1.0.0.255")
    clock.time = datetime.now(UTC) + timedelta(hours=1)
    link.exchange(link.client.write(clock, 2))
    ahead = utc(link.read(GXDLMSClock("0.0.1.0.0.255"), 2)) - datetime.now(UTC)
    assert timedelta(minutes=59) < ahead < timedelta(minutes=61)
    clock.time = datetime.now(UTC)
    link.exchange(link.client.write(clock, 2))


def test_gurux_reader_is_refused_the_relay(opened: Any) -> None:
    link = opened(READER)
    relay = GXDLMSDisconnectControl("0.0.96.3.10.255")
    with pytest.raises(AssertionError, match="error 3"):
        link.exchange(relay.remoteDisconnect(link.client))


def test_gurux_with_a_used_counter_is_told_the_next_one(meter_port: int) -> None:
    expected = next_counter(meter_port)
    link = GuruxLink(meter_port, gurux_client(MANAGEMENT, counter=expected - 1))
    (frame,) = link.client.aarqRequest()
    answer = link.raw(bytes(frame))[8:]
    link.close()
    assert answer == bytes((EXCEPTION_RESPONSE, 1, 6)) + expected.to_bytes(4, "big")


@pytest.mark.parametrize(
    ("client_address", "secret"),
    [(READER, "password"), (MANAGEMENT, "encryption"), (MANAGEMENT, "authentication")],
)
def test_gurux_with_a_wrong_secret_is_rejected(meter_port: int, client_address: int, secret: str) -> None:
    client = gurux_client(client_address, counter=next_counter(meter_port))
    if secret == "password":
        client.password = b"wrong"
    elif secret == "encryption":
        client.ciphering.blockCipherKey = bytes(16)
    else:
        client.ciphering.authenticationKey = bytes(16)
    link = GuruxLink(meter_port, client)
    with pytest.raises(Exception, match=r"(?i)authentication|reject"):
        link.associate()
    link.close()
