"""The real baskets of ``samples/``, as the orders that all sides are given."""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, Final
from uuid import UUID, uuid4

from orderflow.domain.orders import Line, Order

BASKETS: Final = Path(__file__).parents[1] / "samples" / "baskets.csv"
CURRENCY: Final = "USD"


@dataclass(frozen=True, slots=True)
class Basket:
    """Who buys, and what. ``number``: its place among all baskets."""

    customer_id: str
    lines: tuple[Line, ...]
    number: int = 0

    def order(self, order_id: UUID | None = None) -> Order:
        """The basket as an order, with a new id unless one is given."""
        return Order(order_id=order_id or uuid4(), customer_id=self.customer_id, currency=CURRENCY, lines=self.lines)

    def request(self) -> dict[str, Any]:
        """The basket as the body of POST /orders; its payment will be authorized."""
        return {
            "customer_id": self.customer_id,
            "currency": CURRENCY,
            "payment_token": "tok_ok",
            "lines": [line.model_dump() for line in self.lines],
        }


def read_baskets(path: Path = BASKETS) -> list[Basket]:
    """All baskets, in the file's order; prices become minor units. Raises OSError."""
    with path.open(newline="") as file:
        baskets = groupby(csv.DictReader(file), key=itemgetter("basket_id"))
        return [_basket(list(rows), number) for number, (_, rows) in enumerate(baskets)]


def _basket(rows: list[Mapping[str, str]], number: int) -> Basket:
    return Basket(f"household-{rows[0]['household_id']}", tuple(_line(row) for row in rows), number)


def _line(row: Mapping[str, str]) -> Line:
    cents = int(Decimal(row["unit_price"]) * 100)
    return Line(sku=row["product_id"], quantity=int(row["quantity"]), unit_price=cents)
