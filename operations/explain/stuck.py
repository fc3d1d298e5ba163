"""All orders that wait for something of ours: the candidates are listed, each is judged, the same causes are grouped.

An order is a candidate when its row, its workflow, its handover, its outbox or a dead letter says that something is to
be done, or when it is over and money or stock is still held for it. What only waits for its customer is asked about
too, as long as there are not too many; a DRAFT never, as nobody is at work on it.
"""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final, TypeVar
from uuid import UUID

from operations.explain.causes import Source, Verdict
from operations.explain.facts import status_of
from operations.explain.gather import Sources, open_sources
from operations.explain.verdict import verdicts_on
from orderflow.domain.errors import Unavailable
from orderflow.domain.orders import ORCHESTRATED, OrderStatus
from orderflow.settings import SERVICES, Service, Settings
from orderflow.store import coverage, reconciliation, trail
from orderflow.store.database import Database
from orderflow.store.handovers import Handovers
from orderflow.store.reconciliation import OrderFact

#: Orders that are looked at one by one: about 15 ms each.
MOST_LOOKED_AT: Final = 1000
AT_ONCE: Final = 8
_LIST_SECONDS: Final = 30.0
#: So far back events are compared with outbox and publications, or to reconciliation's last clean look.
_FORGOTTEN_WITHIN: Final = timedelta(hours=1)
#: Above what a whole look takes.
_REMEMBER_SECONDS: Final = 120.0
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Member:
    """A stuck order: its status (None: not known) and the most urgent verdict about it."""

    order_id: UUID
    status: str | None
    verdict: Verdict


@dataclass
class Stuck:
    """Groups of the same cause, the most urgent first, each from the one that waits longest.

    ``not_yet``: orders that wait, and have not for long enough. ``left_out``: candidates that were too many to be
    looked at.
    """

    now: datetime
    looked_at: int = 0
    not_yet: int = 0
    left_out: int = 0
    groups: list[list[Member]] = field(default_factory=list)
    unread: dict[Source, str] = field(default_factory=dict)


async def look(settings: Settings, older_than_seconds: float) -> Stuck:
    """All orders that have waited longer than that for something of ours. ``unread`` names what is away."""
    older_than = timedelta(seconds=older_than_seconds)
    async with open_sources(settings, remember_seconds=_REMEMBER_SECONDS) as sources:
        unread: dict[Source, str] = {}
        candidates = await _candidates(sources, older_than, unread)
        chosen = candidates[:MOST_LOOKED_AT]
        turn = asyncio.Semaphore(AT_ONCE)

        not_yet = 0

        async def one(order_id: UUID) -> Member | None:
            nonlocal not_yet
            async with turn:
                found = await sources.gather(order_id)
            unread.update(found.facts.unread)
            verdict = next((v for v in verdicts_on(found.facts) if v.kind in ("wrong", "waits")), None)
            if verdict is None:
                return None
            if verdict.since and found.facts.now - verdict.since < older_than:
                not_yet += 1
                return None
            return Member(order_id, status_of(found.facts), verdict)

        members = [member for member in await asyncio.gather(*map(one, chosen)) if member is not None]
    return Stuck(
        now=datetime.now(UTC),
        looked_at=len(chosen),
        not_yet=not_yet,
        left_out=len(candidates) - len(chosen),
        groups=group(members),
        unread=unread,
    )


def group(members: list[Member]) -> list[list[Member]]:
    """By cause and what they have in common: the most urgent first, then the larger; the longest waiting first."""
    groups: Mapping[tuple[int, str], list[Member]] = defaultdict(list)
    for member in members:
        groups[(member.verdict.urgency, member.verdict.group)].append(member)
    for found in groups.values():
        found.sort(key=lambda member: (member.verdict.since or datetime.max.replace(tzinfo=UTC), member.order_id))
    return [found for _, found in sorted(groups.items(), key=lambda item: (item[0][0], -len(item[1]), item[0][1]))]


async def _candidates(sources: Sources, older_than: timedelta, unread: dict[Source, str]) -> list[UUID]:
    """Those that surely have something to be done first, then all that are open; the oldest first in each."""
    running = await _listed(sources, "temporal", unread, lambda: _running(sources))
    live = await _listed(sources, "orders", unread, lambda: _live(sources)) or {}
    with_a_run = {order_id for order_id, order in live.items() if order.status in ORCHESTRATED}
    waiting: set[UUID] = set()
    untold = partial(Handovers(sources.databases["orders"]).waiting, older_than, MOST_LOOKED_AT)
    waiting |= (await _listed(sources, "orders", unread, untold) or {}).keys()
    for service, ask in _HOLDS.items():
        waiting |= (
            await _listed(sources, service, unread, partial(ask, sources.databases[service])) or {}
        ).keys() - with_a_run
    for service in SERVICES:
        old = partial(trail.orders_with_old_entries, sources.databases[service], older_than)
        waiting |= (await _listed(sources, service, unread, old) or {}).keys()
        lost = partial(coverage.forgotten, sources.databases[service], _FORGOTTEN_WITHIN)
        waiting |= {found.order_id for found in await _listed(sources, service, unread, lost) or ()}
    held = partial(trail.held_orders, sources.databases["orders"], sources.settings.tracking_group)
    waiting |= set(await _listed(sources, "orders", unread, held) or ())
    open_runs = running or {}
    gone = set() if running is None else with_a_run - running.keys()
    first = {order_id for order_id, order in live.items() if _is_at_work(order)} | gone
    first |= open_runs.keys() - with_a_run | waiting

    def by_age(order_id: UUID) -> tuple[bool, datetime]:
        since = live[order_id].updated_at if order_id in live else open_runs.get(order_id, datetime.now(UTC))
        return order_id not in first, since

    return sorted(first | live.keys() | open_runs.keys(), key=by_age)


async def _live(sources: Sources) -> dict[UUID, OrderFact]:
    live = await reconciliation.live_orders(sources.databases["orders"])
    return {order_id: order for order_id, order in live.items() if order.status != OrderStatus.DRAFT}


async def _held_money(payments: Database) -> Mapping[UUID, object]:
    return await reconciliation.open_payments(payments, timedelta())


#: Who holds something for an order.
_HOLDS: Final[Mapping[Service, Callable[[Database], Awaitable[Mapping[UUID, object]]]]] = {
    "payments": _held_money,
    "inventory": reconciliation.live_reservations,
}


def _is_at_work(order: OrderFact) -> bool:
    return order.status == OrderStatus.APPROVED or order.pending


async def _listed(
    sources: Sources, source: Source, unread: dict[Source, str], ask: Callable[[], Awaitable[T]]
) -> T | None:
    """What ``ask`` gives; None: ``source`` is unread, and is not asked about each order either, for a while."""
    if source in unread:
        return None
    try:
        async with asyncio.timeout(_LIST_SECONDS):
            return await ask()
    except TimeoutError:
        unread[source] = f"no answer within {_LIST_SECONDS:g} s"
        sources.leave_alone(source, unread[source])
    except Unavailable as error:
        unread[source] = error.detail
        sources.leave_alone(source, error.detail, error.complaint)
    return None


async def _running(sources: Sources) -> dict[UUID, datetime]:
    running = await sources.runs.orders.running()
    return {order_id: run.since for order_id, run in running.items() if run.since is not None}
