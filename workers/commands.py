"""Commands: wait for the meter, claim the row once, act, read the state back, write what is certain.

An ACTION is sent at most once. What is not known is told as unknown, never guessed and never repeated.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import math
import random
import time
import uuid
from collections.abc import AsyncIterator
from typing import Any

import structlog
from django.conf import settings
from django.db import DatabaseError, InterfaceError, OperationalError

from dlms.errors import DlmsError
from meters.models import Command
from meters.models.type import Purpose
from workers import command_reads, errors, reading, relay
from workers import command_rows as rows
from workers.contexts import MeterContext
from workers.runner import Runner
from workers.session import Session, open_session

log = structlog.get_logger()

Kind = Command.Kind

LEASE_POLL_S = 0.25
#: How often a waiting worker says on the row that it waits (`command_rows.WAITER_S` is three times that).
WAIT_NOTED_S = 5.0
RELAY_POLL_S = 1.0
PROVE_POLL_S = 1.0
#: A read is confirmed when its rows are stored, or after this, with `stored` false: they wait in the stream.
STORE_WAIT_S = 10.0
#: After a refusal the state is read back for this long: what a meter answers is not always what it does.
REFUSED_WATCH_S = 3.0
#: An outcome is told to a database that is away for this long; later the sweep ends the row.
FINISH_FOR_S = 120.0
FINISH_WAIT_S = 1.0
TAKEN = "COMMAND_TAKEN"
#: A meter that is away when its command comes is waited for at most this long.
OFFLINE_WAIT_S = 10.0
#: A meter that hangs up in each dialog is not called for ever.
LINKS_LOST_MAX = 2
#: Before anything that acts was sent, these are tried again while the command's deadline lasts.
TRY_AGAIN = (errors.BusAway, errors.MeterBusy, errors.LinkQuarantined, errors.GatewayLost, errors.LinkLost)
METHOD_NAME = {relay.REMOTE_DISCONNECT: "remote_disconnect", relay.REMOTE_RECONNECT: "remote_reconnect"}
METHOD = {Kind.RELAY_DISCONNECT: relay.REMOTE_DISCONNECT, Kind.RELAY_RECONNECT: relay.REMOTE_RECONNECT}


async def run(runner: Runner, command_id: uuid.UUID) -> str:
    """Carry one command to its end; returns its state. Safe to call again: the row is claimed once."""
    command = await runner.database.call(rows.load, command_id)
    if command is None or command.state != Command.State.QUEUED:
        return "" if command is None else str(command.state)
    try:
        context = await runner.load_context(command.meter_id)
        return await _until_done(runner, command, context)
    except DlmsError as error:
        return await _end(runner, command, None, error)


@contextlib.asynccontextmanager
async def _claim_kept(runner: Runner, command: Command, token: uuid.UUID) -> AsyncIterator[None]:
    """Renew the row's claim while something goes on for it."""

    async def keep() -> None:
        while True:
            await asyncio.sleep(settings.HES_CLAIM_S / 3)
            with contextlib.suppress(DatabaseError):
                await runner.database.call(rows.renew, command.pk, token)

    keeping = asyncio.get_running_loop().create_task(keep())
    try:
        yield
    finally:
        keeping.cancel()


async def _until_done(runner: Runner, command: Command, context: MeterContext) -> str:
    waiting = Waiting(runner, command)
    while (left_s := rows.seconds_left(command)) > 0:
        if not await waiting.note():
            return "taken"
        attempt = Attempt(runner, command)
        error = await attempt.once(context, left_s)
        if error is not None and attempt.acted:
            return await _prove(runner, command, context, attempt, error)
        if error is None or not waiting.goes_on_after(error):
            return await _end(runner, command, attempt.token, error or attempt.failure, attempt.result)
        if attempt.token is not None:
            await runner.database.call(rows.requeue, command.pk, attempt.token)
        await asyncio.sleep(LEASE_POLL_S * random.uniform(0.7, 1.3))
    return await runner.database.call(rows.expire, command.pk, waiting.last)


