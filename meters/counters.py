"""Invocation counters: reserved before use, never lower. Owns `InvocationCounter` and `ReceivedCounter`.

A counter belongs to a key and a sending system title, not to a meter or an association: two meters with one
key draw from one counter. Blocks are reserved in one committed statement a batch, rows locked in the order
of their key_id, before the first value goes out: a crash wastes the rest of a block and repeats nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from django.db import connection, transaction

COUNTER_END = 1 << 32
#: What a hint may move a counter by at once. It is only a hint: a hostile one must not use the key up.
JUMP_MAX = 1 << 28


def key_id(key: bytes) -> str:
    """A stable name of a key, by which nobody can tell the key. It must not depend on the key-encryption key:
    a changed name would start the counter anew."""
    return hashlib.sha256(b"hes counter key id\0" + key).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class Reservation:
    """Ask for `count` counters under a key. `credential_id` names the row that holds the key."""

    key_id: str
    credential_id: int
    count: int


@dataclass(frozen=True, slots=True)
class Block:
    """`count` counters from `start` on. `first_contact`: nothing was ever sent under this key before."""

    start: int
    count: int
    first_contact: bool


def reserve(system_title: str, reservations: Sequence[Reservation]) -> list[Block | None]:
    """Reserve blocks, one per reservation and in their order; None where the key's counters are used up.

    The rows are committed when this returns; call it outside any transaction.
    """
    wanted: dict[str, int] = {}
    credentials: dict[str, int] = {}
    for reservation in reservations:
        wanted[reservation.key_id] = wanted.get(reservation.key_id, 0) + reservation.count
        credentials[reservation.key_id] = reservation.credential_id
    keys = sorted(wanted)
    if not keys:
        return []
    with transaction.atomic(durable=True), connection.cursor() as cursor:
        cursor.execute("SET LOCAL synchronous_commit = on")
        cursor.execute(
            """
            INSERT INTO meters_invocationcounter AS c
                (key_id, credential_id, system_title, next_value, last_jump, last_jump_cause)
            SELECT k, cred, %s, n, 0, '' FROM unnest(%s::text[], %s::bigint[], %s::bigint[]) AS t(k, cred, n)
            ORDER BY k
            ON CONFLICT (key_id, system_title) DO UPDATE SET next_value = c.next_value + EXCLUDED.next_value
                WHERE c.next_value + EXCLUDED.next_value <= %s
            RETURNING c.key_id, c.next_value
            """,
            [system_title, keys, [credentials[k] for k in keys], [wanted[k] for k in keys], COUNTER_END],
        )
        starts = {key: next_value - wanted[key] for key, next_value in cursor.fetchall()}
    blocks: list[Block | None] = []
    first = {key: start == 0 for key, start in starts.items()}
    for reservation in reservations:
        start = starts.get(reservation.key_id)
        if start is None:
            blocks.append(None)
            continue
        blocks.append(Block(start, reservation.count, first[reservation.key_id]))
        starts[reservation.key_id] = start + reservation.count
    return blocks


def raise_to(system_title: str, key: str, hint: int, cause: str) -> bool:
    """Lift a counter to a meter's hint. False where the hint is refused: it is not above ours, leaves less
    than `JUMP_MAX` to the end, or jumps by more than `JUMP_MAX` (a key's first jump may be larger). Never
    lowers."""
    with transaction.atomic(durable=True), connection.cursor() as cursor:
        cursor.execute("SET LOCAL synchronous_commit = on")
        cursor.execute(
            """
            UPDATE meters_invocationcounter
            SET last_jump = %(hint)s - next_value, last_jump_cause = %(cause)s, last_jump_at = now(),
                next_value = %(hint)s
            WHERE key_id = %(key)s AND system_title = %(title)s AND %(hint)s > next_value
              AND %(hint)s <= %(end)s - %(jump)s
              AND (%(hint)s - next_value <= %(jump)s OR last_jump_at IS NULL)
            """,
            {
                "hint": hint,
                "cause": cause[:64],
                "key": key,
                "title": system_title,
                "end": COUNTER_END,
                "jump": JUMP_MAX,
            },
        )
        return bool(cursor.rowcount)


def highest_received(keys: Iterable[tuple[str, str]]) -> dict[tuple[str, str], int]:
    """Highest counter accepted per (key_id, system title), where one was."""
    pairs = list(keys)
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT r.key_id, r.system_title, r.highest FROM meters_receivedcounter r
            JOIN unnest(%s::text[], %s::text[]) AS t(k, s) ON r.key_id = t.k AND r.system_title = t.s
            """,
            [[pair[0] for pair in pairs], [pair[1] for pair in pairs]],
        )
        return {(key, title): highest for key, title, highest in cursor.fetchall()}


def note_received(received: dict[tuple[str, str], int]) -> None:
    """Keep the highest counters accepted; never lowers one."""
    pairs = sorted(received)
    if not pairs:
        return
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO meters_receivedcounter AS r (key_id, system_title, highest)
            SELECT * FROM unnest(%s::text[], %s::text[], %s::bigint[]) AS t(k, s, h) ORDER BY k, s
            ON CONFLICT (key_id, system_title) DO UPDATE SET highest = GREATEST(r.highest, EXCLUDED.highest)
            """,
            [[p[0] for p in pairs], [p[1] for p in pairs], [received[p] for p in pairs]],
        )
