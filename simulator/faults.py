"""What can be wrong with a simulated meter, by name. Owns the shares of a fleet that have each fault."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum


class Fault(StrEnum):
    #: logs in and keeps its link, never answers
    SILENT = "silent"
    #: answers the first `stop_after` requests of each dialog, then nothing more
    STOP_MID_DIALOG = "stop_mid_dialog"
    #: closes its link instead of the answer after `stop_after` requests of each dialog
    CUT_MID_DIALOG = "cut_mid_dialog"
    #: answers `late_s` seconds late
    LATE = "late"
    #: announces 8 octets more than it sends (its maker counted the wrapper's header)
    BAD_LENGTH = "bad_length"
    #: announces 8 octets fewer than it sends
    SHORT_LENGTH = "short_length"
    #: its keys are not those of the shipment file
    WRONG_KEY = "wrong_key"
    #: one bit of each ciphered answer's tag is wrong
    BAD_TAG = "bad_tag"
    #: answers with another system title than that of the shipment file
    WRONG_TITLE = "wrong_title"


def parse_fault(text: str) -> tuple[Fault, int]:
    """`NAME=COUNT` of the command line; ValueError with the known names for anything else."""
    name, equals, count = text.partition("=")
    try:
        fault = Fault(name)
    except ValueError:
        raise ValueError(f"fault {name!r} is none of {', '.join(Fault)}") from None
    if not equals or not count.isascii() or not count.isdigit():
        raise ValueError(f"a fault is NAME=COUNT, got {text!r}")
    return fault, int(count)


def share_out(numbers: Iterable[int], faults: Iterable[tuple[Fault, int]]) -> dict[int, Fault]:
    """Meter number -> its fault. The last meters have them: the first named fault the last ones of all."""
    left = sorted(numbers)
    shares: dict[int, Fault] = {}
    for fault, count in faults:
        if count > len(left):
            raise ValueError(f"{fault}={count}: only {len(left)} meters without a fault are left")
        for _ in range(count):
            shares[left.pop()] = fault
    return shares
