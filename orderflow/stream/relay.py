"""The relay: what the outbox holds goes to Kafka, each order's events in order, at least once.

One leader per database by a lease; others stand by. Two leaders for a moment are harmless: each sends an order's next
event only when the one before it is on Kafka, so what they send twice are duplicates.

A record that Kafka refuses has its order parked. Several orders parked within a minute are the topic's fault or a
clock's: nothing more is parked then (``held.py``), and the relay is not ready until what it refused goes through.

Where Kafka has lost what it had acknowledged (``truncation.py``) the partition is stopped: its orders wait, the others
go on, and the relay is not ready until the missing events are back in the outbox.
"""

import asyncio
from collections.abc import Callable
from uuid import uuid4

import structlog

from orderflow.domain.errors import Unavailable
from orderflow.pauses import Backoff, pause
from orderflow.store import outbox, truncation
from orderflow.store.database import Database
from orderflow.store.outbox import Entry, Published
from orderflow.stream.held import HeldOrders
from orderflow.stream.publisher import Publisher, RoundOutcome
from orderflow.telemetry.metrics import RELAY_FAILURES
from orderflow.telemetry.origin import about_order
from orderflow.telemetry.readiness import PartKind, PartState

#: What the relay relies on: NOTIFY only makes it faster.
POLL_SECONDS = 1.0
#: How soon a partition goes on after its repair.
SEE_STOPS_SECONDS = 1.0
#: The same while none stands: who stops one is this very process, or an operator.
SEE_NO_STOPS_SECONDS = 5.0
#: How long a round under way may go on after a stop.
STOP_SECONDS = 5.0


