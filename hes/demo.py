"""bin/demo: a whole head-end system with a simulated fleet on this machine.

Without --once it runs until Ctrl-C on a folder that is kept, var/demo. With --once it takes a fresh folder,
waits until the last full day (UTC) of every meter is stored and equal to what the meters hold, and says so by
its status.
"""

from __future__ import annotations

import argparse
import fcntl
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hes.embedded import HOST, EmbeddedError
from hes.proof import CAPTURE_PERIOD, PROFILE, Day, DayProof, Outcome, iso
from hes.reaper import ROOT
from hes.stack import OPERATOR, Stack, StackError, StackSettings, ignore_signals, stop_on_signals

SHOWN_DIFFERENCES = 10


def parse_scale(text: str) -> dict[str, int]:
    """gateway=2,worker-reads=2 -> {"gateway": 2, "worker-reads": 2}"""
    scale = {}
    for word in text.split(","):
        kind, _, count = word.strip().partition("=")
        if not kind or not count.isdecimal() or int(count) < 1:
            raise argparse.ArgumentTypeError(f"{word!r} is not KIND=COUNT")
        scale[kind] = int(count)
    return scale


def parse_meters(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 100_000:
        raise argparse.ArgumentTypeError("a number from 1 to 100000 is needed")
    return int(text)


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="bin/demo", description=(__doc__ or "").partition("\n\n")[2])
    made.add_argument(
        "--meters", type=parse_meters, default=10, help="simulated meters (default %(default)s)"
    )
    made.add_argument(
        "--once", action="store_true", help="prove one day, then end: status 0 when all is equal"
    )
    made.add_argument("--timeout-s", type=float, default=600.0, help="for --once (default %(default)s)")
    made.add_argument(
        "--scale", type=parse_scale, default={}, metavar="KIND=COUNT,...", help="processes of the Procfile"
    )
    return made


STARTED = time.monotonic()


def show(text: str) -> None:
    print(text, flush=True)


def say(line: str) -> None:
    """A line of progress, with the seconds since the start."""
    show(f"{time.monotonic() - STARTED:6.1f} s  {line}")


@contextmanager
def demo_folder(once: bool) -> Iterator[Path]:
    """A fresh folder for --once, removed unless the proof failed; else var/demo, for one demo at a time."""
    var = ROOT / "var"
    var.mkdir(exist_ok=True)
    if once:
        folder = Path(tempfile.mkdtemp(prefix="demo-", dir=var))
        try:
            yield folder
        except StackError:
            say(f"data and logs are kept in {folder.relative_to(ROOT)}")
            raise
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        shutil.rmtree(folder, ignore_errors=True)
        return
    folder = var / "demo"
    folder.mkdir(exist_ok=True, mode=0o700)
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise StackError("another bin/demo runs in this checkout; --once runs beside it") from None
        yield folder


def serials(meters: int) -> list[str]:
    return [f"SIM{number:08d}" for number in range(1, meters + 1)]


def introduce(stack: Stack, day: Day) -> None:
    """Where everything is, and what to try first."""
    first = serials(1)[0]
    # `to` is exclusive, and the day's last row is stamped at its end
    end = iso(day.last_row + CAPTURE_PERIOD)
    query = f"meter={first}&profile={PROFILE}&from={iso(day.first_row)}&to={end}"
    show(
        f"""
  operator site   {stack.web_url}/admin/
  API docs        {stack.web_url}/api/docs/
  log-in          {OPERATOR} / {stack.operator_password}
  gateways        {", ".join(f"{HOST}:{port}" for port in stack.gateway_ports)}
  logs            {(stack.folder / "log").relative_to(ROOT)}/

  A meter to try first: {first}
    {stack.web_url}/admin/meters/meter/?q={first}
    curl -H 'Authorization: Token {stack.api_token()}' \\
      '{stack.web_url}/api/profile/read?{query}'
"""
    )


def report(outcome: Outcome, day: Day) -> None:
    rows = outcome.comparisons
    show(
        f"""
  day (UTC)             {day.date}
  meters                {outcome.wanted}
  meters proved equal   {sum(one.proved for one in rows)}
  intervals held        {sum(one.held for one in rows)}
  intervals stored      {sum(one.stored for one in rows)}
  intervals equal       {sum(one.equal for one in rows)}
"""
    )
    for one in [one for one in rows if not one.proved][:SHOWN_DIFFERENCES]:
        show(f"  {one.serial}: {one.equal} of {one.held} equal, {one.stored} stored. {one.difference}")


def prove(stack: Stack, day: Day, timeout_s: float) -> Outcome:
    proof = DayProof(stack.web_url, stack.api_token(), stack.truth_url, day)
    shown = -1

    def tick(complete: int) -> None:
        nonlocal shown
        stack.supervisor.restart_ended()
        if complete != shown:
            say(f"complete: {complete} of {stack.settings.meters} meters")
            shown = complete

    try:
        return proof.wait(serials(stack.settings.meters), timeout_s, tick)
    finally:
        proof.close()


def run_once(stack: Stack, timeout_s: float, day: Day) -> int:
    outcome = prove(stack, day, timeout_s)
    report(outcome, day)
    if not outcome.proved:
        raise StackError("not every interval is stored and equal")
    say("every interval is stored and equal to what the meters hold")
    return 0


def run_on(stack: Stack) -> int:
    say("Ctrl-C stops everything.")
    while True:
        for child in stack.supervisor.restart_ended():
            say(f"{child.name} had ended and was started again; see {child.log_path.relative_to(ROOT)}")
        time.sleep(0.5)


def main(arguments: list[str]) -> int:
    words = parser().parse_args(arguments)
    day = Day.last_full()
    stop_on_signals()
    try:
        with demo_folder(words.once) as folder:
            settings = StackSettings(
                folder,
                meters=words.meters,
                scale=words.scale,
                web_port=0 if words.once else 8000,
                gateway_port=0 if words.once else 4059,
            )
            with Stack(settings, say) as stack:
                try:
                    introduce(stack, day)
                    if words.once:
                        return run_once(stack, words.timeout_s, day)
                    return run_on(stack)
                finally:
                    ignore_signals()
                    say("stopping ...")
    except KeyboardInterrupt:
        return 130
    except (StackError, EmbeddedError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
