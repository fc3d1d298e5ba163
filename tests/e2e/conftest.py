"""Customers of a whole stack. Files directly in this folder share one; those in a folder have one of their own."""

import csv
from collections import defaultdict
from collections.abc import AsyncIterator
from decimal import Decimal

import pytest
import pytest_asyncio

from orderflow.stack.stack import EmbeddedStack
from support.paths import SAMPLES
from support.shop import Basket, Shop


@pytest.fixture(scope="session")
def baskets() -> list[Basket]:
    """Real baskets: their lines as (sku, quantity, unit price in minor units)."""
    found: dict[str, Basket] = defaultdict(list)
    with (SAMPLES / "baskets.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            price = int(Decimal(row["unit_price"]) * 100)
            found[row["basket_id"]].append((row["product_id"], int(row["quantity"]), price))
    return list(found.values())


@pytest_asyncio.fixture
async def shop(stack: EmbeddedStack) -> AsyncIterator[Shop]:
    async with Shop(stack.settings) as shop:
        yield shop
