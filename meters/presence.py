"""Presence of the meters, as the gateway nodes report it, projected to `Link`. Owns `Link` and `UnknownPeer`.

Nodes append transitions to a stream; one projector at a time (a lock in Redis) folds them into rows in
batches. The table is for planners, screens and the API; dialogs look in Redis. What the stream may have lost
is mended by `reconcile`, which compares rows with the link entries in Redis; links of a node that died are
found by the missing key of its incarnation.
"""

from __future__ import annotations

import datetime as dt
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from typing import Any

import redis
import structlog
from django.db import InterfaceError, OperationalError, connection, transaction
from django.utils import timezone

from gateway import wire
from meters.link_rows import Transition, note_strangers, present_incarnations, rows_of, store
from meters.models import Link, Meter, UnknownPeer

log = structlog.get_logger(__name__)

GROUP = "links"
CONSUMER = "projector"
BATCH = 1000
CHUNK = 2000
LOCK_KEY = "hes:presence:lock"
LOCK_S = 10
#: how often dead nodes are looked for, and meters that were registered after they had logged in
WATCH_S = 2.0
RECONCILE_S = 300.0
BLOCK_MS = 500
RETRY_WAIT_S = 1.0

_RENEW = "return redis.call('get', KEYS[1]) == ARGV[1] and redis.call('pexpire', KEYS[1], ARGV[2]) or 0"
_RELEASE = "return redis.call('get', KEYS[1]) == ARGV[1] and redis.call('del', KEYS[1]) or 0"


def project_once(client: redis.Redis, block_ms: int = BLOCK_MS, consumer: str = CONSUMER) -> int:
    """Project one batch of the stream; returns the entries taken.

    Entries read before and not acknowledged (a projector that died) come first. They are acknowledged and
    removed only after COMMIT.
    """
    entries = _read(client, consumer, "0", None) or _read(client, consumer, ">", block_ms)
    if not entries:
        return 0
    transitions = [found for _, fields in entries if (found := parse(fields)) is not None]
    apply(transitions)
    ids = [entry_id for entry_id, _ in entries]
    with client.pipeline(transaction=False) as pipe:
        pipe.xack(wire.PRESENCE_STREAM, GROUP, *ids)
        pipe.xdel(wire.PRESENCE_STREAM, *ids)
        pipe.execute()
    return len(entries)


def parse(fields: dict[bytes, bytes]) -> Transition | None:
    """A transition, or None (logged) for an entry that is none."""
    try:
        text = {name.decode(): value.decode() for name, value in fields.items()}
        return Transition(
            state=text["state"],
            identity=text["identity"][:64],
            incarnation=text.get("inc", "")[:32],
            connection=int(text.get("conn") or 0),
            node=text.get("node", "")[:128],
            peer=text.get("peer", "")[:64],
            at=dt.datetime.fromtimestamp(int(text["at_ms"]) / 1000, dt.UTC),
            reason=text.get("reason", ""),
        )
    except (KeyError, ValueError, AttributeError, OverflowError, OSError) as error:
        log.warning("presence_entry_malformed", error=repr(error))
        return None


def apply(transitions: Sequence[Transition]) -> None:
    """Fold transitions, in their order, into rows; one transaction."""
    identities = {transition.identity for transition in transitions}
    with transaction.atomic():
        rows = rows_of(identities)
        strangers: dict[str, list[Transition]] = {}
        for transition in transitions:
            if (row := rows.get(transition.identity)) is not None:
                row.apply(transition)
            elif transition.state == "up":
                strangers.setdefault(transition.identity, []).append(transition)
        store(rows.values())
        note_strangers(strangers)


def drop_dead_nodes(client: redis.Redis) -> int:
    """Make the links of nodes whose key is gone absent; returns how many links."""
    incarnations = present_incarnations()
    if not incarnations:
        return 0
    alive = client.mget([wire.node_key(incarnation) for incarnation in incarnations])
    dead = [incarnation for incarnation, key in zip(incarnations, alive, strict=True) if key is None]
    if not dead:
        return 0
    now = timezone.now()
    present = Link.objects.filter(incarnation__in=dead, state=Link.State.PRESENT)
    dropped = present.update(state=Link.State.ABSENT, reason="node_lost", since=now, last_seen=now)
    log.warning("gateway_node_lost", incarnations=dead, links=dropped)
    return dropped


