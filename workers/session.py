"""One dialog with one meter: lease, link, association, effects carried over the bus, and the line that tells
of it.

Owns the order of things: lease before link, counters before frames, and on every way out the lease is given
back.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

import structlog

from dlms import client
from dlms.connection import Connection, Counters, Settings, State
from dlms.effects import Dialog, Pause, Receive, Send
from dlms.errors import AssociationRejected, DlmsError, InvocationCounterError, RemoteProtocolError
from gateway import wire
from meters.counters import Block
from meters.models import Association
from meters.models.type import Purpose
from workers import contexts, errors
from workers.contexts import MeterContext

if TYPE_CHECKING:
    from workers.runner import Runner

log = structlog.get_logger()

T = TypeVar("T")

#: A meter that hangs up after a release is waited for this long, where the dialog goes on.
REDIAL_S = 15.0
REDIAL_POLL_S = 0.25


@dataclass(slots=True)
class Session:
    """An open lease on a meter and, after `associate`, an open association. Used by one task at a time."""

    runner: Runner
    context: MeterContext
    link: wire.Link
    token: int
    deadline: float
    connection: Connection | None = None
    association: Association | None = None
    round_trips: int = 0
    bytes_sent: int = 0
    bytes_received: int = 0
    ciphered: bool = False
    received: dict[str, int] = field(default_factory=dict)
    #: the counters that the newest association began with
    block: Block | None = None
    #: ids of the stream entries that this dialog's readings became
    published: list[bytes] = field(default_factory=list)
    lost: DlmsError | None = field(default=None)
    #: a release was sent on this link: some meters hang up then
    released: bool = False

    @property
    def remaining_s(self) -> float:
        return self.deadline - time.monotonic()

    async def associate(self, purpose: Purpose) -> Connection:
        """Associate as the client that serves `purpose`; recovers once from a counter the meter refuses."""
        return await self.associate_as(self.context.association_for(purpose))

    async def associate_as(self, association: Association) -> Connection:
        if (
            self.association is not None
            and self.association.pk == association.pk
            and self.connection is not None
        ):
            return self.connection
        await self.release()
        try:
            return await self._associate(association, first_try=True)
        except InvocationCounterError as error:
            hint = error.expected if error.expected is not None else await self._hint_after(error)
            if not await self._raise_counter(
                hint, "exception-response" if error.expected is not None else "public read"
            ):
                raise
        except AssociationRejected as error:
            # Many meters reject where they mean the counter; the public client tells which it was.
            if association.ciphering == Association.Ciphering.NONE:
                raise
            hint = await self._hint_after(error)
            if not await self._raise_counter(hint, "rejected, public read", spent=1):
                raise
        return await self._associate(association, first_try=False)

    async def _associate(self, association: Association, *, first_try: bool) -> Connection:
        settings = self.context.connection_settings(association)
        counters = Counters(0, 0)
        keyed = bool(settings.encryption_key)
        highest: int | None = None
        if keyed:
            reserved = await self._reserve()
            # A meter never heard under this key may hold any counter, and some do not say so when they refuse
            # one: ask it over the public client until a first ciphered reply was accepted.
            never_heard = reserved.block.first_contact or (settings.ciphered and reserved.received is None)
            unknown = first_try and never_heard
            if unknown and await self._raise_counter(await self._public_counter(), "first contact"):
                reserved = await self._reserve()
            counters = contexts.counters_of(reserved.block)
            known = [reserved.received, *self.received.values()]
            highest = max((counter for counter in known if counter is not None), default=None)
        connection = await self._open(settings, counters, highest)
        self.connection, self.association = connection, association
        if keyed and settings.ciphered:
            self.ciphered = True
            await self.runner.bus.tell(self.link, self.context.server_address, self.token, wire.Kind.PROVEN)
        return connection

    async def _reserve(self) -> contexts.Reserved:
        reserved = await self.runner.reserve(self.context)
        self.block = reserved.block
        return reserved

    async def _open(self, settings: Settings, counters: Counters, highest: int | None) -> Connection:
        """Associate. A meter that hung up after the release before is waited for, once."""
        connection = Connection(settings, counters, highest)
        try:
            await self.run(client.associate(connection), connection)
        except errors.LinkLost as error:
            if not self.released:
                raise
            await self._wait_for_redial(error)
            connection = Connection(settings, counters, connection.received_counter)
            await self.run(client.associate(connection), connection)
        return connection

    async def _wait_for_redial(self, cause: DlmsError) -> None:
        """Go on over the meter's next link. Raises `cause` where there is none in time."""
        self.released = False
        gone = (self.link.incarnation, self.link.connection)
        until = time.monotonic() + min(REDIAL_S, self.remaining_s)
        while time.monotonic() < until:
            with contextlib.suppress(errors.MeterOffline):
                link = await self.runner.bus.find_link(self.context.serial)
                if (link.incarnation, link.connection) != gone:
                    self.link = link
                    return
            await asyncio.sleep(REDIAL_POLL_S)
        raise cause

    async def _hint_after(self, refusal: DlmsError) -> int | None:
        """The meter's counter over the public client; where the link does not serve, the refusal stands."""
        try:
            return await self._public_counter()
        except (errors.CarriageError, RemoteProtocolError) as error:
            log.info("counter_unreadable", meter=self.context.serial, code=error.code)
            raise refusal from error

    async def _public_counter(self) -> int | None:
        """The meter's own counter over the public client: a hint, or None where it offers none."""
        logical_name = self.context.type.invocation_counter
        if logical_name is None:
            return None
        try:
            association = self.context.association_for(Purpose.PUBLIC)
        except errors.ConfigurationError:
            return None
        value: object = None
        connection: Connection | None = None
        try:
            connection = await self._open(self.context.connection_settings(association), Counters(0, 0), None)
            value = (await self.run(client.get(connection, 1, logical_name, 2), connection)).value
        except (errors.CarriageError, RemoteProtocolError):
            # A broken link, or a meter whose frames are broken: the dialog cannot go on over it.
            raise
        except DlmsError as error:
            log.info("counter_unreadable", meter=self.context.serial, code=error.code)
        if connection is not None and connection.state is State.ASSOCIATED:
            await self._release(connection)
        return value if isinstance(value, int) else None

    async def _raise_counter(self, hint: int | None, cause: str, spent: int = 0) -> bool:
        """Whether the next block lies above the meter's hint; our counter is lifted where it must be.

        `spent`: so many counters of the block in use the meter may have taken before it told the hint.
        """
        if hint is None:
            return False
        if await self.runner.raise_counter(self.context, hint + 1, cause):
            return True
        block = self.block
        return block is not None and block.start + spent <= hint < block.start + block.count

    async def release(self) -> None:
        """End the association, where there is one."""
        connection, self.connection, self.association = self.connection, None, None
        if connection is not None:
            await self._release(connection)

    async def _release(self, connection: Connection) -> None:
        """End an association politely; a meter that does not answer, or hangs up, is no error."""
        self.released = True
        try:
            await self.run(client.release(connection), connection)
        except errors.DialogDeadline:
            return
        except errors.DialogTimeout:
            # The address is in quarantine and the link lost in any case: the sooner the meter dials in anew.
            await self.cut()
        except DlmsError as error:
            log.debug("release_unanswered", meter=self.context.serial, code=error.code)

    def _note_received(self, connection: Connection) -> None:
        title = connection.meter_system_title
        if connection.received_counter is not None and title:
            highest = max(connection.received_counter, self.received.get(title.hex(), -1))
            self.received[title.hex()] = highest

    async def keep_received(self) -> None:
        """Write the counters received down; called while the lease is still held."""
        for title, counter in self.received.items():
            try:
                await self.runner.keep_received((self.context.key_id, title, counter))
            except Exception as error:
                log.warning("received_counter_not_kept", meter=self.context.serial, error=str(error).strip())
        if self.ciphered and self.context.system_title is None and len(self.received) == 1:
            await self.runner.learn_title(self.context, next(iter(self.received)))

    async def run(self, dialog: Dialog[T], connection: Connection | None = None) -> T:
        """Carry a dialog's effects to their end. Every wait takes what is left of the deadline."""
        connection = connection or self.connection
        frames: list[bytes] = []
        answer: bytes | None = None
        try:
            while True:
                if connection is not None and connection.settings.encryption_key:
                    await self._top_up(connection.counters)
                try:
                    effect = dialog.send(answer)
                except StopIteration as end:
                    if frames:
                        await self._exchange(frames, self.remaining_s, wire.Expect.NONE)
                    return end.value  # type: ignore[no-any-return]
                answer = None
                match effect:
                    case Send(frame):
                        frames.append(frame)
                    case Receive(timeout_s):
                        answer = (await self._exchange(frames, timeout_s, wire.Expect.ONE))[0]
                        frames = []
                    case Pause(seconds):
                        await asyncio.sleep(min(seconds, max(0.0, self.remaining_s)))
        finally:
            dialog.close()
            if connection is not None:
                self._note_received(connection)

    async def _exchange(self, frames: list[bytes], timeout_s: float, expect: wire.Expect) -> list[bytes]:
        if self.context.type.request_pause_s and self.round_trips and frames:
            await asyncio.sleep(self.context.type.request_pause_s)
        if self.lost is not None:
            raise self.lost
        left = self.remaining_s
        if left <= 0:
            raise errors.DialogDeadline(f"after {self.round_trips} round trips")
        try:
            replies = await self.runner.bus.exchange(
                self.link, self.context.server_address, self.token, frames, min(timeout_s, left), expect
            )
        except errors.DialogTimeout as error:
            if left < timeout_s and not isinstance(error, errors.DialogDeadline):
                raise errors.DialogDeadline(f"after {self.round_trips} round trips") from None
            raise
        self.round_trips += 1
        self.bytes_sent += sum(map(len, frames))
        self.bytes_received += sum(map(len, replies))
        return replies

    async def _top_up(self, counters: Counters) -> None:
        if counters.remaining < contexts.LOW:
            block = (await self.runner.reserve(self.context)).block
            counters.extend(block.start, block.count)

    async def cut(self) -> None:
        """Cut the link: the meter dials in anew, and nothing late can reach anybody."""
        await self.runner.bus.tell(self.link, self.context.server_address, self.token, wire.Kind.CUT)


