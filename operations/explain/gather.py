"""Reading all that is known of one order, each source by itself: one that is away costs its own lines only.

Everything is asked at once, and nobody waits longer than ``ANSWER_SECONDS`` for any of them.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeVar
from uuid import UUID

from operations.explain import lines as say
from operations.explain.causes import Source
from operations.explain.facts import Facts, Money, OutboxState, StoryLine, Tracked
from operations.explain.memory import Memory
from operations.explain.runs import RunReader, asking
from orderflow.domain.access import EVERYONE
from orderflow.domain.errors import Unavailable
from orderflow.domain.orders import OrderStatus
from orderflow.gateways.client import GatewayClient
from orderflow.gateways.lookup import GatewayPayment, look_up
from orderflow.postgres.databases import open_databases
from orderflow.settings import Service, Settings
from orderflow.store import reconciliation, tracking, truncation
from orderflow.store import trail as trails
from orderflow.store.database import Database
from orderflow.store.handovers import Handovers, PendingHandover
from orderflow.store.order_views import OrderViews
from orderflow.store.reconciliation import OrderFact, PaymentFact, ReservationFact
from orderflow.stream.pulse import kafka_error

#: Above a slow answer, below an operator's patience.
ANSWER_SECONDS: Final = 5.0
#: A source that gave no answer is left alone so long, when many orders are looked at.
AWAY_SECONDS: Final = 20.0
#: What the workflow calls a ship whose payment the gateway would not capture.
CAPTURE_REFUSED: Final = "capture_refused"

T = TypeVar("T")


@dataclass
class Found:
    """One order: the facts for a verdict, and its lines in order of time."""

    facts: Facts
    lines: list[StoryLine] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Service:
    """What one database said. ``row``: the order's, the payment's or the reservation's."""

    trail: trails.Trail
    row: Any = None
    reason: str | None = None
    handover: PendingHandover | None = None
    tracked: tracking.TrackedOrder | None = None
    set_aside: trails.SetAside | None = None


class Sources:
    """Everything that can be asked. Open it once: ``async with open_sources(settings) as sources``."""

    def __init__(
        self,
        settings: Settings,
        databases: dict[Service, Database],
        gateway: GatewayClient,
        runs: RunReader,
        remember_seconds: float = 0.0,
    ) -> None:
        """``remember_seconds``: how long what is the same for all orders, such as who polls, is not asked again."""
        self.settings = settings
        self.databases = databases
        self.gateway = gateway
        self.runs = runs
        self._remembered = Memory(remember_seconds)

    async def gather(self, order_id: UUID) -> Found:
        """One order, from everywhere. Never raises for a source that is away: ``Facts.unread`` names it."""
        unread: dict[Source, str] = {}
        complaints: dict[Source, str] = {}
        run, orders, payments, inventory, paid = await asyncio.gather(
            self._read("temporal", unread, complaints, lambda: self.runs.read(order_id)),
            self._read("orders", unread, complaints, lambda: self._orders(order_id)),
            self._read("payments", unread, complaints, lambda: self._payments(order_id)),
            self._read("inventory", unread, complaints, lambda: self._inventory(order_id)),
            self._read("gateway", unread, complaints, lambda: self._gateway(order_id)),
        )
        queues = await self._read(
            "temporal", unread, complaints, lambda: self._remembered.ask("queues", self.runs.queues)
        )
        found: dict[Service, _Service | None] = {"orders": orders, "payments": payments, "inventory": inventory}
        outboxes = tuple(_outbox_state(service, said) for service, said in found.items() if said is not None)
        facts = Facts(
            order_id=order_id,
            now=next((said.trail.relay.now for said in found.values() if said is not None), datetime.now(UTC)),
            unread=unread,
            complaints=complaints,
            run=run.run if run else None,
            order=orders.row if orders else None,
            reason=orders.reason if orders else None,
            refused_ship=_refused_ship(orders.trail) if orders else None,
            handover=orders.handover if orders else None,
            expires_at=self._expires_at(orders.row) if orders else None,
            payment=payments.row if payments else None,
            reservation=inventory.row if inventory else None,
            money=_money(paid),
            queues=queues or {},
            outboxes=outboxes,
            tracked=_tracked(found),
        )
        if any(outbox.waiting for outbox in outboxes):
            facts = replace(facts, kafka_error=await self._remembered.ask("kafka", self._kafka_error))
        times = say.tracked_times(orders.tracked if orders else None)
        lines = [*(run.lines if run else ()), *say.under_way(facts), *say.of_handover(facts)]
        for service, said in found.items():
            if said is not None:
                lines += [*say.of_trail(service, said.trail), *say.of_stream(service, said.trail, times)]
        lines += say.of_gateway(paid) if paid else ()
        return Found(facts, say.timeline(lines))

    def leave_alone(self, source: Source, error: str, complaint: str = Unavailable.complaint) -> None:
        """Do not ask ``source`` for a while, where many orders are looked at: it has just failed."""
        self._remembered.note(source, (error, complaint), AWAY_SECONDS)

    async def _kafka_error(self) -> str | None:
        return await kafka_error(self.settings, ANSWER_SECONDS)

    async def _read(
        self, source: Source, unread: dict[Source, str], complaints: dict[Source, str], ask: Callable[[], Awaitable[T]]
    ) -> T | None:
        silence = self._remembered.known(source)
        if source not in unread and silence is None:
            try:
                async with asyncio.timeout(ANSWER_SECONDS):
                    return await ask()
            except TimeoutError:
                silence = f"no answer within {ANSWER_SECONDS:g} s", Unavailable.complaint
            except Unavailable as error:
                late = isinstance(error.__cause__, TimeoutError)
                silence = "no answer in time" if late else error.detail, error.complaint
            self.leave_alone(source, *silence)
        if silence is not None:
            unread[source], complaints[source] = silence
        return None

    async def _orders(self, order_id: UUID) -> _Service:
        database = self.databases["orders"]
        rows: dict[UUID, OrderFact] = await reconciliation.these_orders(database, [order_id])
        view = await OrderViews(database).read(order_id, EVERYONE) if rows else None
        return _Service(
            await trails.trail(database, order_id),
            rows.get(order_id),
            view.reason if view else None,
            await Handovers(database).of(order_id),
            await tracking.read(database, order_id, timeline=True),
            await trails.set_aside(database, self.settings.tracking_group, order_id),
        )

    def _expires_at(self, order: OrderFact | None) -> datetime | None:
        if order is None or order.status != OrderStatus.DRAFT:
            return None
        return order.created_at + timedelta(seconds=self.settings.draft_ttl_seconds)

    async def _payments(self, order_id: UUID) -> _Service:
        database = self.databases["payments"]
        row: PaymentFact | None = await trails.payment(database, order_id)
        return _Service(await trails.trail(database, order_id), row)

    async def _inventory(self, order_id: UUID) -> _Service:
        database = self.databases["inventory"]
        row: ReservationFact | None = await trails.reservation(database, order_id)
        return _Service(await trails.trail(database, order_id), row)

    async def _gateway(self, order_id: UUID) -> GatewayPayment | None:
        return await look_up(self.gateway, order_id)


