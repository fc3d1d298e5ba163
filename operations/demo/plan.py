"""Which baskets are placed, what becomes of each, and how much stock there is. The same input gives the same plan."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from operations.bulk.csv_files import Basket

#: Orders that are measured one at a time, at most; and at most this share of all.
MOST_IDLE: Final = 20
IDLE_SHARE: Final = 3
#: One in so many is cancelled by its customer, half of them as DRAFT and half when FULFILLING.
CANCELLED_ONE_IN: Final = 24
#: One SKU that is too scarce for so many orders.
SCARCE_ONE_IN: Final = 60
#: A scarce SKU is wanted by so many orders.
SCARCE_WANTED: Final = (2, 5)
UNSTOCKED_SKUS: Final = 2
#: On top of what all orders want of a SKU together.
SPARE: Final = 20


class Intent(StrEnum):
    """What the customer has in mind. The gateway or the stock may have something else in mind."""

    COMPLETE = "complete"
    CANCEL_DRAFT = "cancel_draft"
    CANCEL_FULFILLING = "cancel_fulfilling"


@dataclass(frozen=True, slots=True)
class PlannedOrder:
    """A basket, the Idempotency-Key of its order, and what the customer wants."""

    basket: Basket
    key: str
    intent: Intent = Intent.COMPLETE


@dataclass(frozen=True, slots=True)
class Plan:
    """``idle`` are taken through their life one at a time, then ``crowd`` many at once.

    ``stock``: pieces by SKU. Of ``scarce`` SKUs there are too few, of ``unstocked`` ones there is no stock at all.
    """

    idle: tuple[PlannedOrder, ...]
    crowd: tuple[PlannedOrder, ...]
    stock: dict[str, int]
    scarce: tuple[str, ...]
    unstocked: tuple[str, ...]


def make_plan(baskets: Sequence[Basket], orders: int, run: str) -> Plan:
    """A plan for ``orders`` orders; baskets come again when there are fewer. ``run`` makes the keys this run's own."""
    chosen = [
        PlannedOrder(baskets[n % len(baskets)], f"demo-{run}-{baskets[n % len(baskets)].id}-{n // len(baskets)}")
        for n in range(orders)
    ]
    idle_count = min(MOST_IDLE, orders // IDLE_SHARE)
    idle, crowd = chosen[:idle_count], chosen[idle_count:]
    calm = {sku for order in idle for sku, _, _ in order.basket.lines}
    scarce = _scarce(crowd, calm, max(1, orders // SCARCE_ONE_IN))
    unstocked = _unstocked(crowd, calm | set(scarce))
    stock = _stock(chosen, scarce, unstocked)
    troubled = set(scarce) | set(unstocked)
    return Plan(tuple(idle), tuple(_with_intents(crowd, troubled, orders)), stock, scarce, unstocked)


def _wanted(orders: Iterable[PlannedOrder]) -> Counter[str]:
    """In how many orders each SKU is."""
    return Counter(sku for order in orders for sku, _, _ in order.basket.lines)


def _scarce(crowd: Sequence[PlannedOrder], calm: set[str], count: int) -> tuple[str, ...]:
    least, most = SCARCE_WANTED
    wanted = [(n, sku) for sku, n in _wanted(crowd).items() if least <= n <= most and sku not in calm]
    return tuple(sku for _, sku in sorted(wanted, reverse=True)[:count])


def _unstocked(crowd: Sequence[PlannedOrder], taken: set[str]) -> tuple[str, ...]:
    """SKUs that are in one order only, each in another one, none of which wants anything scarce."""
    wanted, found = _wanted(crowd), []
    for order in crowd[len(crowd) // 2 :]:
        skus = [sku for sku, _, _ in order.basket.lines]
        lone = next((sku for sku in skus if wanted[sku] == 1 and sku not in taken), None)
        if lone is not None and taken.isdisjoint(skus):
            found.append(lone)
        if len(found) == UNSTOCKED_SKUS:
            break
    return tuple(found)


def _stock(orders: Sequence[PlannedOrder], scarce: Sequence[str], unstocked: Sequence[str]) -> dict[str, int]:
    wanted: dict[str, list[int]] = {}
    for order in orders:
        for sku, quantity, _ in order.basket.lines:
            wanted.setdefault(sku, []).append(quantity)
    return {
        # Enough for one of those who want it.
        sku: max(quantities) if sku in scarce else sum(quantities) + SPARE
        for sku, quantities in sorted(wanted.items())
        if sku not in unstocked
    }


def _with_intents(crowd: Sequence[PlannedOrder], troubled: set[str], orders: int) -> Iterable[PlannedOrder]:
    """Spread over the crowd, those that change their mind; none of them wants a SKU that is scarce or not there."""
    cancelling = max(2, orders // CANCELLED_ONE_IN)
    calm = [n for n, order in enumerate(crowd) if troubled.isdisjoint(sku for sku, _, _ in order.basket.lines)]
    step = max(1, len(calm) // cancelling)
    minds = dict(zip(calm[::step][:cancelling], _alternating(cancelling), strict=False))
    for number, order in enumerate(crowd):
        yield PlannedOrder(order.basket, order.key, minds.get(number, Intent.COMPLETE))


def _alternating(count: int) -> list[Intent]:
    return [Intent.CANCEL_FULFILLING if n % 2 else Intent.CANCEL_DRAFT for n in range(count)]
