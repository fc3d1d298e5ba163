"""The whole demo on a stack that runs: the stock, the customers, and when all is at rest, the comparison."""

import os
import time
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Protocol

from operations.bulk.each import Advance
from operations.bulk.stock_import import import_stock
from operations.demo.check import agrees, check
from operations.demo.comparison import Comparison
from operations.demo.evidence import gather
from operations.demo.follower import Follower, following_stream
from operations.demo.measure import Figures, measure
from operations.demo.plan import Plan
from operations.demo.rest import settled
from operations.demo.run import Shop, Story, Stuck
from orderflow.client import ApiClient
from orderflow.credentials import api_key
from orderflow.settings import Settings

PATIENCE_SECONDS: Final = 30.0
REST_SECONDS: Final = 60.0
STOCK_REQUESTS: Final = 16
#: Of the cancelled orders as well: both ways of ending are shown.
_ENDS: Final = ("COMPLETED", "CANCELLED")


class Narrator(Protocol):
    """Is told what goes on, for people."""

    def say(self, what: str) -> None:
        """A sentence."""

    def following(self, follower: Follower, what: str, orders: int) -> AbstractAsyncContextManager[None]:
        """Around work on so many orders, which ``follower`` sees on the stream."""

    def progress(self, what: str, total: int) -> AbstractContextManager[Advance]:
        """Around work on so many things: what it gives is called for each that is done."""


@dataclass(slots=True)
class Run:
    """What a run has found so far. ``first_seconds``: from ``typed_at`` until the first order was FULFILLING.

    ``load``: the load average when orders had been measured one at a time: whether the machine had anything else to do.
    """

    idle: list[Story] = field(default_factory=list)
    crowd: list[Story] = field(default_factory=list)
    figures: Figures | None = None
    comparisons: list[Comparison] = field(default_factory=list)
    first_seconds: float | None = None
    load: float = 0.0

    @property
    def agrees(self) -> bool:
        """Whether everything that was compared does."""
        return agrees(self.comparisons)

    def to_data(self) -> dict[str, Any]:
        """As JSON data."""
        return {
            "agrees": self.agrees,
            "check": [{**asdict(one), "ok": one.ok} for one in self.comparisons],
            "figures": self.figures.to_data() if self.figures else None,
            "first_fulfilling_seconds": self.first_seconds,
            "load_average": self.load,
        }


def api_client(settings: Settings, connections: int) -> ApiClient:
    """A client that waits for an API which is away for a moment."""
    return ApiClient(
        settings.api_url, key=api_key(settings), patience_seconds=PATIENCE_SECONDS, connections=connections
    )


async def trade(
    settings: Settings, plan: Plan, tell: Narrator, *, at_once: int, per_second: float | None, typed_at: float
) -> Run:
    """Load the stock, then let the customers in: first one at a time, then ``at_once``. ``typed_at``: epoch seconds.

    Raises Stuck, TopicAway, and Refused and Unreachable of the client.
    """
    run = Run()
    async with (
        api_client(settings, max(at_once, STOCK_REQUESTS)) as api,
        following_stream(settings) as follower,
    ):
        with tell.progress("stating stock", len(plan.stock)) as advance:
            stated = await import_stock(api, plan.stock, at_once=STOCK_REQUESTS, advance=advance)
        if stated.refused or stated.stopped:
            raise Stuck(f"the stock was not loaded: {stated.stopped or next(iter(stated.refused.values()))}")
        tell.say(
            f"stock of {stated.skus} products loaded ({len(plan.scarce)} scarce; "
            f"{len(plan.unstocked)} that baskets want are not sold here)"
        )
        shop = Shop(api, follower)
        async with tell.following(follower, "one at a time", len(plan.idle)):
            run.idle = await shop.one_at_a_time(plan.idle[:1])
            run.first_seconds = (run.idle[0].decided_at or time.time()) - typed_at
            tell.say(f"the first order was FULFILLING {run.first_seconds:.1f} s after the command was typed")
            run.idle += await shop.one_at_a_time(plan.idle[1:])
            run.load = os.getloadavg()[0]
        async with tell.following(follower, f"{at_once} at once", len(plan.idle) + len(plan.crowd)):
            run.crowd = await shop.crowd(plan.crowd, at_once=at_once, per_second=per_second)
    return run


async def examine(settings: Settings, run: Run, tell: Narrator) -> None:
    """When the last door is shut and the last event is tracked: read everything, compare, count.

    Raises Unavailable, TopicAway and httpx.HTTPError.
    """
    moving = await settled(settings, REST_SECONDS)
    if moving is not None:
        tell.say(f"not at rest after {REST_SECONDS:.0f} s: {moving}")
    evidence = await gather(settings)
    run.comparisons = check(evidence)
    run.figures = measure(evidence, run.idle, run.crowd)
    tell.say("everything that was written is read and compared")


async def telling_orders(api: ApiClient) -> list[tuple[Mapping[str, Any], list[Mapping[str, Any]]]]:
    """An order of each end with its events, as the API gives them; none where no order ended so.

    Of each the one to which most happened: of the cancelled ones its payment was held, or its stock, and given back.
    """
    chosen = []
    for status in _ENDS:
        found = (await api.get("/orders", status=status, limit=200)).data["orders"]
        order = max(found, key=lambda order: order["version"], default=None)
        if order is not None:
            chosen.append((order, (await api.get(f"/orders/{order['id']}/events")).data["events"]))
    return chosen
