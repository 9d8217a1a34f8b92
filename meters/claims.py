"""Which reads are due, who holds them, how they ended. Owns `DueRead` and the `last_*` columns of `Meter`.

Every write after the claim names its token: no match, no write. A claim that is not renewed expires and is
free again; there is no other recovery. All statements here are short and take rows in id order.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from django.db import connection, transaction

from meters.models import DueRead, Meter, ReadingPlan

OPERATED = tuple(str(state) for state in Meter.OPERATED)


@dataclass(frozen=True, slots=True)
class Claim:
    """A due read that is ours until the claim expires."""

    due_id: int
    meter_id: int
    plan_id: int
    token: uuid.UUID
    attempts: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a claimed read ended. `retry_in_s` None: nothing more until the plan's next tick."""

    due_id: int
    meter_id: int
    token: uuid.UUID
    error_code: str = ""
    error_detail: str = ""
    retry_in_s: float | None = None
    counts_as_attempt: bool = True


def make_due(plan: ReadingPlan) -> int:
    """Make the plan due for every operated meter of its type, spread over `spread_s`; returns the rows
    touched.

    The offset inside the spread is stable per meter. A row that waits for a retry is brought forward and its
    attempts start anew; a claimed row is due again when its holder has settled it.
    """
    spread_s = max(1, plan.spread_s)
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO meters_dueread (meter_id, plan_id, priority, attempts, last_error)
            SELECT m.id, %(plan)s, %(priority)s, 0, '' FROM meters_meter m
            WHERE m.meter_type_id = %(type)s AND m.state = ANY(%(operated)s)
            ORDER BY m.id
            ON CONFLICT (meter_id, plan_id) DO NOTHING
            """,
            {
                "plan": plan.pk,
                "priority": plan.priority,
                "type": plan.meter_type_id,
                "operated": list(OPERATED),
            },
        )
        cursor.execute(
            """
            WITH found AS (
                SELECT d.id, now() + make_interval(secs => mod(abs(hashint8(d.meter_id)::bigint),
                %(spread)s)) AS due_at FROM meters_dueread d JOIN meters_meter m ON m.id = d.meter_id
                WHERE d.plan_id = %(plan)s AND m.state = ANY(%(operated)s)
                ORDER BY d.id FOR UPDATE OF d
            )
            UPDATE meters_dueread d
            SET next_due_at = CASE WHEN d.claim_token IS NULL OR d.claimed_until < now()
                THEN LEAST(d.next_due_at, found.due_at) ELSE found.due_at END,
                attempts = 0, priority = %(priority)s
            FROM found WHERE d.id = found.id
            """,
            {"plan": plan.pk, "spread": spread_s, "priority": plan.priority, "operated": list(OPERATED)},
        )
        return int(cursor.rowcount)


# A scalar subquery, not joins: the planner cannot turn it round, so each candidate costs its look-ups by key,
# also on tables that were never analysed (as joins 1,000 rows took 500 ms there, quadratic in the rows).
_CLAIM = """
    WITH picked AS (
        SELECT d.id FROM meters_dueread d
        WHERE d.next_due_at <= now() AND (d.claim_token IS NULL OR d.claimed_until < now())
          {also}
          AND (
            SELECT p.enabled AND p.meter_type_id = m.meter_type_id AND m.state = ANY(%(operated)s)
                AND l.state = 'present'
            FROM meters_meter m, meters_link l, meters_readingplan p
            WHERE m.id = d.meter_id AND l.meter_id = d.meter_id AND p.id = d.plan_id
          )
        ORDER BY d.priority, d.next_due_at, d.id
        {limit}
        FOR UPDATE OF d SKIP LOCKED
    )
    UPDATE meters_dueread d
    SET claim_token = gen_random_uuid(), claimed_until = now() + make_interval(secs => %(claim_s)s),
        last_tried_at = now()
    FROM picked WHERE d.id = picked.id
    RETURNING d.id, d.meter_id, d.plan_id, d.claim_token, d.attempts
