"""A complete order of ours, over HTTP, as a careful client sends it: keep-alive, an Idempotency-Key for each POST."""

import asyncio
from collections.abc import Iterable
from typing import Any, Final
from uuid import UUID, uuid4

import httpx

from bench.baskets import Basket
from bench.errors import BenchError
from bench.measure import Lap, Stopwatch

#: More than all orders of a bench can take.
ON_HAND: Final = 100_000_000
STOCK_CLERKS: Final = 8
#: Less than the API keeps a connection, so that it never closes one that is just used.
KEEP_ALIVE_SECONDS: Final = 4.0
#: The pause before FULFILLING is asked for again: half of what was waited so far, within these seconds.
SHORTEST_PAUSE, LONGEST_PAUSE = 0.005, 0.25
#: The last event of each service for an order that was completed.
LAST_EVENTS: Final = {
    ("ORDER_STATE_CHANGED", "COMPLETED"),
    ("PAYMENT_CAPTURED", "CAPTURED"),
    ("INVENTORY_COMMITTED", "COMMITTED"),
}
PATIENCE_SECONDS: Final = 60.0


def client(url: str, connections: int) -> httpx.AsyncClient:
    """A client that keeps ``connections`` connections alive."""
    limits = httpx.Limits(
        max_connections=connections, max_keepalive_connections=connections, keepalive_expiry=KEEP_ALIVE_SECONDS
    )
    return httpx.AsyncClient(base_url=url, limits=limits, timeout=PATIENCE_SECONDS, headers={"Prefer": "wait=60"})


async def stock(http: httpx.AsyncClient, baskets: Iterable[Basket]) -> int:
    """Put every product of ``baskets`` into the warehouse. Returns how many products there are."""
    skus = {line.sku for basket in baskets for line in basket.lines}
    left = iter(skus)

    async def put() -> None:
        for sku in left:
            _checked(await http.put(f"/inventory/{sku}", json={"on_hand": ON_HAND}), 200, 201)

    await asyncio.gather(*(put() for _ in range(STOCK_CLERKS)))
    return len(skus)


async def live_through(http: httpx.AsyncClient, basket: Basket) -> Lap:
    """One order from POST to COMPLETED. Raises BenchError when anything is not as it should be."""
    watch = Stopwatch()
    placed = await _post(http, "/orders", 201, basket.request())
    here = f"/orders/{placed['id']}"
    approving = watch.seconds()
    await _post(http, f"{here}/approve", 200)
    await _wait_fulfilling(http, here)
    fulfilling = watch.seconds()
    await _post(http, f"{here}/ship", 200)
    completed = await _post(http, f"{here}/complete", 200)
    lap = Lap(UUID(placed["id"]), lifecycle_seconds=watch.seconds(), to_fulfilling_seconds=fulfilling - approving)
    if completed["status"] != "COMPLETED":
        raise BenchError(f"order {lap.order_id} is {completed['status']}, not COMPLETED")
    return lap


async def told(http: httpx.AsyncClient, order_ids: Iterable[UUID]) -> None:
    """Wait until the events of all these orders came back from Kafka: the relay and the tracking are idle again.

    Raises BenchError when they do not come.
    """
    watch = Stopwatch()
    for order_id in order_ids:
        while missing := LAST_EVENTS - await _known_events(http, order_id):
            if watch.seconds() > PATIENCE_SECONDS:
                raise BenchError(f"order {order_id}: {sorted(missing)} did not come back from Kafka")
            await asyncio.sleep(LONGEST_PAUSE)


async def _known_events(http: httpx.AsyncClient, order_id: UUID) -> set[tuple[str, str]]:
    events = _checked(await http.get(f"/orders/{order_id}/events"), 200)["events"]
    return {(event["type"], event["status"]) for event in events}


async def _wait_fulfilling(http: httpx.AsyncClient, here: str) -> None:
    """Ask until the order is FULFILLING. Each question costs the API something, so they become rarer."""
    watch = Stopwatch()
    while (status := _checked(await http.get(here), 200)["status"]) != "FULFILLING":
        if status != "APPROVED" or watch.seconds() > PATIENCE_SECONDS:
            raise BenchError(f"{here} is {status} after {watch.seconds():.1f} s, not FULFILLING")
        await asyncio.sleep(min(max(watch.seconds() / 2, SHORTEST_PAUSE), LONGEST_PAUSE))


async def _post(http: httpx.AsyncClient, path: str, status: int, body: dict[str, Any] | None = None) -> dict[str, Any]:
    """Send it, and again with the same key as long as the API is not sure (503), as it asks its clients to do."""
    watch, key = Stopwatch(), str(uuid4())
    while True:
        response = await http.post(path, json=body or {}, headers={"Idempotency-Key": key})
        if response.status_code != 503 or watch.seconds() > PATIENCE_SECONDS:
            return _checked(response, status)
        await asyncio.sleep(float(response.headers.get("Retry-After", "1")))


def _checked(response: httpx.Response, *statuses: int) -> dict[str, Any]:
    if response.status_code not in statuses:
        request = response.request
        raise BenchError(f"{request.method} {request.url.path}: {response.status_code} {response.text}")
    answer: dict[str, Any] = response.json()
    return answer