class Waiting:
    """A queued command's wait for its meter."""

    def __init__(self, runner: Runner, command: Command) -> None:
        self._runner = runner
        self._command = command
        self._offline_until = time.monotonic() + OFFLINE_WAIT_S
        self._noted_at = -math.inf
        self._links_lost = 0
        self.last: DlmsError | None = None

    async def note(self) -> bool:
        """Say on the row, now and then, that a worker waits; False: it is no longer queued."""
        if time.monotonic() - self._noted_at < WAIT_NOTED_S:
            return True
        self._noted_at = time.monotonic()
        return await self._runner.database.call(rows.wait, self._command.pk)

    def goes_on_after(self, error: DlmsError) -> bool:
        if error.code == TAKEN:
            # By another worker, or by time: the row itself tells, and it may be queued again by now.
            self._noted_at = -math.inf
            return True
        self.last = error
        self._links_lost += isinstance(error, errors.LinkLost)
        self._noted_at = -math.inf if not isinstance(error, errors.MeterBusy) else self._noted_at
        if isinstance(error, errors.MeterOffline):
            return time.monotonic() < self._offline_until
        if self._links_lost > LINKS_LOST_MAX:
            return False
        return isinstance(error, TRY_AGAIN)


class Attempt:
    """One dialog for a command. `acted`: the ACTION may have left; `token`: the row is claimed by us."""

    def __init__(self, runner: Runner, command: Command) -> None:
        self.runner = runner
        self.command = command
        self.token: uuid.UUID | None = None
        self.acted = False
        self.result: dict[str, Any] | None = None
        self.failure: DlmsError | None = None

    async def once(self, context: MeterContext, left_s: float) -> DlmsError | None:
        """One dialog; the error that it ended with, ours included."""
        try:
            async with open_session(self.runner, context, left_s, self.command.kind) as session:
                await self._carry(session)
            await self._wait_stored(session.published)
        except DlmsError as error:
            return error
        except Exception as error:
            return errors.InternalError(repr(error)[:300])
        return None

    async def _carry(self, session: Session) -> None:
        self.token = await self.runner.database.call(rows.claim, self.command.pk)
        if self.token is None:
            raise errors.ConfigurationError("the command was taken or has expired", code=TAKEN)
        async with _claim_kept(self.runner, self.command, self.token):
            if self.command.kind in METHOD:
                await self._switch(session)
            else:
                self.result = await command_reads.read(session, self.command)

    async def _wait_stored(self, published: list[bytes]) -> None:
        """So that who follows the result's link finds the rows; the meter is free meanwhile."""
        if not published or self.result is None or self.token is None:
            return
        async with _claim_kept(self.runner, self.command, self.token):
            self.result["stored"] = await reading.wait_stored(self.runner, published, STORE_WAIT_S)

    async def _switch(self, session: Session) -> None:
        method = METHOD[Kind(self.command.kind)]
        name = session.context.type.disconnect_control
        if name is None:
            raise errors.ConfigurationError("the meter's type has no disconnect control", code="RELAY_NONE")
        connection = await session.associate(Purpose.COMMAND)
        before = await session.run(relay.read_state(connection, name))
        self.result = {"before": before.evidence(), "method": METHOD_NAME[method], "acted": False}
        await self._note(session, before)
        if relay.end_state(method, before.control_mode) is None:
            raise errors.RelayError(
                "control_mode 0: the relay cannot be switched remotely", code="RELAY_MODE"
            )
        if not relay.reached(before, method):
            assert self.token is not None
            # Committed before the ACTION leaves; not_after is looked at again in the same statement.
            if not await self.runner.database.call(rows.mark_acted, self.command.pk, self.token):
                raise errors.ConfigurationError(
                    "the command expired before it could act", code="COMMAND_EXPIRED"
                )
            self.acted = True
            self.result["acted"] = True
            try:
                await session.run(relay.invoke(connection, name, method))
            except DlmsError as error:
                if error.cause_class != "service":
                    raise
                await self._after_refusal(session, name, method, error)
                return
        self.failure = await self.read_back(session, name, method, settings.HES_COMMAND_DEADLINE_S)

    async def _after_refusal(self, session: Session, name: bytes, method: int, refusal: DlmsError) -> None:
        """The meter refused: nothing acted, unless the state shows it. An exception-response is not
        authenticated, and an ACTION may succeed whose return data cannot be had."""
        if await self.read_back(session, name, method, REFUSED_WATCH_S) is not None:
            self.acted = False
            raise refusal

    async def read_back(
        self, session: Session, name: bytes, method: int, within_s: float
    ) -> DlmsError | None:
        """Read until the end state of the control mode is seen, or the time is up.

        A command may wait for its meter for days, but once it has acted it must not hold the meter so long.
        """
        assert self.result is not None
        until = min(session.deadline, time.monotonic() + within_s)
        while True:
            connection = await session.associate(Purpose.COMMAND)
            state = await session.run(relay.read_state(connection, name))
            self.result["after"] = state.evidence()
            self.result["read_back_at"] = reading.iso_z(dt.datetime.now(dt.UTC))
            if relay.reached(state, method):
                await self._note(session, state)
                return None
            if until - time.monotonic() < 2 * RELAY_POLL_S:
                await self._note(session, state)
                return errors.RelayError(
                    f"output_state {state.output_state}, control_state {state.control_state} at the deadline"
                )
            await asyncio.sleep(RELAY_POLL_S)

    async def _note(self, session: Session, state: relay.RelayState) -> None:
        await self.runner.database.call(rows.note_relay, session.context.meter_id, state)


