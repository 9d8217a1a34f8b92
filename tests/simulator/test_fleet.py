"""The fleet on real sockets: login, heartbeat, redial, faults, the truth over HTTP, the command line."""

from __future__ import annotations

import asyncio
import csv
import json
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from dlms.acse import Aare, Aarq
from dlms.framing.wrapper import Frame, WrapperFramer, encode_frame
from dlms.xdlms import decode_apdu
from dlms.xdlms.get import GetRequestNormal, GetResponseNormal
from dlms.xdlms.initiate import InitiateRequest
from simulator.faults import Fault
from simulator.fleet import Fleet, FleetSettings
from simulator.meter import MeterSettings
from simulator.threaded import running_fleet

AARQ = Aarq(user_information=InitiateRequest(0x1F, 0xFFFF).encode()).encode()
GET_CLOCK = GetRequestNormal(0xC1, 8, bytes((0, 0, 1, 0, 0, 255)), 2).encode()
WAIT_S = 10.0


class Caller:
    """One connection that a meter made, as the gateway would see it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int) -> None:
        self.reader, self.writer, self.port = reader, writer, port
        self.framer = WrapperFramer()
        self.octets = b""

    async def frame(self, timeout_s: float = WAIT_S) -> Frame:
        async with asyncio.timeout(timeout_s):
            while (frame := self.framer.next_frame()) is None:
                data = await self.reader.read(65536)
                if not data:
                    raise ConnectionResetError
                self.octets += data
                self.framer.feed(data)
        return frame

    async def reply(self, apdu: bytes, timeout_s: float = WAIT_S, client_address: int = 16) -> Frame:
        """The next frame that is no heartbeat."""
        self.writer.write(encode_frame(client_address, 1, apdu))
        while (frame := await self.frame(timeout_s)).destination == 0:
            pass
        return frame


class Gateway:
    """Listens on so many ports and keeps who called."""

    def __init__(self) -> None:
        self.calls: asyncio.Queue[Caller] = asyncio.Queue()
        self.ports: list[int] = []
        self.servers: list[asyncio.Server] = []

    async def listen(self) -> None:
        async def called(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await self.calls.put(Caller(reader, writer, writer.get_extra_info("sockname")[1]))

        server = await asyncio.start_server(called, "127.0.0.1", 0)
        self.servers.append(server)
        self.ports.append(server.sockets[0].getsockname()[1])

    async def caller(self) -> Caller:
        async with asyncio.timeout(WAIT_S):
            return await self.calls.get()


@asynccontextmanager
async def fleet_and_gateway(nodes: int = 1, **settings: object) -> AsyncIterator[tuple[Fleet, Gateway]]:
    gateway = Gateway()
    for _ in range(nodes):
        await gateway.listen()
    words = FleetSettings(seed="fleet", ports=tuple(gateway.ports), **settings)  # type: ignore[arg-type]
    async with Fleet(words) as fleet:
        yield fleet, gateway
    for server in gateway.servers:
        server.close()


def test_login_frame_is_the_first_and_the_heartbeat() -> None:
    async def check() -> None:
        async with fleet_and_gateway(heartbeat_s=0.05, first=42) as (_, gateway):
            caller = await gateway.caller()
            for _ in range(3):
                frame = await caller.frame()
                assert (frame.source, frame.destination, frame.payload) == (1, 0, b"HES1 SIM00000042")

    asyncio.run(check())


def test_meters_take_the_gateways_in_turn_and_the_next_one_when_cut() -> None:
    async def check() -> None:
        async with fleet_and_gateway(nodes=2, meters=6) as (fleet, gateway):
            callers = [await gateway.caller() for _ in range(6)]
            assert [sum(c.port == port for c in callers) for port in gateway.ports] == [3, 3]
            first = callers[0]
            serial = (await first.frame()).payload
            first.writer.close()
            again = await gateway.caller()
            assert (await again.frame()).payload == serial
            assert again.port != first.port
            assert fleet.counts()["redials"] == 1

    asyncio.run(check())


def test_meters_dial_until_the_gateway_is_there() -> None:
    async def check() -> None:
        with socket.socket() as reserved:
            reserved.bind(("127.0.0.1", 0))
            port = reserved.getsockname()[1]
        async with Fleet(FleetSettings(seed="fleet", ports=(port,), backoff_max_s=0.05)) as fleet:
            await asyncio.sleep(0.2)
            assert fleet.counts()["dials_failed"] >= 1
            server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", port)
            async with asyncio.timeout(WAIT_S):
                await fleet.wait_connected()
            server.close()

    asyncio.run(check())


def test_meter_answers_its_address_and_no_other() -> None:
    async def check() -> None:
        async with fleet_and_gateway() as (fleet, gateway):
            caller = await gateway.caller()
            caller.writer.write(encode_frame(16, 2, AARQ))
            reply = await caller.reply(AARQ)
            assert (reply.source, reply.destination) == (1, 16)
            assert isinstance(decode_apdu(reply.payload), Aare)
            assert isinstance(decode_apdu((await caller.reply(GET_CLOCK)).payload), GetResponseNormal)
            assert fleet.counts()["frames_to_nobody"] == 1

    asyncio.run(check())


def test_octets_that_are_no_frame_end_the_link() -> None:
    async def check() -> None:
        async with fleet_and_gateway() as (fleet, gateway):
            caller = await gateway.caller()
            await caller.frame()
            caller.writer.write(b"GET / HTTP/1.1\r\n\r\n")
            with pytest.raises(ConnectionResetError):
                await caller.frame()
            assert fleet.counts()["frames_broken"] == 1

    asyncio.run(check())


def test_relay_remembers_across_links() -> None:
    async def check() -> None:
        async with fleet_and_gateway() as (fleet, gateway):
            caller = await gateway.caller()
            meter = fleet.meters["SIM00000001"]
            meter.switch("remote_disconnect", 1)  # type: ignore[arg-type]
            caller.writer.close()
            await gateway.caller()
            assert not meter.relay.output_state(meter.now_s())

    asyncio.run(check())


async def _never(caller: Caller, apdu: bytes) -> None:
    with pytest.raises(TimeoutError):
        await caller.reply(apdu, timeout_s=0.3)


def _with_fault(fault: Fault, check: Callable[[Caller], object], **settings: object) -> None:
    async def run() -> None:
        async with fleet_and_gateway(faults=((fault, 1),), **settings) as (_, gateway):
            await check(await gateway.caller())  # type: ignore[misc]

    asyncio.run(run())


def test_fault_silent_never_answers() -> None:
    async def check(caller: Caller) -> None:
        assert (await caller.frame()).destination == 0
        await _never(caller, AARQ)

    _with_fault(Fault.SILENT, check)


def test_fault_stop_mid_dialog_answers_so_often_in_each_dialog() -> None:
    async def check(caller: Caller) -> None:
        for _ in range(2):
            assert isinstance(decode_apdu((await caller.reply(AARQ)).payload), Aare)
            await caller.reply(GET_CLOCK)
            await _never(caller, GET_CLOCK)

    _with_fault(Fault.STOP_MID_DIALOG, check, stop_after=2)


def test_fault_cut_mid_dialog_closes_the_link() -> None:
    async def check(caller: Caller) -> None:
        await caller.reply(AARQ)
        with pytest.raises(ConnectionResetError):
            await caller.reply(GET_CLOCK)

    _with_fault(Fault.CUT_MID_DIALOG, check, stop_after=1)


def test_fault_late_answers_late() -> None:
    async def check(caller: Caller) -> None:
        await _never(caller, AARQ)
        assert isinstance(decode_apdu((await caller.frame()).payload), Aare)

    _with_fault(Fault.LATE, check, late_s=0.5)


@pytest.mark.parametrize(("fault", "wrong"), [(Fault.BAD_LENGTH, 8), (Fault.SHORT_LENGTH, -8)])
def test_fault_of_length_announces_the_wrong_one(fault: Fault, wrong: int) -> None:
    async def check(caller: Caller) -> None:
        await caller.frame()
        caller.writer.write(encode_frame(16, 1, AARQ))
        async with asyncio.timeout(WAIT_S):
            octets = await caller.reader.read(65536)
        assert int.from_bytes(octets[6:8], "big") == len(octets) - 8 + wrong

    _with_fault(fault, check)


def test_faults_of_keys_are_not_those_of_the_shipment() -> None:
    fleet = Fleet(
        FleetSettings(seed="fleet", meters=3, faults=((Fault.WRONG_KEY, 1), (Fault.WRONG_TITLE, 1)))
    )
    identities = {identity.serial: identity for identity in fleet.settings.identities()}
    same = {
        serial: (
            meter.keys.encryption_key == identities[serial].encryption_key,
            meter.system_title == identities[serial].system_title,
        )
        for serial, meter in fleet.meters.items()
    }
    assert same == {"SIM00000001": (True, True), "SIM00000002": (True, False), "SIM00000003": (False, True)}


def fetch(port: int, path: str) -> tuple[int, dict[str, object]]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=WAIT_S) as reply:
            return reply.status, json.load(reply)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_truth_over_http_tells_rows_relay_events_counts() -> None:
    with running_fleet(FleetSettings(seed="fleet", meters=2, truth_port=0)) as fleet:
        port = fleet.ports["truth"]
        status, body = fetch(port, "/truth?serial=SIM00000002&from=2020-01-01T00:00:00Z")
        assert status == 200
        assert len(body["columns"]) == 8
        rows = body["rows"]
        assert len(rows) in (40 * 96 - 1, 40 * 96)
        stamp = rows[10][0].replace("Z", "%2B00:00")
        assert fetch(port, f"/truth?serial=SIM00000002&from={stamp}&to={stamp}")[1]["rows"] == [rows[10]]
        plus = rows[10][0].replace("Z", "+00:00")
        assert fetch(port, f"/truth?serial=SIM00000002&from={plus}&to={plus}")[1]["rows"] == [rows[10]]
        fleet.meters["SIM00000002"].switch("remote_disconnect", 1)
        relay = fetch(port, "/relay?serial=SIM00000002")[1]
        assert (relay["output_state"], relay["control_state"], len(relay["actions"])) == (False, 0, 1)
        assert fetch(port, "/events?serial=SIM00000002")[1]["rows"][-1][1] == 62
        assert fetch(port, "/counts")[1]["meters"] == 2


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/truth?serial=SIM00000009", 404),
        ("/truth", 404),
        ("/nothing", 404),
        ("/truth?serial=SIM00000001&from=yesterday", 400),
        ("/truth?serial=SIM00000001&from=2026-01-01T00:00:00", 400),
    ],
)
def test_truth_over_http_refuses_what_it_cannot_answer(path: str, status: int) -> None:
    with running_fleet(FleetSettings(seed="fleet", truth_port=0)) as fleet:
        assert fetch(fleet.ports["truth"], path)[0] == status


def command_line(*words: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "simulator", *words],
        capture_output=True, text=True, timeout=60, env=env or {}, check=False,
    )  # fmt: skip


def test_command_line_writes_the_shipment_and_ends(tmp_path: Path) -> None:
    path = tmp_path / "fleet.csv"
    words = ("--csv", str(path), "--csv-only", "--meters", "5", "--first", "10")
    done = command_line(*words, env={"HES_SIM_SEED": "from the environment"})
    assert (done.returncode, done.stderr) == (0, "")
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["serial"] for row in rows] == [f"SIM000000{number}" for number in range(10, 15)]
    expected = next(FleetSettings(seed="from the environment", first=10).identities())
    assert rows[0]["guek"] == expected.encryption_key.hex()


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("--port", "4059"), "HES_SIM_SEED"),
        (("--seed", "1"), "--port"),
        (("--seed", "1", "--port", "x"), "port"),
        (("--seed", "1", "--port", "4059", "--fault", "loud=3"), "loud"),
        (("--seed", "1", "--port", "4059", "--fault", "silent=2"), "silent"),
        (("--seed", "1", "--csv-only"), "--csv"),
        (("--seed", "1", "--port", "4059", "--meters", "0"), "--meters"),
        (("--seed", "1", "--port", "4059", "--control-mode", "7"), "control-mode"),
    ],
)
def test_command_line_refuses_what_cannot_be(words: tuple[str, ...], named: str) -> None:
    done = command_line(*words)
    assert done.returncode == 2
    assert named in done.stderr
    assert "Traceback" not in done.stderr


def test_thousand_meters_take_less_than_150_megabytes(tmp_path: Path) -> None:
    async def check() -> None:
        gateway = Gateway()
        await gateway.listen()
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "simulator", "--seed", "1", "--meters", "1000",
            "--port", str(gateway.ports[0]),
            stdout=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        try:
            async with asyncio.timeout(60):
                callers = [await gateway.calls.get() for _ in range(1000)]
                for caller in callers:
                    await caller.reply(AARQ)
                    await caller.reply(GET_CLOCK)
            status = await asyncio.to_thread(Path(f"/proc/{process.pid}/status").read_text)
        finally:
            process.terminate()
            assert await process.wait() == 0
        peak_kb = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
        assert peak_kb < 150 * 1024
        for caller in callers:
            caller.writer.close()
        gateway.servers[0].close()

    asyncio.run(check())


def test_first_counter_is_the_lowest_that_is_accepted() -> None:
    fleet = Fleet(FleetSettings(seed="fleet", meters=2, meter=MeterSettings(first_counter=0)))
    assert [meter.received_counter for meter in fleet.meters.values()] == [-1, -1]
