"""What customers will do: a pure function of the seed and the sample baskets."""

import csv
import random
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Final

Line = tuple[str, int, int]

#: How many orders of each kind there are in a deck, and the token they pay with.
FATES: Final[Mapping[str, tuple[int, str]]] = {
    "complete": (10, "tok_ok"),
    "complete with If-Match": (3, "tok_ok"),
    "everything at once": (2, "tok_ok"),
    "two ships": (2, "tok_ok"),
    "ship beside cancel": (4, "tok_ok"),
    "cancel beside approve": (3, "tok_ok"),
    "cancel after approve": (3, "tok_ok"),
    "cancel a draft": (2, "tok_ok"),
    "cancel when fulfilling": (3, "tok_ok"),
    "ship after cancel": (1, "tok_ok"),
    "scarce": (6, "tok_ok"),
    "scarce and cancelled": (2, "tok_ok"),
    "unknown sku": (1, "tok_ok"),
    "declined": (2, "tok_declined"),
    "declined and out of stock": (1, "tok_declined"),
    "insufficient funds": (1, "tok_insufficient_funds"),
    "capture refused": (2, "tok_capture_refused"),
    "slow gateway": (2, "tok_slow"),
    "first call fails": (2, "tok_error_once"),
    "first answer lost": (3, "tok_answer_lost_once"),
    "never authorized": (1, "tok_down"),
    "left a draft": (1, "tok_ok"),
    "approve as it expires": (2, "tok_ok"),
    "left fulfilling": (2, "tok_ok"),
}

#: Drafts expire while the load goes on.
DRAFT_TTL_SECONDS: Final = 20
SCARCE: Final = tuple(f"scarce-{number}" for number in range(6))
SCARCE_ON_HAND: Final = 4
PLENTY: Final = 100_000
UNKNOWN_SKU: Final = "no-such-sku"
#: Nothing that any order could get.
SOLD_OUT: Final = "sold-out"


@dataclass(frozen=True, slots=True)
class OrderPlan:
    """One customer. ``twice``: requests go out two at a time; ``again``: an earlier one is sent again at the end;
    ``conflict``: a key is used for another request as well; ``asynchronous``: ``Prefer: respond-async``."""

    number: int
    fate: str
    token: str
    lines: tuple[Line, ...]
    key: str
    twice: bool
    again: bool
    conflict: bool
    asynchronous: bool
    pause_seconds: float


@dataclass(frozen=True, slots=True)
class StockPlan:
    """Someone adjusts a scarce SKU when ``after_orders`` orders have been started. ``count``: they state a number."""

    number: int
    sku: str
    after_orders: int
    delta: int
    count: bool
    twice: bool


def read_baskets(samples: Path) -> list[tuple[Line, ...]]:
    """Real baskets: sku, quantity, unit price in minor units."""
    found: dict[str, list[Line]] = defaultdict(list)
    with (samples / "baskets.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            found[row["basket_id"]].append(
                (row["product_id"], int(row["quantity"]), int(Decimal(row["unit_price"]) * 100))
            )
    return [tuple(lines) for lines in found.values()]


def order_plans(seed: int, orders: int, baskets: list[tuple[Line, ...]]) -> tuple[OrderPlan, ...]:
    """``orders`` customers, every fate in its share."""
    dice = random.Random(f"orders of {seed}")
    deck: list[str] = []
    plans = []
    for number in range(orders):
        if not deck:
            rare = list(FATES)
            dice.shuffle(rare)
            rest = [fate for fate, (share, _) in FATES.items() for _ in range(share - 1)]
            dice.shuffle(rest)
            deck = [*rest, *rare]  # taken from the end: a short run sees every fate first
        fate = deck.pop()
        plans.append(
            OrderPlan(
                number=number,
                fate=fate,
                token=FATES[fate][1],
                lines=_lines(fate, dice.choice(baskets), dice),
                key=f"chaos-{seed}-{number}",
                twice=dice.random() < 0.25,
                again=dice.random() < 0.35,
                conflict=dice.random() < 0.15,
                asynchronous=dice.random() < 0.2,
                pause_seconds=round(dice.uniform(0.0, 0.6), 3),
            )
        )
    return tuple(plans)


def stock_plans(seed: int, orders: int) -> tuple[StockPlan, ...]:
    """An adjustment every few orders."""
    dice = random.Random(f"stock of {seed}")
    return tuple(
        StockPlan(
            number=number,
            sku=dice.choice(SCARCE),
            after_orders=number * 6,
            delta=dice.choice((-3, -2, -1, 1, 2, 3, 5)),
            count=dice.random() < 0.25,
            twice=dice.random() < 0.3,
        )
        for number in range(orders // 6)
    )


def _lines(fate: str, basket: tuple[Line, ...], dice: random.Random) -> tuple[Line, ...]:
    if fate.startswith("scarce"):
        return (*basket, *((sku, dice.randint(1, 2), 250) for sku in dice.sample(SCARCE, dice.randint(1, 3))))
    if fate == "unknown sku":
        return (*basket, (UNKNOWN_SKU, 1, 99))
    if fate == "declined and out of stock":
        return (*basket, (SOLD_OUT, 1, 99))
    return basket
