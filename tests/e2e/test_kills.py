"""kill -9 of each of our processes under load: every accepted order still ends where it should."""

import asyncio
from functools import partial

import pytest

from orderflow.stack.stack import EmbeddedStack
from support.shop import Basket, Shop
from support.waiting import until

ORDERS = 40


async def _live(shop: Shop, number: int, basket: Basket) -> tuple[str, str]:
    """One order with a fate of its own; (what it should end as, what it ended as)."""
    fate = ("COMPLETED", "CANCELLED by the customer", "CANCELLED as declined", "COMPLETED")[number % 4]
    order_id = await shop.place(basket, token="tok_declined" if "declined" in fate else "tok_ok")
    await shop.ask(order_id, "approve")
    if "declined" in fate:
        order = await shop.reaches(order_id, "CANCELLED")
        return "payment_declined", str(order["reason"])
    await shop.reaches(order_id, "FULFILLING")
    if "customer" in fate:
        await shop.ask(order_id, "cancel")
        order = await shop.reaches(order_id, "CANCELLED")
        return "customer", str(order["reason"])
    assert (await shop.ask(order_id, "ship")).status_code == 200
    assert (await shop.ask(order_id, "complete")).status_code == 200
    return "COMPLETED", str((await shop.show(order_id))["status"])


@pytest.mark.timeout(180)
@pytest.mark.parametrize("victim", ["workers", "api", "relay"])
async def test_kill_9_under_load_loses_nothing(
    stack: EmbeddedStack, shop: Shop, baskets: list[Basket], victim: str
) -> None:
    await shop.stock_up(baskets[:ORDERS])
    process = stack.process(victim)
    orders = [asyncio.create_task(_live(shop, n, basket)) for n, basket in enumerate(baskets[:ORDERS])]
    # The kills meet orders at every stage.
    for progress in (ORDERS // 4, ORDERS // 2):
        await until(partial(_accepted, shop, progress), seconds=60)
        pid = process.pid
        await process.kill()
        await process.wait_ready()
        assert process.pid != pid
    fates = await asyncio.gather(*orders)
    assert [end for _, end in fates] == [fate for fate, _ in fates]
    assert len(shop.accepted) == ORDERS


async def _accepted(shop: Shop, number: int) -> bool:
    return len(shop.accepted) >= number