@asynccontextmanager
async def open_sources(settings: Settings, *, remember_seconds: float = 0.0) -> AsyncIterator[Sources]:
    """Everything that an order's story is read from. Nothing is connected before it is asked."""
    async with AsyncExitStack() as stack:
        databases = await stack.enter_async_context(open_databases(settings, pool_size=4))
        gateway = await stack.enter_async_context(
            GatewayClient(settings.address("gateway_url"), ANSWER_SECONDS, connections=4)
        )
        yield Sources(settings, databases, gateway, RunReader(asking(settings)), remember_seconds)


def _outbox_state(service: Service, said: _Service) -> OutboxState:
    relay = said.trail.relay
    waiting = [event for event in said.trail.events if event.waits]
    forgotten = [event for event in said.trail.events if event.is_forgotten]
    return OutboxState(
        service,
        len(waiting),
        min((event.recorded_at for event in waiting), default=None),
        relay.parked_version,
        relay.parked_error,
        relay.parked_at,
        led=relay.led_until is not None and relay.led_until > relay.now,
        stopped_partition=relay.stopped_partition,
        stopped_at=relay.stopped_at,
        made_anew=relay.stopped_cause == truncation.Cause.MADE_ANEW,
        forgotten=tuple(event.version for event in forgotten),
        forgotten_since=min((event.recorded_at for event in forgotten), default=None),
    )


def _refused_ship(trail: trails.Trail) -> str | None:
    """Why the last ship got no money, if nothing has happened to the order since."""
    refused = [asked for asked in trail.asked if (asked.refusal or {}).get("slug") == CAPTURE_REFUSED]
    if not refused or (trail.events and trail.events[-1].recorded_at > refused[-1].recorded_at):
        return None
    return str((refused[-1].refusal or {}).get("detail"))


def _tracked(found: dict[Service, _Service | None]) -> Tracked:
    orders = found["orders"]
    if orders is None:
        return Tracked()
    times = say.tracked_times(orders.tracked)
    missing = [
        event.published_at
        for service, said in found.items()
        for event in (said.trail.events if said else ())
        if event.published_at is not None and (service, event.version) not in times
    ]
    aside = orders.set_aside
    return Tracked(
        len(missing),
        min(missing, default=None),
        aside.reason if aside else None,
        aside.dead_lettered_at if aside else None,
    )


def _money(paid: GatewayPayment | None) -> Money | None:
    if paid is None or paid.amount is None or paid.currency is None or not paid.calls:
        return None
    taken = paid.captured_amount - paid.refunded_amount
    if paid.authorized_count == 0 and taken == 0:
        return None
    held = paid.authorized_count > 0
    return Money(held, taken, paid.amount if held else taken, paid.currency, paid.calls[-1].called_at)
