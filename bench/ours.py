"""A complete order of ours, over HTTP, as a careful client sends it: keep-alive, an Idempotency-Key for each POST.

It asks for nothing again and again: FULFILLING is one GET that is answered when the version has changed, and a ship
waits for its capture.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from typing import Any, Final, Self
from uuid import UUID, uuid4

import asyncpg

from bench.baskets import Basket
from bench.errors import BenchError
from bench.http import PATIENCE_SECONDS, Answer, HttpClient
from bench.measure import Lap, LapTimer, SideName, Stopwatch
from orderflow.credentials import api_key
from orderflow.settings import Settings
from orderflow.temporal.names import workflow_id

#: More than all orders of a bench can take.
ON_HAND: Final = 100_000_000
STOCK_CLERKS: Final = 8
WAIT: Final = "Prefer: wait=20\r\n"
#: The API asks its clients to come again.
_AGAIN: Final = (429, 503)
_LOOK_SECONDS: Final = 0.05

# An order is over when Temporal knows all, and the tracking has heard of its last event of each service.
_OVER: Final = """
SELECT count(*) FROM tracked_orders t
WHERE t.order_id = ANY ($1::uuid[]) AND t.order_status = 'COMPLETED' AND t.payment_status = 'CAPTURED'
  AND t.inventory_status = 'COMMITTED' AND NOT EXISTS (SELECT FROM handovers h WHERE h.order_id = t.order_id)
"""


class Ours:
    """The whole product. ``async with`` closes what it keeps open."""

    name: SideName = "ours"

    def __init__(self, settings: Settings) -> None:
        self.http = HttpClient(settings.api_url, f"Authorization: Bearer {api_key(settings)}\r\n")
        self._orders_database = settings.database_url("orders", "reader")
        self._database: asyncpg.Connection[Any] | None = None

    async def __aenter__(self) -> Self:
        self._database = await asyncpg.connect(self._orders_database)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.http.__aexit__(None, None, None)
        if self._database is not None:
            await self._database.close()

    def workflow_id(self, lap: Lap) -> str:
        """The order's workflow."""
        return workflow_id(lap.order_id)

    async def stock(self, skus: Iterable[str]) -> None:
        """Put every product into the warehouse."""
        left = iter(sorted(set(skus)))

        async def put() -> None:
            for sku in left:
                path = f"/inventory/{sku}"
                _checked(await self.http.send("PUT", path, {"on_hand": ON_HAND}, _key()), path, 200, 201)

        await asyncio.gather(*(put() for _ in range(STOCK_CLERKS)))

    async def live_through(self, basket: Basket) -> Lap:
        """One order from POST to COMPLETED. Raises BenchError when anything is not as it should be."""
        timer, body = LapTimer(), basket.request()
        timer.sending("place")
        placed = await self._post(timer, "/orders", 201, body=body)
        timer.answered("place")
        here = f"/orders/{placed['id']}"
        timer.sending("approve", "to FULFILLING")
        approved = await self._post(timer, f"{here}/approve", 200)
        timer.answered("approve")
        version = await self._becomes(timer, here, approved["version"], "APPROVED", "FULFILLING")
        timer.answered("to FULFILLING")
        timer.sending("ship")
        shipped = await self._post(timer, f"{here}/ship", 200, 202)
        if "status" not in shipped:  # accepted, and not yet done when the wait was over
            await self._becomes(timer, here, version, "FULFILLING", "SHIPPED")
        timer.answered("ship")
        timer.sending("complete")
        completed = await self._post(timer, f"{here}/complete", 200)
        timer.answered("complete")
        if completed["status"] != "COMPLETED":
            raise BenchError(f"{here} is {completed['status']}, not COMPLETED")
        return timer.lap(UUID(placed["id"]))

    async def settled(self, laps: Sequence[Lap]) -> None:
        """Temporal was told of all, and all events came back from Kafka: the relay and the tracking are idle again."""
        if self._database is None:
            raise RuntimeError("use it with `async with`")
        watch, order_ids = Stopwatch(), [lap.order_id for lap in laps]
        while await self._database.fetchval(_OVER, order_ids) < len(order_ids):
            if watch.seconds() > PATIENCE_SECONDS:
                raise BenchError("the last events did not come back from Kafka, or Temporal was not told")
            await asyncio.sleep(_LOOK_SECONDS)

    async def _becomes(self, timer: LapTimer, here: str, version: int, before: str, after: str) -> int:
        """Ask until the order has changed from ``before`` to ``after``; its version then."""
        watch = Stopwatch()
        while True:
            headers = f'If-None-Match: "{version}"\r\n{WAIT}'
            answer = await _answered(timer, partial(self.http.get, here, headers))
            if answer.status != 304:
                order = _checked(answer, here, 200)
                version, status = int(order["version"]), order["status"]
                if status == after:
                    return version
                if status != before:
                    raise BenchError(f"{here} is {status}, not {after}")
            if watch.seconds() > PATIENCE_SECONDS:
                raise BenchError(f"{here} is not {after} after {watch.seconds():.0f} s")

    async def _post(
        self, timer: LapTimer, path: str, *statuses: int, body: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        headers = _key() + WAIT
        answer = await _answered(timer, partial(self.http.send, "POST", path, body or {}, headers))
        return _checked(answer, path, *statuses)


async def _answered(timer: LapTimer, ask: Callable[[], Awaitable[Answer]]) -> Answer:
    """Ask, and again, with the same key, where the API asks for that."""
    watch = Stopwatch()
    while (answer := await ask()).status in _AGAIN and watch.seconds() < PATIENCE_SECONDS:
        timer.again += 1
        await asyncio.sleep(float(answer.headers.get("retry-after", "1")))
    return answer


def _key() -> str:
    return f"Idempotency-Key: {uuid4()}\r\n"


def _checked(answer: Answer, path: str, *statuses: int) -> dict[str, Any]:
    if answer.status not in statuses:
        raise BenchError(f"{path}: {answer.status} {answer.body.decode(errors='replace')}")
    return answer.document()
