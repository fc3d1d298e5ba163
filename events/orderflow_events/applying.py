"""A batch of records becomes effects in the database, or dead letters: what one member does between two offset commits.

A batch is one transaction. When something in it fails, its events go one by one, in their order, each in a
transaction of its own, so that only what is broken is tried again and in the end set aside. What is no event is set
aside in one go with the others of its batch: however many there are, they slow nobody down for long.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from datetime import datetime
from typing import TypeAlias

from aiokafka import ConsumerRecord
from asyncpg import InFailedSQLTransactionError, InterfaceError

from orderflow_events._pauses import Backoff, pause
from orderflow_events.database_errors import fault_of
from orderflow_events.dead_letters import (
    Accept,
    Arrival,
    DeadLetter,
    Passed,
    causes_since,
    held,
    moment_ago,
    set_aside,
    set_aside_unreadable,
)
from orderflow_events.envelope import Envelope
from orderflow_events.failures import Failure, Interruption, Retries, Stopped, Transient, sentence
from orderflow_events.inbox import Connection, Gap, applied, claim
from orderflow_events.states import OK, ConsumerState, StateKind

#: What a batch of new events does, inside the transaction that the connection is in.
Effect: TypeAlias = Callable[[Connection, Sequence[Envelope]], Awaitable[None]]
#: Lends a connection, such as ``pool.acquire``.
Connect: TypeAlias = Callable[[], AbstractAsyncContextManager[Connection]]

log = logging.getLogger(__name__)


def each(effect: Callable[[Connection, Envelope], Awaitable[None]]) -> Effect:
    """An effect of one event as an effect of a batch."""

    async def apply(connection: Connection, envelopes: Sequence[Envelope]) -> None:
        for envelope in envelopes:
            await effect(connection, envelope)

    return apply


@asynccontextmanager
async def borrowed(connect: Connect) -> AsyncIterator[Connection]:
    """A connection; closed where it shows that its server is no primary any more, so that a pool gives another."""
    async with connect() as connection:
        try:
            yield connection
        except Exception as error:
            if fault_of(error).ends_connection:
                with suppress(InterfaceError):  # the server has ended it, and the pool has it back
                    connection.terminate()
            raise


@asynccontextmanager
async def transaction(connect: Connect, transient: Transient) -> AsyncIterator[Connection]:
    """A transaction on a borrowed connection. Raises Interruption for every error that is not the body's own."""
    own: Exception | None = None
    try:
        async with borrowed(connect) as connection:
            began = False
            try:
                async with connection.transaction():
                    began = True
                    yield connection
            except Exception as error:
                if began and not connection.is_closed() and (_follows_a_swallowed(error) or not transient(error)):
                    own = error
                raise
    except Exception as error:
        if error is own:
            raise
        raise Interruption(sentence(error)) from error


