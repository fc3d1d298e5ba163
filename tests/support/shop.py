"""A client that does not give up: it repeats what got no answer, with the same key, as the README tells clients to."""

import asyncio
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

import httpx

from orderflow.settings import Settings
from support.keys import bearer_of

Basket = list[tuple[str, int, int]]
Answer = dict[str, Any]

#: How long an order may take to where it should be, crashes and restarts included.
PATIENCE_SECONDS = 60


class Shop:
    """Orders over HTTP. ``accepted`` are the orders that the API said it took."""

    def __init__(self, settings: Settings) -> None:
        self.http = httpx.AsyncClient(base_url=settings.api_url, timeout=10, headers=bearer_of(settings))
        self.accepted: set[str] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.http.aclose()

    async def stock(self, **on_hand: int) -> None:
        """Say what is on hand."""
        for sku, number in on_hand.items():
            (await self.http.put(f"/inventory/{sku}", json={"on_hand": number})).raise_for_status()

    async def stock_up(self, baskets: list[Basket], on_hand: int = 100_000) -> None:
        """Enough of everything in ``baskets``."""
        skus = sorted({sku for basket in baskets for sku, _, _ in basket})
        for start in range(0, len(skus), 16):
            await asyncio.gather(*(self.stock(**{sku: on_hand}) for sku in skus[start : start + 16]))

    async def place(self, basket: Basket, token: str = "tok_ok") -> str:
        """Place an order and insist; its id."""
        body = {
            "customer_id": "household-515",
            "reference": "basket",
            "currency": "USD",
            "payment_token": token,
            "lines": [{"sku": s, "quantity": q, "unit_price": p} for s, q, p in basket],
        }
        answer = await self._insist("POST", "/orders", json=body)
        order_id: str = answer.raise_for_status().json()["id"]
        self.accepted.add(order_id)
        return order_id

    async def ask(self, order_id: str, command: str, **body: str) -> httpx.Response:
        """Send a command and insist, until it is done or refused: a ship is 202 while its payment is captured."""
        key = f"{command}-{uuid4()}"
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                answer = await self._insist("POST", f"/orders/{order_id}/{command}", json=body, key=key)
                if answer.status_code != 202:
                    return answer
                await asyncio.sleep(0.05)

    async def show(self, order_id: str) -> Answer:
        """The order's document."""
        answer: Answer = (await self._insist("GET", f"/orders/{order_id}")).json()
        return answer

    async def reaches(self, order_id: str, *statuses: str) -> Answer:
        """Wait until the order has one of ``statuses``. Raises TimeoutError that says where it stands instead."""
        order = await self.show(order_id)
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                while order["status"] not in statuses:
                    changed = {"If-None-Match": f'"{order["version"]}"', "Prefer": "wait=5"}
                    answer = await self._insist("GET", f"/orders/{order_id}", headers=changed)
                    if answer.status_code != 304:
                        order = answer.raise_for_status().json()
        except TimeoutError:
            raise TimeoutError(f"order {order_id} is {order['status']}, not {statuses}") from None
        return order

    async def _insist(
        self, method: str, path: str, *, key: str | None = None, headers: dict[str, str] | None = None, **request: Any
    ) -> httpx.Response:
        headers = dict(headers or {})
        if method == "POST":
            headers["Idempotency-Key"] = key or str(uuid4())
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                try:
                    answer = await self.http.request(method, path, headers=headers, **request)
                except httpx.TransportError:
                    await asyncio.sleep(0.1)  # the API is away: again, with the same key
                    continue
                if answer.status_code != 503:
                    return answer
                await asyncio.sleep(0.1)
