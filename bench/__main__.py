"""`python -m bench NAME ... | all | long`: measures, one JSON line a figure on standard output.

Without a name it lists the benches. What else there is to say goes to standard error. Status 1: a bench
failed.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence

from bench.registry import Bench, load

USAGE = "usage: bin/bench NAME [NAME ...] | all | long"


def listing(benches: dict[str, Bench]) -> str:
    width = max(map(len, benches), default=0) + 2
    lines = [
        f"  {one.name:<{width}}{one.about}{' (long)' if one.is_long else ''}" for one in benches.values()
    ]
    return "\n".join([USAGE, "", *lines, "", "all: those not marked long; long: the others"])


def wanted(words: Sequence[str], benches: dict[str, Bench]) -> list[Bench]:
    """ValueError for a name that is none."""
    chosen: dict[str, Bench] = {}
    for word in words:
        if word in ("all", "long"):
            chosen |= {one.name: one for one in benches.values() if one.is_long == (word == "long")}
        elif word in benches:
            chosen[word] = benches[word]
        else:
            raise ValueError(f"there is no bench {word!r}")
    return list(chosen.values())


def run(one: Bench) -> bool:
    """Whether it came to its end."""
    started = time.monotonic()
    print(f"bench {one.name}: {one.about}", file=sys.stderr, flush=True)
    try:
        for figure in one.measure():
            print(figure.line(), flush=True)
    except KeyboardInterrupt:
        raise
    except Exception as error:
        if os.environ.get("HES_BENCH_TRACEBACK"):
            raise
        print(f"bench {one.name} failed: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
        return False
    print(f"bench {one.name}: {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
    return True


def main(words: Sequence[str]) -> int:
    benches = load()
    if not words or words[0] in ("-h", "--help", "help", "list"):
        print(listing(benches))
        return 0
    try:
        chosen = wanted(words, benches)
    except ValueError as error:
        print(f"bench: {error}\n{listing(benches)}", file=sys.stderr)
        return 2
    try:
        done = [run(one) for one in chosen]  # all of them, even behind one that failed
    except KeyboardInterrupt:
        return 130
    return 0 if all(done) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
