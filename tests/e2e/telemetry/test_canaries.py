"""After an order's life the payment token, and what looks like a card, lie nowhere; the customer lies in few places."""

import base64

import httpx
import pytest
import pytest_asyncio

from orderflow.stack.stack import EmbeddedStack
from support.canaries import hits, places
from support.shop import Basket, Shop
from support.waiting import until

pytestmark = pytest.mark.stack(traces="file", log_level="debug")

TOKEN = "tok_canary_5c2e91"
CARD = "4000056655665556"
CUSTOMER = "canary-customer-77d0"


async def _order(shop: Shop, basket: Basket, token: str) -> httpx.Response:
    lines = [{"sku": sku, "quantity": quantity, "unit_price": price} for sku, quantity, price in basket]
    body = {"customer_id": CUSTOMER, "currency": "USD", "payment_token": token, "lines": lines}
    return await shop.http.post("/orders", json=body)


@pytest_asyncio.fixture(scope="module")
async def found(stack: EmbeddedStack, baskets: list[Basket]) -> dict[str, bytes]:
    """Every place, once orders have ended in every way: shipped, declined, cancelled, refused."""
    async with Shop(stack.settings) as shop:
        await shop.stock_up(baskets[:1])
        shipped = (await _order(shop, baskets[0], "tok_ok")).raise_for_status().json()["id"]
        for command, status in (("approve", "FULFILLING"), ("ship", "SHIPPED"), ("complete", "COMPLETED")):
            await shop.ask(shipped, command)
            await shop.reaches(shipped, status)
        declined = (await _order(shop, baskets[0], TOKEN)).raise_for_status().json()["id"]
        await shop.ask(declined, "approve")  # the simulator declines what it does not know
        await shop.reaches(declined, "CANCELLED")
        cancelled = (await _order(shop, baskets[0], TOKEN)).raise_for_status().json()["id"]
        await shop.ask(cancelled, "cancel")
        # What is refused is told in an error, and perhaps in a log.
        assert (await shop.http.post("/orders", json={"customer_id": CUSTOMER, "payment_token": TOKEN})).is_client_error
        card = await _order(shop, baskets[0], CARD)
        if card.is_success:
            await shop.ask(card.json()["id"], "approve")
            await shop.reaches(card.json()["id"], "CANCELLED")
        assert (await shop.http.get("/orders", params={"customer_id": CUSTOMER})).json()["orders"]

        async def told() -> bool:
            """The stream has told of the capture, so all of it has been published and tracked."""
            return bool((payment := (await shop.show(shipped))["payment"]) and payment["status"] == "CAPTURED")

        await until(told, seconds=20, every=0.1)
    everything = await places(stack)
    # That nothing is found means something only where it would be.
    order_id = shipped.encode()
    for place in ("database orders", "database payments", "database inventory", "topic", "temporal", "logs", "traces"):
        assert order_id in everything[place], place
    assert b"orderflow_" in everything["metrics"]
    assert b"cli.main" in everything["argv"] or b"orderflow" in everything["argv"]
    assert b"ORDERFLOW_" in everything["environment"]
    return everything


def test_the_payment_token_lies_nowhere(found: dict[str, bytes]) -> None:
    assert hits(TOKEN, found) == set()


def test_the_token_of_the_order_that_was_shipped_lies_nowhere(found: dict[str, bytes]) -> None:
    assert hits('"tok_ok"', found) == set()


def test_what_looks_like_a_card_lies_nowhere(found: dict[str, bytes]) -> None:
    assert hits(CARD, found) == set()


def test_the_customer_lies_in_the_orders_database_and_on_the_stream_alone(found: dict[str, bytes]) -> None:
    """The stream names the customer to who may read it: docs/security.md."""
    assert hits(CUSTOMER, found) == {"database orders", "topic"}


def test_a_word_is_found_in_any_shape() -> None:
    for offset in range(3):
        text = base64.b64encode(b"x" * offset + TOKEN.encode() + b"yyy")
        assert hits(TOKEN, {"there": text, "elsewhere": b"x"}) == {"there"}