@contextlib.asynccontextmanager
async def open_session(
    runner: Runner, context: MeterContext, deadline_s: float, task: str
) -> AsyncIterator[Session]:
    """Lease and link of a meter for one dialog of at most `deadline_s`. Raises MeterBusy, MeterOffline.

    Cancelling the owner (the lease was lost, the process drains) ends the dialog; the lease is given back
    always.
    """
    started = time.monotonic()
    token = await runner.leases.acquire(context.meter_id)
    session: Session | None = None
    code = ""
    detail = ""
    try:
        link = await runner.bus.find_link(context.serial)
        session = Session(runner, context, link, token, started + deadline_s)
        runner.leases.watch(context.meter_id, session)
        yield session
        await session.release()
    except DlmsError as error:
        code, detail = error.code, error.detail
        raise
    except asyncio.CancelledError:
        code = "CANCELLED"
        raise
    except Exception as error:
        code, detail = errors.InternalError.code, repr(error)
        log.exception("dialog_crashed", meter=context.serial, task=task)
        raise
    finally:
        if session is not None:
            await session.keep_received()
        await runner.leases.release(context.meter_id, token)
        log.info(
            "dialog_ended",
            meter=context.serial,
            task=task,
            outcome=code or "ok",
            detail=detail,
            duration_ms=int((time.monotonic() - started) * 1000),
            node=session.link.node if session else "",
            round_trips=session.round_trips if session else 0,
            bytes_sent=session.bytes_sent if session else 0,
            bytes_received=session.bytes_received if session else 0,
        )
