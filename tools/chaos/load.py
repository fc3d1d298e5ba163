"""Customers at work: each order lives through its fate, many at a time, while the faults happen.

What a customer expects is not checked here: they insist, and their ledger says what they were told.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from tools.chaos.client import Client, Reply, Request, Stuck
from tools.chaos.plan import (
    DRAFT_TTL_SECONDS,
    PLENTY,
    SCARCE,
    SCARCE_ON_HAND,
    SOLD_OUT,
    UNKNOWN_SKU,
    OrderPlan,
    StockPlan,
)

AT_ONCE = 16
_CURRENCY = "USD"
_DECIDED = ("FULFILLING", "CANCELLED", "SHIPPED", "COMPLETED")


class Load:
    """All customers of a run. ``started``: how many orders have been begun; ``stuck``: who gave up."""

    def __init__(self, client: Client, orders: Sequence[OrderPlan], stock: Sequence[StockPlan]) -> None:
        self.started = 0
        self.finished = 0
        self.stuck: list[str] = []
        self._client = client
        self._orders = orders
        self._stock = stock

    async def stock_up(self) -> None:
        """Say what is on hand, before anything goes wrong."""
        skus = sorted({sku for order in self._orders for sku, _, _ in order.lines} - {UNKNOWN_SKU, SOLD_OUT, *SCARCE})
        on_hand = dict.fromkeys(skus, PLENTY) | dict.fromkeys(SCARCE, SCARCE_ON_HAND) | {SOLD_OUT: 0}
        todo = iter(on_hand.items())

        async def state() -> None:
            for sku, number in todo:
                await self._client.ask(_set(sku, f"chaos-stock-{sku}", number))

        await asyncio.gather(*(state() for _ in range(8)))

    async def run(self, may_start: Callable[[int], Awaitable[None]]) -> None:
        """Serve all customers. ``may_start(number)`` returns when that order may begin."""
        todo = iter(self._orders)

        async def serve() -> None:
            for order in todo:
                await may_start(order.number)
                self.started += 1
                await self._until_stuck(_Customer(self._client, order).live(), f"order {order.number} ({order.fate})")
                self.finished += 1

        async with asyncio.TaskGroup() as tasks:
            for _ in range(min(AT_ONCE, len(self._orders))):
                tasks.create_task(serve())
            for change in self._stock:
                tasks.create_task(self._until_stuck(self._change_stock(change), f"stock change {change.number}"))

    async def _until_stuck(self, story: Awaitable[None], who: str) -> None:
        try:
            await story
        except Stuck as error:
            self.stuck.append(f"{who}: {error}")

    async def _change_stock(self, change: StockPlan) -> None:
        while self.started < change.after_orders:  # noqa: ASYNC110 - a counter of this process
            await asyncio.sleep(0.2)
        key = f"chaos-change-{change.number}"
        if change.count:
            stock = await self._client.read(f"/inventory/{change.sku}")
            request = _set(change.sku, key, stock["on_hand"] + change.delta, f'"{stock["version"]}"')
        else:
            path = f"/inventory/{change.sku}/adjustments"
            request = Request("adjust", path, key, {"delta": change.delta, "reason": "chaos"})
        await asyncio.gather(*(self._client.ask(request) for _ in range(2 if change.twice else 1)))


def _set(sku: str, key: str, on_hand: int, if_match: str | None = None) -> Request:
    return Request("set", f"/inventory/{sku}", key, {"on_hand": max(0, on_hand)}, if_match=if_match)


class _Customer:
    """One order's story."""

    def __init__(self, client: Client, plan: OrderPlan) -> None:
        self._client = client
        self._plan = plan
        self._dice = random.Random(plan.key)
        self._order_id = ""
        self._done: list[Request] = []

    async def live(self) -> None:
        """From placing to the end of the fate, then what an anxious customer still sends."""
        await self._place()
        await self._pause()
        await self._fate()
        if self._plan.again and self._done:
            await self._client.ask(self._dice.choice(self._done))
        if self._plan.conflict and self._done:
            await self._client.ask(_conflicting(self._dice.choice(self._done)))

    async def _fate(self) -> None:
        match self._plan.fate:
            case "left a draft":
                return
            case "cancel a draft":
                await self._command("cancel", note="changed my mind")
            case "cancel beside approve":
                await asyncio.gather(self._command("approve"), self._command("cancel"))
            case "cancel after approve" | "scarce and cancelled" | "never authorized":
                await self._command("approve")
                await self._pause()
                await self._command("cancel", note="too slow")
            case "everything at once":
                names = ("approve", "ship", "complete")
                await asyncio.gather(*(self._command(name, asynchronous=True) for name in names))
            case "approve as it expires":
                await asyncio.sleep(self._dice.uniform(DRAFT_TTL_SECONDS - 1, DRAFT_TTL_SECONDS + 4))
                await self._command("approve")
            case _:
                await self._command("approve")
                if await self._client.reaches(self._order_id, *_DECIDED) == "FULFILLING":
                    await self._pause()
                    await self._after_fulfilling()

    async def _after_fulfilling(self) -> None:
        match self._plan.fate:
            case "left fulfilling":
                return
            case "cancel when fulfilling":
                await self._command("cancel")
            case "ship beside cancel":
                first, second = self._dice.sample(("ship", "cancel"), 2)
                await asyncio.gather(self._command(first), self._command(second))
            case "ship after cancel":
                await self._command("cancel")
                await self._command("ship")
            case "two ships":
                replies = await asyncio.gather(self._command("ship"), self._command("ship", "ship-2"))
                if any(reply.status == 200 for reply in replies):
                    await self._command("complete")
            case "capture refused":
                await self._command("ship")
                await self._command("ship", "ship-2")
                if self._dice.random() < 0.5:
                    await self._command("cancel")
            case "complete with If-Match":
                version = (await self._client.read(f"/orders/{self._order_id}"))["version"]
                await self._command("ship", "ship-stale", if_match=f'"{version - 1}"')
                await self._command("ship", if_match=f'"{version}"')
                await self._command("complete")
            case _:
                await self._command("ship", carrier="DHL", tracking_number=f"JD{self._plan.number:08d}")
                await self._pause()
                await self._command("complete")

    async def _place(self) -> None:
        body = {
            "customer_id": f"household-{self._plan.number % 50}",
            "reference": self._plan.key,
            "currency": _CURRENCY,
            "payment_token": self._plan.token,
            "lines": [{"sku": s, "quantity": q, "unit_price": p} for s, q, p in self._plan.lines],
        }
        reply = await self._ask(Request("place", "/orders", self._plan.key, body, asynchronous=self._plan.asynchronous))
        if reply.status not in (200, 201):
            raise Stuck(f"the order was refused: {reply.status} {reply.slug}")
        self._order_id = str(reply.body["id"])

    async def _command(
        self, name: str, as_key: str = "", *, if_match: str | None = None, asynchronous: bool = False, **body: Any
    ) -> Reply:
        path = f"/orders/{self._order_id}/{name}"
        key = f"{self._plan.key}-{as_key or name}"
        wait = asynchronous or self._plan.asynchronous
        return await self._ask(Request(name, path, key, body, self._order_id, if_match, asynchronous=wait))

    async def _ask(self, request: Request) -> Reply:
        copies = 2 if self._plan.twice else 1
        reply, *_ = await asyncio.gather(*(self._client.ask(request) for _ in range(copies)))
        if reply.status in (200, 201):
            self._done.append(request)
        return reply

    async def _pause(self) -> None:
        await asyncio.sleep(self._plan.pause_seconds)


def _conflicting(request: Request) -> Request:
    """Another request under the same key."""
    body: dict[str, Any] = {"note": "another request under the same key"}
    if request.kind == "place":
        return Request("place", request.path, request.key, {**request.body, "customer_id": "another"}, conflict=True)
    path = f"/orders/{request.order_id}/cancel"
    return Request("cancel", path, request.key, body, request.order_id, conflict=True)
