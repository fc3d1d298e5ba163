"""The demo's check, on a real stack that is corrupted."""

import asyncpg
import pytest

from operations.demo.check import agrees, check
from operations.demo.evidence import gather
from operations.demo.rest import settled
from orderflow.stack.stack import EmbeddedStack
from support.shop import Basket, Shop


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("service", "corruption", "repair", "seen_by"),
    [
        (
            "inventory",
            "UPDATE stock SET on_hand = on_hand + 1, version = version + 1 WHERE sku = $1",
            "UPDATE stock SET on_hand = on_hand - 1, version = version + 1 WHERE sku = $1",
            "stock: on hand",
        ),
        (
            "orders",
            "UPDATE tracked_orders SET order_version = order_version + 1 WHERE order_id = $1::uuid",
            "UPDATE tracked_orders SET order_version = order_version - 1 WHERE order_id = $1::uuid",
            "tracking = rows",
        ),
        (
            "payments",
            "UPDATE publications SET partition = partition + 100 WHERE order_id = $1::uuid AND version = 1",
            "UPDATE publications SET partition = partition - 100 WHERE order_id = $1::uuid AND version = 1",
            "outbox",
        ),
    ],
    ids=["stock", "tracking", "publication"],
)
async def test_the_check_sees_what_was_corrupted_in_a_real_stack(
    stack: EmbeddedStack,
    shop: Shop,
    baskets: list[Basket],
    service: str,
    corruption: str,
    repair: str,
    seen_by: str,
) -> None:
    await shop.stock_up(baskets[:1])
    order_id = await shop.place(baskets[0])
    await shop.ask(order_id, "approve")
    await shop.reaches(order_id, "FULFILLING")
    assert await settled(stack.settings, 30) is None
    lines = check(await gather(stack.settings))
    assert agrees(lines), [line for line in lines if not line.ok]

    admin_url = getattr(stack.settings, f"{service}_admin_url").get_secret_value()
    connection = await asyncpg.connect(admin_url, database=service)
    what = baskets[0][0][0] if service == "inventory" else str(order_id)
    try:
        await connection.execute(corruption, what)
        assert seen_by in {line.what for line in check(await gather(stack.settings)) if not line.ok}
    finally:
        await connection.execute(repair, what)
        await connection.close()
    assert agrees(check(await gather(stack.settings)))
