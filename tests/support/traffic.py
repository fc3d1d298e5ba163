"""A little of everything that a stack counts, so that each metric has something to show."""

from uuid import UUID

import httpx
from aiokafka import AIOKafkaProducer

from orderflow.postgres.databases import open_database
from orderflow.stack.stack import EmbeddedStack
from orderflow.store.handovers import Handovers
from support.scrapes import scrape
from support.shop import Basket, Shop
from support.waiting import until

BASKET: Basket = [("metrics-apples", 2, 199), ("metrics-pears", 1, 249)]


async def a_little_of_everything(stack: EmbeddedStack, shop: Shop) -> None:
    """Orders of several paths, lost answers, problems, a poison record; then wait until the stream is at rest."""
    await shop.stock_up([BASKET])
    secured = []
    # After three payments without an answer the fourth is not tried near: it is an ordinary step that is repeated.
    for token in ("tok_ok", "tok_ok", *["tok_answer_lost_once"] * 4):
        order = await shop.place(BASKET, token=token)
        await shop.ask(order, "approve")
        await shop.reaches(order, "FULFILLING")
        secured.append(order)
    for order in secured:
        await shop.ask(order, "ship")
        await shop.ask(order, "complete")
    await shop.stock(**{"metrics-few": 1})
    for basket, token in (
        (BASKET, "tok_declined"),
        ([("metrics-unheard-of", 1, 1)], "tok_ok"),
        ([("metrics-few", 2, 1)], "tok_ok"),
    ):
        order = await shop.place(basket, token=token)
        await shop.ask(order, "approve")
        await shop.reaches(order, "CANCELLED")
    async with open_database(stack.settings, "orders", "operator") as database:
        await Handovers(database).look(UUID(secured[0]))  # a dispatcher tells it
    draft = await shop.place(BASKET)
    assert (await shop.ask(draft, "ship")).status_code == 409
    assert (await shop.http.get("/no/such/path")).status_code == 404
    assert (await shop.http.get("/orders/0b0b7d4e-6a41-5b0c-9a53-4f8f7bd32d11")).status_code == 404
    producer = AIOKafkaProducer(bootstrap_servers=stack.settings.kafka_bootstrap_servers)
    await producer.start()
    try:
        await producer.send_and_wait(stack.settings.kafka_topic, b"this is no event", key=b"poison")
    finally:
        await producer.stop()

    async def at_rest() -> bool:
        try:
            relay = await scrape(stack.ports["relay"])
            told = (await scrape(stack.ports["workers"])).total("orderflow_handovers_told_total")
        except httpx.TransportError:
            return False
        waiting = relay.total("orderflow_outbox_entries") + relay.total("orderflow_consumer_lag_records")
        return waiting == 0 and told > 0 and relay.total("orderflow_dead_letters_waiting") == 1

    await until(at_rest, seconds=60, every=0.5)