class Relay:
    """Publishes the outbox of ``service``'s database.

    ``lease_seconds``: another relay takes over when this one is silent for so long; it renews five times as often.
    ``pacing_seconds``: the least time between two rounds. The first event goes at once, and under load a round grows.
    ``report`` is told how it stands: OK is leading or standing by, and able to; STOPPED has stopped partitions.
    """

    def __init__(
        self,
        service: str,
        database: Database,
        publisher: Publisher,
        *,
        lease_seconds: float,
        pacing_seconds: float,
        batch_size: int,
        report: Callable[[PartState], None],
    ) -> None:
        self._database = database
        self._publisher = publisher
        self._lease_seconds = lease_seconds
        self._pacing_seconds = pacing_seconds
        self._batch_size = batch_size
        self._report = report
        self._service = service
        self._holder = str(uuid4())
        self._leads_until = 0.0
        self._lease_answered = False
        self._unrecorded: list[Published] = []
        self._held = HeldOrders()
        self._see_stops_at = 0.0
        self._wake = asyncio.Event()
        self._log = structlog.get_logger(__name__).bind(database=database.name)

    @property
    def leads(self) -> bool:
        """Whether the lease is ours, as far as we know. The clock goes on while the process is frozen."""
        return asyncio.get_running_loop().time() < self._leads_until

    @property
    def held_orders(self) -> int:
        """How many orders are held back: Kafka refuses them, and they are too many to be parked."""
        return len(self._held) if self.leads else 0

    async def run(self, stopping: asyncio.Event) -> None:
        """Publish until ``stopping`` is set; then finish the round, give the lease back and close the producer."""
        rounds = asyncio.create_task(self._publish(stopping))
        others = [asyncio.create_task(self._lead()), asyncio.create_task(self._database.listening(self._wake.set))]
        try:
            await stopping.wait()
            self._wake.set()
            await asyncio.wait([rounds], timeout=STOP_SECONDS)
        finally:
            # What a cancelled round had sent is sent again by the next leader.
            for task in (rounds, *others):
                task.cancel()
            await asyncio.gather(rounds, *others, return_exceptions=True)
            await self._publisher.close()
            if self.leads:
                try:
                    await outbox.release_lease(self._database, self._holder)
                except Unavailable:
                    self._log.info("lease_not_released")  # it runs out by itself

    async def _lead(self) -> None:
        """Take the lease, and keep it."""
        clock = asyncio.get_running_loop().time
        while True:
            asked_at = clock()
            try:
                held = await outbox.hold_lease(self._database, self._holder, self._lease_seconds)
            except Exception as error:
                # Not renewed, not lost: the time that the last answer gave us runs on.
                self._lease_answered = False
                self._failed("lease", error)
            else:
                self._lease_answered = True
                if held and not self.leads:
                    self._log.info("leading")
                    self._wake.set()
                elif self.leads and not held:
                    self._log.warning("lease_lost")
                self._leads_until = asked_at + self._lease_seconds if held else 0.0
            await asyncio.sleep(self._lease_seconds / 5)

    async def _publish(self, stopping: asyncio.Event) -> None:
        clock = asyncio.get_running_loop().time
        backoff = Backoff()
        while not stopping.is_set():
            started_at = clock()
            self._wake.clear()
            try:
                read = await self._round()
            except Exception as error:
                # Postgres or Kafka away, or a bug: what is pending stays pending.
                self._failed("round", error)
                await pause(backoff.next(), stopping)
                continue
            backoff.reset()
            if read == 0:
                await pause(POLL_SECONDS, self._wake)
            elif read < self._batch_size:
                await pause(started_at + self._pacing_seconds - clock(), stopping)

    async def _round(self) -> int:
        """One round: how many entries were read. Raises what stood in the way, after all that was done is recorded."""
        await self._record()
        await self._see_stops()
        if not self.leads:
            await self._publisher.open()  # ready to take over, or it says why not
            if self._lease_answered:
                self._report(PartState(PartKind.OK, self._publisher.drift))
            return 0
        entries = await outbox.pending(self._database, self._batch_size, self._held.left_out())
        if not entries:
            await self._publisher.open()
        outcome = await self._publisher.publish(entries)
        self._unrecorded += outcome.published
        await self._record()
        await self._set_aside(outcome)
        await self._let_wait(entries)
        if outcome.error is not None:
            raise outcome.error
        self._report(self._state())
        return len(entries)

    async def _set_aside(self, outcome: RoundOutcome) -> None:
        """Park the orders of refused records; hold them back where they are too many for it to be their fault."""
        for entry, reason in outcome.refused:
            about = about_order(entry.order_id, entry.correlation_id, entry.traceparent)
            if await outbox.park(self._database, entry, reason):
                self._log.error("order_parked", **about, version=entry.version, error=reason)
            else:
                if not self._held:
                    self._log.error("parking_suspended", **about, version=entry.version, error=reason)
                self._held.hold(entry.order_id, reason)
        published = {one.entry.order_id for one in outcome.published}
        self._held.sent(published, everything_answered=outcome.error is None and not outcome.left_out)

    async def _see_stops(self) -> None:
        """Now and again: which partitions stand still by now. Not beside a publication, which may know better."""
        clock = asyncio.get_running_loop().time
        if clock() > self._see_stops_at:
            self._publisher.stopped = await truncation.stopped(self._database)
            self._see_stops_at = clock() + (SEE_STOPS_SECONDS if self._publisher.stopped else SEE_NO_STOPS_SECONDS)

    async def _let_wait(self, entries: list[Entry]) -> None:
        """Have the orders of partitions that stand still left out of the next rounds, so that others are read."""
        if not self._publisher.stopped:
            return
        partitions = {entry.order_id: self._publisher.partition_of(entry.order_id) for entry in entries}
        waiting = {order: number for order, number in partitions.items() if number in self._publisher.stopped}
        if waiting:
            self._publisher.stopped = await truncation.let_wait(self._database, waiting)

    def _state(self) -> PartState:
        """How the leader stands."""
        if self._held:
            return PartState(
                PartKind.WAITING,
                f"Kafka refuses records of {len(self._held)} orders, and of others that are parked: too many to be the "
                f"orders' fault, so nothing more is parked ({self._held.reason}). Mend the topic's limits or this "
                "machine's clock, then `orderflow outbox unpark --all`",
            )
        if not self._publisher.stopped:
            return PartState(PartKind.OK, self._publisher.drift)
        numbers = ", ".join(map(str, sorted(self._publisher.stopped)))
        lost = (
            "what was acknowledged there is gone (Kafka lost it, or the topic was made anew); `orderflow doctor` says"
        )
        return PartState(PartKind.STOPPED, f"stopped partitions: {numbers}. {lost}")

    async def _record(self) -> None:
        """Move what Kafka has acknowledged to the publications; kept, while the database is away."""
        if self._unrecorded:
            await outbox.acknowledge(self._database, self._unrecorded)
            self._unrecorded = []

    def _failed(self, what: str, error: Exception) -> None:
        RELAY_FAILURES.add(self._service, what)
        self._report(PartState(PartKind.WAITING, f"{what}: {type(error).__name__}: {error}"))
        self._log.warning("relay_tries_again", what=what, error=repr(error))
