"""Rows of links: how transitions fold into them, how they are read and written. Used by `meters.presence`."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass, field

from django.db import connection
from django.utils import timezone

from meters.models import Link

UNKNOWN_PEERS_MAX = 10_000
#: delays that end when the meter is back; LINK_LOST only at first, or a meter that hangs up would be hammered
WAITED_FOR_LINK = ("METER_OFFLINE", "GATEWAY_LOST", "GATEWAY_DRAINING", "LINK_QUARANTINED")
LINK_LOST_ATTEMPTS = 2


@dataclass(frozen=True, slots=True)
class Transition:
    """One entry of the presence stream."""

    state: str
    identity: str
    incarnation: str
    connection: int
    node: str
    peer: str
    at: dt.datetime
    reason: str


@dataclass(slots=True)
class Row:
    """A link as it stands in the table, or is to stand there."""

    meter_id: int
    state: str = Link.State.ABSENT
    node: str = ""
    incarnation: str = ""
    connection: int = 0
    peer: str = ""
    since: dt.datetime | None = None
    last_seen: dt.datetime | None = None
    reason: str = ""
    clashes: int = 0
    last_clash_at: dt.datetime | None = None
    changed: bool = field(default=False, compare=False)
    came_up: bool = field(default=False, compare=False)

    def is_link(self, incarnation: str, number: int) -> bool:
        present = self.state == Link.State.PRESENT
        return present and self.incarnation == incarnation and self.connection == number

    def apply(self, transition: Transition) -> None:
        """Take one transition over; one that was taken over before changes nothing."""
        ours = self.is_link(transition.incarnation, transition.connection)
        if transition.state == "clash":
            self.clashes += 1
            self.last_clash_at = transition.at
            self.changed = True
        elif transition.state == "up" and not ours:
            self.set_present(transition)
        elif transition.state == "down" and ours:
            self.set_absent(transition.at, transition.reason)

    def set_present(self, found: Transition) -> None:
        self.state, self.reason = Link.State.PRESENT, ""
        self.node, self.incarnation, self.connection = found.node, found.incarnation, found.connection
        self.peer = found.peer
        self.since = self.last_seen = found.at
        self.changed = self.came_up = True

    def set_absent(self, at: dt.datetime, reason: str) -> None:
        self.state, self.reason = Link.State.ABSENT, reason[:32]
        self.since = self.last_seen = at
        self.changed = True
        self.came_up = False


def rows_of(identities: Iterable[str]) -> dict[str, Row]:
    """Rows by serial of all these identities that are meters."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT m.serial, m.id, COALESCE(l.state, 'absent'), COALESCE(l.node, ''),
                   COALESCE(l.incarnation, ''), COALESCE(l.connection, 0), COALESCE(l.peer, ''),
                   l.since, l.last_seen,
                   COALESCE(l.reason, ''), COALESCE(l.clashes, 0), l.last_clash_at
            FROM meters_meter m LEFT JOIN meters_link l ON l.meter_id = m.id
            WHERE m.serial = ANY(%s)
            """,
            [list(identities)],
        )
        return {serial: Row(*columns) for serial, *columns in cursor.fetchall()}


def store(rows: Iterable[Row]) -> None:
    changed = sorted((row for row in rows if row.changed), key=lambda row: row.meter_id)
    if not changed:
        return
    now = timezone.now()
    Link.objects.bulk_create(
        [
            Link(
                meter_id=row.meter_id,
                state=row.state,
                node=row.node,
                incarnation=row.incarnation,
                connection=row.connection,
                peer=row.peer,
                since=row.since or now,
                last_seen=row.last_seen or now,
                reason=row.reason,
                clashes=row.clashes,
                last_clash_at=row.last_clash_at,
            )
            for row in changed
        ],
        update_conflicts=True,
        unique_fields=["meter"],
        update_fields=[
            "state",
            "node",
            "incarnation",
            "connection",
            "peer",
            "since",
            "last_seen",
            "reason",
            "clashes",
            "last_clash_at",
        ],
    )
    _try_at_once([row.meter_id for row in changed if row.came_up])


def _try_at_once(meter_ids: list[int]) -> None:
    """Reads that were put off because the meter was away are due now."""
    if not meter_ids:
        return
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE meters_dueread SET next_due_at = now()
            WHERE id IN (
                SELECT id FROM meters_dueread
                WHERE meter_id = ANY(%s) AND next_due_at > now() AND claim_token IS NULL
                  AND (last_error = ANY(%s) OR last_error = 'LINK_LOST' AND attempts <= %s)
                ORDER BY id FOR UPDATE SKIP LOCKED
            )
            """,
            [meter_ids, list(WAITED_FOR_LINK), LINK_LOST_ATTEMPTS],
        )


def note_strangers(strangers: dict[str, list[Transition]]) -> None:
    if not strangers:
        return
    with connection.cursor() as cursor:
        cursor.executemany(
            """
            INSERT INTO meters_unknownpeer AS u (identity, peer, node, first_seen, last_seen, logins)
            VALUES (%s, %s, %s, %s, %s, %s)
            ON CONFLICT (identity) DO UPDATE SET peer = EXCLUDED.peer, node = EXCLUDED.node,
                last_seen = EXCLUDED.last_seen, logins = u.logins + EXCLUDED.logins
            """,
            [
                (identity, ups[-1].peer, ups[-1].node, ups[0].at, ups[-1].at, len(ups))
                for identity, ups in sorted(strangers.items())
            ],
        )
        cursor.execute(
            """
            DELETE FROM meters_unknownpeer WHERE id IN (
                SELECT id FROM meters_unknownpeer ORDER BY last_seen DESC, id DESC OFFSET %s
            )
            """,
            [UNKNOWN_PEERS_MAX],
        )


def present_incarnations() -> list[str]:
    """Incarnations that hold present links: a walk along the index, one step an incarnation, not a scan."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            WITH RECURSIVE walk(incarnation) AS (
                (SELECT incarnation FROM meters_link WHERE state = 'present' ORDER BY incarnation LIMIT 1)
                UNION ALL
                SELECT (SELECT l.incarnation FROM meters_link l
                        WHERE l.state = 'present' AND l.incarnation > walk.incarnation
                        ORDER BY l.incarnation LIMIT 1)
                FROM walk WHERE walk.incarnation IS NOT NULL
            )
            SELECT incarnation FROM walk WHERE incarnation IS NOT NULL
            """
        )
        return [row[0] for row in cursor.fetchall()]