def adopt_registered(client: redis.Redis) -> int:
    """Links of meters that were registered after they had logged in as unknown peers; returns how many."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT m.id, m.serial FROM meters_unknownpeer u JOIN meters_meter m ON m.serial = u.identity"
            " LIMIT %s",
            [CHUNK],
        )
        meters = cursor.fetchall()
    if not meters:
        return 0
    adopted = _compare(client, meters)
    UnknownPeer.objects.filter(identity__in=[serial for _, serial in meters]).delete()
    return adopted


def reconcile(client: redis.Redis) -> int:
    """Compare every meter's row with the link entries in Redis, mend what differs; returns how many did."""
    mended, last_id = 0, 0
    while True:
        meters = list(Meter.objects.filter(pk__gt=last_id).order_by("pk").values_list("pk", "serial")[:CHUNK])
        if not meters:
            return mended
        mended += _compare(client, meters)
        last_id = meters[-1][0]


def run(stop: threading.Event, client: redis.Redis | None = None) -> None:
    """Project until told to stop. Any number may run: the holder of the lock works, the others wait."""
    if client is None:
        from hes.redis import bus

        client = bus()
    token = uuid.uuid4().hex
    while not stop.is_set():
        try:
            if client.set(LOCK_KEY, token, nx=True, px=LOCK_S * 1000):
                _hold(client, token, stop)
            else:
                stop.wait(WATCH_S)
        except (redis.RedisError, OperationalError, InterfaceError) as error:
            log.warning("presence_interrupted", error=str(error).strip())
            connection.close()
            stop.wait(RETRY_WAIT_S)
    connection.close()


def _hold(client: redis.Redis, token: str, stop: threading.Event) -> None:
    """Work while the lock is ours."""
    try:
        watch_at = reconcile_at = 0.0
        while not stop.is_set() and client.eval(_RENEW, 1, LOCK_KEY, token, LOCK_S * 1000):
            now = time.monotonic()
            if now >= reconcile_at:
                reconcile(client)
                reconcile_at = now + RECONCILE_S
            if now >= watch_at:
                drop_dead_nodes(client)
                adopt_registered(client)
                watch_at = now + WATCH_S
            project_once(client)
    finally:
        client.eval(_RELEASE, 1, LOCK_KEY, token)


def _read(
    client: redis.Redis, consumer: str, after: str, block_ms: int | None
) -> list[tuple[bytes, dict[bytes, bytes]]]:
    try:
        answer: Any = client.xreadgroup(GROUP, consumer, {wire.PRESENCE_STREAM: after}, BATCH, block_ms)
    except redis.ResponseError as error:
        if "NOGROUP" not in str(error):
            raise
        client.xgroup_create(wire.PRESENCE_STREAM, GROUP, id="0", mkstream=True)
        return []
    if not answer:
        return []
    streams = answer.values() if isinstance(answer, dict) else [entries for _, entries in answer]
    # an entry that was trimmed away meanwhile is listed as pending without fields
    return [(entry_id, fields or {}) for entries in streams for entry_id, fields in _flat(entries)]


def _flat(entries: Any) -> Iterator[tuple[bytes, dict[bytes, bytes]]]:
    """The client nests entries once more in RESP3 answers."""
    for entry in entries:
        if isinstance(entry, list) and entry and isinstance(entry[0], (list, tuple)):
            yield from _flat(entry)
        else:
            yield entry[0], entry[1]


def _compare(client: redis.Redis, meters: Sequence[tuple[int, str]]) -> int:
    """Bring the rows of these (id, serial) in line with Redis; returns how many changed."""
    now = timezone.now()
    packed: Any = client.mget([wire.link_key(serial) for _, serial in meters])
    found: dict[str, wire.Link] = {}
    for (_, serial), value in zip(meters, packed, strict=True):
        try:
            if value is not None:
                found[serial] = wire.decode_link(value)
        except wire.WireError as error:
            log.warning("link_entry_malformed", identity=serial, error=str(error))
    incarnations = sorted({link.incarnation for link in found.values()})
    keys: Any = client.mget([wire.node_key(i) for i in incarnations]) if incarnations else []
    alive = {incarnation for incarnation, key in zip(incarnations, keys, strict=True) if key is not None}
    with transaction.atomic():
        rows = rows_of([serial for _, serial in meters])
        for serial, row in rows.items():
            link = found.get(serial)
            if link is not None and link.incarnation in alive:
                if not row.is_link(link.incarnation, link.connection):
                    row.set_present(_as_transition(link, now))
            elif row.state == Link.State.PRESENT:
                row.set_absent(now, "reconciled" if link is None else "node_lost")
        store(rows.values())
    return sum(row.changed for row in rows.values())


def _as_transition(link: wire.Link, at: dt.datetime) -> Transition:
    return Transition("up", link.identity, link.incarnation, link.connection, link.node, link.peer, at, "")
