"""`python -m simulator`: a fleet of simulated meters in one process."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from pathlib import Path

import uvloop

from simulator.faults import Fault, parse_fault
from simulator.fleet import Fleet, FleetSettings
from simulator.meter import MeterSettings
from simulator.shipment import write_shipment

SEED_VARIABLE = "HES_SIM_SEED"


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) <= 0xFFFF):
        raise argparse.ArgumentTypeError(f"a port is 0 to 65535, got {text!r}")
    return int(text)


def _fault(text: str) -> tuple[Fault, int]:
    try:
        return parse_fault(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def parser() -> argparse.ArgumentParser:
    words = argparse.ArgumentParser(prog="python -m simulator", description=__doc__)
    add = words.add_argument
    add("--host", default="127.0.0.1", help="where the gateway is (default %(default)s)")
    add(
        "--port",
        type=_port,
        action="append",
        metavar="PORT",
        help="of a gateway node; more of them are taken in turn",
    )
    add("--listen", type=_port, metavar="PORT", help="the first meter waits for a client here; nothing dials")
    add("--meters", type=int, default=1, help="how many (default %(default)s)")
    add("--first", type=int, default=1, help="number of the first one (default %(default)s)")
    add("--seed", help=f"all keys and values come from it; default: the environment's {SEED_VARIABLE}")
    add("--csv", type=Path, metavar="FILE", help="write the shipment file (it holds keys: mode 0600)")
    add("--csv-only", action="store_true", help="end after the shipment file")
    add("--meter-type", default="SIM-1", help="as the shipment file names it (default %(default)s)")
    add("--truth-port", type=_port, metavar="PORT", help="serve the truth on loopback")
    add("--heartbeat-s", type=float, default=60.0)
    add("--backoff-max-s", type=float, default=10.0, help="longest pause before a meter dials again")
    add("--control-mode", type=int, default=2, choices=range(7), help="of the disconnect control")
    add("--relay-delay-s", type=float, default=2.0, help="the time a relay needs to move")
    add(
        "--first-counter",
        type=int,
        help="invocation counter that the meters hold at start; default: by the seed",
    )
    add(
        "--fault",
        type=_fault,
        action="append",
        default=[],
        metavar="NAME=COUNT",
        help=f"one of {', '.join(Fault)}",
    )
    add("--stop-after", type=int, default=4, help="requests that stop_mid_dialog and cut_mid_dialog answer")
    add("--late-s", type=float, default=30.0, help="how late the fault `late` is")
    return words


def settings_of(words: argparse.Namespace) -> FleetSettings:
    """ValueError in words for the user when something does not fit."""
    seed = words.seed if words.seed is not None else os.environ.get(SEED_VARIABLE, "")
    if not seed:
        raise ValueError(f"give --seed or set {SEED_VARIABLE}")
    if words.meters < 1 or words.first < 0 or words.first + words.meters > 100_000_000:
        raise ValueError("--meters and --first must give numbers of up to eight digits")
    if words.csv_only and words.csv is None:
        raise ValueError("--csv-only needs --csv FILE")
    if not words.csv_only and not words.port and words.listen is None:
        raise ValueError("give --port of a gateway, or --listen")
    return FleetSettings(
        seed=seed,
        meters=words.meters,
        first=words.first,
        host=words.host,
        ports=tuple(words.port or ()),
        listen_port=words.listen,
        truth_port=words.truth_port,
        heartbeat_s=words.heartbeat_s,
        backoff_max_s=words.backoff_max_s,
        faults=tuple(words.fault),
        stop_after=words.stop_after,
        late_s=words.late_s,
        meter=MeterSettings(
            control_mode=words.control_mode,
            relay_delay_s=words.relay_delay_s,
            first_counter=words.first_counter,
        ),
    )


async def run(settings: FleetSettings) -> None:
    """Until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with Fleet(settings) as fleet:
        where = ", ".join(f"{name} port {port}" for name, port in fleet.ports.items())
        print(f"{len(fleet.meters)} meters up{', ' + where if where else ''}", flush=True)
        await stop.wait()


def main(arguments: list[str] | None = None) -> int:
    words = parser().parse_args(arguments)
    try:
        settings = settings_of(words)
        if words.csv is not None:
            write_shipment(words.csv, settings.identities(), meter_type=words.meter_type)
        if words.csv_only:
            return 0
        uvloop.run(run(settings))
    except (ValueError, OSError) as error:
        print(f"simulator: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