def _follows_a_swallowed(error: BaseException) -> bool:
    """In a transaction that has begun, this one says that the body went on after an error of an earlier statement."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, InFailedSQLTransactionError):
            return True
        cause = cause.__cause__
    return False


class Applier:
    """Applies batches for one group. The hooks are the consumer's."""

    def __init__(
        self,
        *,
        group: str,
        connect: Connect,
        effect: Effect,
        accept: Accept,
        retries: Retries,
        strict_gaps: bool,
        transient: Transient,
        on_gap: Callable[[Gap], None],
        on_dead_letter: Callable[[DeadLetter], None],
        on_passed: Callable[[Passed], None],
        on_state: Callable[[ConsumerState], None],
    ) -> None:
        self._group = group
        self._connect = connect
        self._effect = effect
        self._accept = accept
        self._retries = retries
        self._strict_gaps = strict_gaps
        self._transient = transient
        self._on_gap = on_gap
        self._on_dead_letter = on_dead_letter
        self._on_passed = on_passed
        self._on_state = on_state

    async def apply(self, records: Sequence[ConsumerRecord], stopping: asyncio.Event) -> Sequence[DeadLetter] | None:
        """Apply or set aside every one of ``records``, as often as it takes.

        Returns those that stand among the dead letters now, in order: they are not in the dead-letter topic yet, or may
        not be. None: ``stopping`` was set before all was done.
        """
        arrivals = [Arrival.of(record, self._accept) for record in records]
        backoff = Backoff()
        while True:
            try:
                letters = await self._together(arrivals)
            except Interruption as error:
                self._say(error)
                if await pause(backoff.next(), stopping):
                    return None
            except Exception as error:
                log.warning("something in a batch of %d records fails: one by one", len(arrivals), exc_info=error)
                break
            else:
                self._on_state(OK)
                return letters
        letters = []
        unreadable = [arrival for arrival in arrivals if arrival.error]
        for group in ([unreadable] if unreadable else []) + [[arrival] for arrival in arrivals if not arrival.error]:
            done = await self._apart(group, stopping)
            if done is None:
                return None
            letters += done
        self._on_state(OK)
        return letters

    async def _together(self, arrivals: Sequence[Arrival]) -> list[DeadLetter]:
        """One transaction: what is new takes effect; what belongs to a held order, or is no event, is set aside."""
        unreadable = [a for a in arrivals if a.error]
        aside: list[DeadLetter | Passed] = []
        async with transaction(self._connect, self._transient) as connection:
            on_hold = await held(connection, self._group, {a.subject for a in arrivals if a.subject})
            free = [a for a in arrivals if a.subject not in on_hold]
            fresh, gaps = await claim(connection, self._group, [a.envelope for a in free if a.envelope])
            if gaps and self._strict_gaps:
                gap = gaps[0]
                raise Stopped(f"stopped at a gap: {gap.envelope.id} came, and of its order only up to {gap.last_seen}")
            if fresh:
                await self._effect(connection, fresh)
            followers = await self._follow(connection, [a for a in arrivals if a.subject in on_hold])
            if unreadable:
                aside = await set_aside_unreadable(connection, self._group, unreadable)
        for gap in gaps:
            self._on_gap(gap)
        return self._without_passed(followers) + self._told(self._without_passed(aside))

    def _told(self, unreadable: list[DeadLetter]) -> list[DeadLetter]:
        """The same. A line in the log for all of them: they may be many."""
        if unreadable:
            first = unreadable[0]
            log.error("set aside, as no events: %d records, the first: %s: %s", len(unreadable), first, first.reason)
        for letter in unreadable:
            self._on_dead_letter(letter)
        return unreadable

    def _without_passed(self, found: Sequence[DeadLetter | Passed]) -> list[DeadLetter]:
        """The dead letters in ``found``; those that could not be written are told, after the commit."""
        for one in found:
            if isinstance(one, Passed):
                self._on_passed(one)
        return [one for one in found if isinstance(one, DeadLetter)]

    async def _follow(self, connection: Connection, arrivals: Sequence[Arrival]) -> list[DeadLetter | Passed]:
        if not arrivals:
            return []
        done = await applied(connection, self._group, [a.envelope for a in arrivals if a.envelope])
        letters: list[DeadLetter | Passed] = []
        for arrival in arrivals:
            event = arrival.envelope
            if event and (event.source, str(event.order_id), event.version) in done:
                continue
            failure = Failure("an earlier event of its order is a dead letter")
            letters.append(await set_aside(connection, self._group, arrival, "follows", failure))
        return letters

    async def _apart(self, arrivals: Sequence[Arrival], stopping: asyncio.Event) -> list[DeadLetter] | None:
        """One event, tried as often as it may be; or all that are no events, which only an outage can hold up."""
        failure = Failure()
        retries = self._retries
        pauses = Backoff(retries.first_pause_seconds, retries.longest_pause_seconds)
        since: datetime | None = None
        while True:
            try:
                return await self._together(arrivals)
            except (Interruption, Stopped) as error:
                self._say(error)
            except Exception as error:
                failure.add(error)
                self._say(error)
                if failure.attempts >= retries.attempts and not arrivals[0].error:
                    # The window's beginning stays: a stopped consumer does not go on because time has passed.
                    letters, since = await self._give_up(arrivals[0], failure, since)
                    if letters is not None:
                        return letters
            if await pause(pauses.next(), stopping):
                return None

    async def _give_up(
        self, arrival: Arrival, failure: Failure, since: datetime | None
    ) -> tuple[list[DeadLetter] | None, datetime | None]:
        """Set an event aside whose effect fails, unless the limit forbids it or the database is away (None).

        ``since``: when the window of the limit began, by the database's clock; it comes back. None: not known yet.
        """
        try:
            async with transaction(self._connect, self._transient) as connection:
                letter = await set_aside(connection, self._group, arrival, "failed", failure)
                since = since or await moment_ago(connection, self._retries.window)
                if await causes_since(connection, self._group, since) > self._retries.limit:
                    name = arrival.envelope.id if arrival.envelope else f"offset {arrival.record.offset}"
                    raise Stopped(  # and what was set aside here is rolled back
                        f"stopped: {self._retries.limit} dead letters since {since:%Y-%m-%d %H:%M:%S} UTC are the "
                        f"limit, and {name} fails: {failure.reason}"
                    )
        except Exception as error:  # nothing is lost: the event is tried again
            self._say(error)
            return None, since
        if isinstance(letter, Passed):
            return self._without_passed([letter]), since
        log.error("set aside after %d attempts: %s: %s", letter.attempts, letter, letter.reason)
        self._on_dead_letter(letter)
        return [letter], since

    def _say(self, error: Exception) -> None:
        if isinstance(error, Stopped):
            state = ConsumerState(StateKind.STOPPED, str(error))
        else:
            state = ConsumerState(StateKind.FAILING, f"cannot apply: {sentence(error)}")
        self._on_state(state)
        log.warning("%s", state.detail, exc_info=None if isinstance(error, Stopped) else error)