"""


def claim_due(limit: int, claim_s: float) -> list[Claim]:
    """Claim due reads of at most `limit` meters that are present: all that is due for a meter, so that one
    association serves it. Two workers may ask at once; no row is given to both."""
    if limit <= 0:
        return []
    parameters = {"limit": limit, "claim_s": claim_s, "operated": list(OPERATED)}
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(_CLAIM.format(also="", limit="LIMIT %(limit)s"), parameters)
        rows = cursor.fetchall()
        if len(rows) == limit:
            # The limit may have cut between the reads of a meter.
            parameters["meters"] = sorted({row[1] for row in rows})
            cursor.execute(_CLAIM.format(also="AND d.meter_id = ANY(%(meters)s)", limit=""), parameters)
            rows += cursor.fetchall()
    return [
        Claim(due_id, meter_id, plan_id, token, attempts)
        for due_id, meter_id, plan_id, token, attempts in rows
    ]


def renew(tokens: Sequence[uuid.UUID], claim_s: float) -> int:
    """Push the end of running claims out; returns how many are still ours."""
    if not tokens:
        return 0
    return DueRead.objects.filter(claim_token__in=list(tokens)).update(
        claimed_until=dt.datetime.now(dt.UTC) + dt.timedelta(seconds=claim_s)
    )


def settle(outcomes: Sequence[Outcome]) -> set[uuid.UUID]:
    """Write how reads ended, freeing their claims; returns the tokens that still held. Others are dropped."""
    if not outcomes:
        return set()
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            """
            WITH ended AS (
                SELECT * FROM unnest(%s::bigint[], %s::uuid[], %s::text[], %s::float8[], %s::boolean[])
                    AS t(id, token, error, retry_in_s, counted)
            ), held AS (
                SELECT d.id FROM meters_dueread d JOIN ended e ON e.id = d.id AND e.token = d.claim_token
                ORDER BY d.id FOR UPDATE OF d
            )
            UPDATE meters_dueread d
            SET claim_token = NULL, claimed_until = NULL, last_error = e.error,
                next_due_at = CASE WHEN d.next_due_at > d.last_tried_at -- the plan's next tick came meanwhile
                    THEN LEAST(d.next_due_at, now() + make_interval(secs => e.retry_in_s))
                    ELSE now() + make_interval(secs => e.retry_in_s) END,
                backfill_from = CASE WHEN e.error = '' THEN NULL ELSE d.backfill_from END,
                attempts = CASE WHEN e.error = '' THEN 0 WHEN e.counted THEN d.attempts + 1 ELSE d.attempts
                END, last_ok_at = CASE WHEN e.error = '' THEN now() ELSE d.last_ok_at END
            FROM ended e, held WHERE d.id = held.id AND e.id = d.id
            RETURNING e.token
            """,
            [
                [o.due_id for o in outcomes],
                [str(o.token) for o in outcomes],
                [o.error_code for o in outcomes],
                [o.retry_in_s for o in outcomes],
                [o.counts_as_attempt for o in outcomes],
            ],
        )
        held = {row[0] for row in cursor.fetchall()}
        _record(cursor, [o for o in outcomes if o.token in held])
    return held


#: come of something else: the error that stands on the meter's record is nearer to the cause
CONSEQUENCES = ("LINK_QUARANTINED", "METER_BUSY", "LEASE_LOST", "BUS_AWAY")


def record_contact(meter_id: int, error_code: str, error_detail: str) -> None:
    """Put the outcome of a command's dialog on the meter's record."""
    with transaction.atomic(), connection.cursor() as cursor:
        _record(cursor, [Outcome(0, meter_id, uuid.UUID(int=0), error_code, error_detail)])


def _record(cursor, outcomes: Sequence[Outcome]) -> None:  # type: ignore[no-untyped-def]
    worst: dict[int, Outcome] = {}
    for outcome in outcomes:
        if outcome.meter_id not in worst or outcome.error_code:
            worst[outcome.meter_id] = outcome
    if not worst:
        return
    meters = sorted(worst)
    cursor.execute(
        """
        WITH ended AS (SELECT * FROM unnest(%s::bigint[], %s::text[], %s::text[]) AS t(id, code, detail)),
        locked AS (SELECT m.id FROM meters_meter m JOIN ended USING (id) ORDER BY m.id FOR UPDATE OF m)
        UPDATE meters_meter m
        SET last_ok_at = CASE WHEN e.code = '' THEN now() ELSE m.last_ok_at END,
            last_error_code = e.code, last_error_detail = left(e.detail, 500),
            last_error_at = CASE WHEN e.code = '' THEN m.last_error_at ELSE now() END
        FROM ended e, locked WHERE m.id = locked.id AND e.id = m.id
            AND NOT (e.code = ANY(%s) AND m.last_error_code <> '')
        """,
        [
            meters,
            [worst[m].error_code for m in meters],
            [worst[m].error_detail for m in meters],
            list(CONSEQUENCES),
        ],
    )
