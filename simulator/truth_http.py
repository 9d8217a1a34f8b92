"""The truth over HTTP for checks: GET only, JSON, on loopback. Owns the little of HTTP/1.1 that this takes.

/truth?serial=&from=&to=   the load profile rows held, both ends inclusive
/events?serial=            the event log
/relay?serial=             the relay and every order it got
/counts                    of the fleet
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from simulator import truth
from simulator.objects import REGISTERS

if TYPE_CHECKING:
    from simulator.fleet import Fleet
    from simulator.meter import Meter

MAX_REQUEST_BYTES = 8192
IDLE_S = 30.0
_REASONS = {200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed"}


class BadQueryError(Exception):
    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status


def iso(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, UTC).isoformat().replace("+00:00", "Z")


def truth_of(fleet: Fleet, query: Mapping[str, str]) -> dict[str, Any]:
    meter = _meter(fleet, query)
    held = meter.held()
    start, end = _moment(query, "from", held[0]), _moment(query, "to", held[1])
    stamps, values, status = truth.interval_rows(
        fleet.settings.seed, meter.number, max(start, held[0]), min(end, held[1])
    )
    rows = [
        [iso(stamp // 1_000_000), state, *row]
        for stamp, state, row in zip(stamps.tolist(), status.tolist(), values.tolist(), strict=True)
    ]
    scaler_units = [list(REGISTERS[name][:2]) for name in truth.CHANNELS]
    return {
        "serial": meter.serial,
        "columns": list(truth.CHANNELS),
        "scaler_units": scaler_units,
        "rows": rows,
    }


def events_of(fleet: Fleet, query: Mapping[str, str]) -> dict[str, Any]:
    meter = _meter(fleet, query)
    rows = [[iso(at_s), code] for at_s, code in meter.events.rows(meter.now_s())]
    return {"serial": meter.serial, "rows": rows}


def relay_of(fleet: Fleet, query: Mapping[str, str]) -> dict[str, Any]:
    meter = _meter(fleet, query)
    now_s = meter.now_s()
    actions = [
        {
            "at": iso(movement.at_s),
            "order": str(movement.order),
            "client_address": movement.client_address,
            "state_before": int(movement.state_before),
            "state_after": int(movement.state_after),
            "effective_at": iso(movement.effective_s),
        }
        for movement in meter.relay.movements
    ]
    return {
        "serial": meter.serial,
        "output_state": meter.relay.output_state(now_s),
        "control_state": int(meter.relay.control_state(now_s)),
        "control_mode": meter.relay.control_mode,
        "actions": actions,
    }


def counts_of(fleet: Fleet, query: Mapping[str, str]) -> dict[str, Any]:
    return fleet.counts()


ROUTES: dict[str, Callable[[Fleet, Mapping[str, str]], dict[str, Any]]] = {
    "/truth": truth_of,
    "/events": events_of,
    "/relay": relay_of,
    "/counts": counts_of,
}


def _meter(fleet: Fleet, query: Mapping[str, str]) -> Meter:
    serial = query.get("serial", "")
    if (meter := fleet.meters.get(serial)) is None:
        raise BadQueryError(404, f"no meter {serial!r} in this fleet")
    return meter


def _moment(query: Mapping[str, str], name: str, default: datetime) -> datetime:
    if (text := query.get(name)) is None:
        return default
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise BadQueryError(400, f"{name}: {error}") from error
    if moment.tzinfo is None:
        raise BadQueryError(400, f"{name} needs a zone, such as Z")
    return moment


def answer(fleet: Fleet, request_line: str) -> tuple[int, dict[str, Any]]:
    """Status and body for one request line."""
    parts = request_line.split(" ")
    if len(parts) != 3:
        return 400, {"detail": "not an HTTP request"}
    if parts[0] != "GET":
        return 405, {"detail": "only GET"}
    url = urlsplit(parts[1])
    route = ROUTES.get(url.path)
    if route is None:
        return 404, {"detail": f"one of {', '.join(ROUTES)}"}
    # a "+" in a time's offset that came unescaped is read as what was meant
    query = {name: values[-1].replace(" ", "+") for name, values in parse_qs(url.query).items()}
    try:
        return 200, route(fleet, query)
    except BadQueryError as error:
        return error.status, {"detail": str(error)}


async def serve(fleet: Fleet, port: int, host: str = "127.0.0.1") -> asyncio.Server:
    """Listen; port 0 takes a free one."""

    async def on_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                async with asyncio.timeout(IDLE_S):
                    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                status, body = answer(fleet, head.split("\r\n", 1)[0])
                octets = json.dumps(body).encode()
                writer.write(
                    f"HTTP/1.1 {status} {_REASONS[status]}\r\nContent-Type: application/json\r\n"
                    f"Content-Length: {len(octets)}\r\n\r\n".encode()
                    + octets
                )
                await writer.drain()
        except (TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError):
            pass
        finally:
            writer.close()

    return await asyncio.start_server(on_connection, host, port, limit=MAX_REQUEST_BYTES)