async def _prove(
    runner: Runner, command: Command, context: MeterContext, attempt: Attempt, cause: DlmsError
) -> str:
    """The ACTION may have left but the dialog broke: only reading the state back tells. Nothing is sent
    again."""
    method = METHOD[Kind(command.kind)]
    name = context.type.disconnect_control
    assert name is not None
    assert attempt.token is not None
    async with _claim_kept(runner, command, attempt.token):
        until = time.monotonic() + min(rows.seconds_left(command), settings.HES_COMMAND_DEADLINE_S)
        while (left_s := until - time.monotonic()) > 0:
            try:
                async with open_session(runner, context, left_s, f"{command.kind}.prove") as session:
                    failure = await attempt.read_back(session, name, method, left_s)
                return await _end(runner, command, attempt.token, failure, attempt.result)
            except errors.LinkQuarantined:
                await _cut(runner, context)
            except DlmsError as error:
                log.info("read_back_failed", meter=context.serial, code=error.code)
            await asyncio.sleep(PROVE_POLL_S)
    unproven = errors.RelayUnproven(f"the ACTION was sent; its dialog ended with {cause}")
    return await _finish(
        runner, command, attempt.token, Command.State.UNKNOWN, attempt.result, unproven.code, unproven.detail
    )


async def _cut(runner: Runner, context: MeterContext) -> None:
    try:
        async with open_session(runner, context, 5.0, "cut") as session:
            await session.cut()
    except DlmsError as error:
        log.info("link_not_cut", meter=context.serial, code=error.code)


async def _end(
    runner: Runner,
    command: Command,
    token: uuid.UUID | None,
    error: DlmsError | None,
    result: dict[str, Any] | None = None,
) -> str:
    result = result if result is not None else getattr(error, "result", None)
    state = Command.State.CONFIRMED if error is None else Command.State.FAILED
    code, detail = (error.code, error.detail) if error else ("", "")
    return await _finish(runner, command, token, state, result, code, detail)


async def _finish(
    runner: Runner,
    command: Command,
    token: uuid.UUID | None,
    state: str,
    result: dict[str, Any] | None,
    code: str,
    detail: str,
) -> str:
    """Write the outcome down, also when the database is away for a while."""
    until = time.monotonic() + FINISH_FOR_S
    while True:
        try:
            return await runner.database.call(rows.finish, command.pk, token, state, result, code, detail)
        except (OperationalError, InterfaceError):
            if time.monotonic() > until:
                raise
        await asyncio.sleep(FINISH_WAIT_S)
