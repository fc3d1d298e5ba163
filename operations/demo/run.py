"""Customers and the shop: each planned order is placed, approved, shipped and completed, or cancelled, over HTTP.

That an order has become FULFILLING (or was refused) the crowd learns from the stream; the orders that are measured
one at a time ask the API once, which answers when the order has changed.
"""

import asyncio
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from operations.demo.follower import Follower
from operations.demo.plan import Intent, PlannedOrder
from orderflow.client import ApiClient, How, Reply

CURRENCY: Final = "USD"
PAYMENT_TOKEN: Final = "tok_ok"  # noqa: S105 - the gateway's name for a card that pays
WAIT_SECONDS: Final = 30
DECIDED: Final = frozenset({"FULFILLING", "CANCELLED"})


class Stuck(Exception):
    """An order did not go on; the message says which, and where."""


@dataclass(slots=True)
class Story:
    """What happened to one order, by our clock (seconds since the epoch).

    ``decided_at``: it was seen FULFILLING (``fulfilled``) or CANCELLED.
    """

    order_id: UUID
    intent: Intent
    placed_at: float
    approve_sent_at: float | None = None
    decided_at: float | None = None
    fulfilled: bool = False
    ended_at: float | None = None


class Shop:
    """Takes orders through their lives. Methods raise Stuck, and Refused and Unreachable of the client."""

    def __init__(self, api: ApiClient, follower: Follower) -> None:
        self._api = api
        self._follower = follower
        self.stories: list[Story] = []

    async def one_at_a_time(self, orders: Sequence[PlannedOrder]) -> list[Story]:
        """Each order's whole life before the next one begins."""
        return [await self._live(order, alone=True) for order in orders]

    async def crowd(self, orders: Sequence[PlannedOrder], *, at_once: int, per_second: float | None) -> list[Story]:
        """At most ``at_once`` orders in flight; with ``per_second`` no faster than that many new ones a second."""
        rest = iter(orders)
        began, stories = time.monotonic(), list[Story]()

        async def serve() -> None:
            for order in rest:
                if per_second is not None:
                    due = began + len(self.stories) / per_second
                    await asyncio.sleep(max(0.0, due - time.monotonic()))
                stories.append(await self._live(order, alone=False))

        try:
            async with asyncio.TaskGroup() as tasks:
                for _ in range(min(at_once, len(orders))):
                    tasks.create_task(serve())
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None
        return stories

    async def _live(self, order: PlannedOrder, *, alone: bool) -> Story:
        started = time.time()
        reply = await self._ask("/orders", order.basket.body(CURRENCY, PAYMENT_TOKEN), order.key)
        story = Story(UUID(reply.data["id"]), order.intent, started)
        self.stories.append(story)
        if order.intent is Intent.CANCEL_DRAFT:
            await self._command(story, order, "cancel", {"note": "changed my mind"})
        else:
            story.approve_sent_at = time.time()
            approved = await self._command(story, order, "approve", {})
            if alone:
                status = await self._ask_until_decided(story.order_id, approved.data["version"])
            else:
                status = await self._hear_until_decided(story.order_id)
            story.decided_at = time.time()
            story.fulfilled = status == "FULFILLING"
            if story.fulfilled and order.intent is Intent.CANCEL_FULFILLING:
                await self._command(story, order, "cancel", {"note": "found it cheaper"})
            elif story.fulfilled:
                number = f"1Z{order.basket.id}"
                await self._command(story, order, "ship", {"carrier": "UPS", "tracking_number": number})
                await self._command(story, order, "complete", {})
        story.ended_at = time.time()
        return story

    async def _command(self, story: Story, order: PlannedOrder, name: str, body: dict[str, str]) -> Reply:
        return await self._ask(f"/orders/{story.order_id}/{name}", body, f"{order.key}-{name}")

    async def _ask(self, path: str, body: dict[str, object] | dict[str, str], key: str) -> Reply:
        reply = await self._api.post(path, body, How(key=key, wait_seconds=WAIT_SECONDS))
        if reply.accepted:
            raise Stuck(f"POST {path} was accepted, and not carried out within {WAIT_SECONDS} s")
        return reply

    async def _ask_until_decided(self, order_id: UUID, version: int) -> str:
        deadline = time.monotonic() + WAIT_SECONDS
        while (left := math.ceil(deadline - time.monotonic())) > 0:
            order = await self._api.changed(f"/orders/{order_id}", version, left)
            if not order.unchanged:
                if order.data["status"] in DECIDED:
                    return str(order.data["status"])
                version = order.data["version"]
        raise Stuck(f"order {order_id} is still at version {version} {WAIT_SECONDS} s after its approval")

    async def _hear_until_decided(self, order_id: UUID) -> str:
        try:
            return await self._follower.until(order_id, DECIDED, seconds=WAIT_SECONDS)
        except TimeoutError:
            raise Stuck(f"the stream has not told FULFILLING of order {order_id} within {WAIT_SECONDS} s") from None
