"""One order, seen from everywhere."""

import asyncio

from aiokafka import AIOKafkaConsumer, TopicPartition
from temporalio.client import Client

from orderflow.stack.stack import EmbeddedStack
from orderflow_events.envelope import Envelope, decode
from support.shop import Basket, Shop
from support.waiting import until


async def stream_of(stack: EmbeddedStack, order_id: str) -> list[tuple[Envelope, dict[str, bytes]]]:
    """An order's records on the topic, from the first, with their headers."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=stack.settings.kafka_bootstrap_servers, auto_offset_reset="earliest", group_id=None
    )
    await consumer.start()
    try:
        partitions = [TopicPartition(stack.settings.kafka_topic, p) for p in range(stack.settings.kafka_partitions)]
        consumer.assign(partitions)
        ends = await consumer.end_offsets(partitions)
        records = []
        while any([await consumer.position(p) < ends[p] for p in partitions]):
            for batch in (await consumer.getmany(timeout_ms=200)).values():
                records += [record for record in batch if record.key == order_id.encode()]
    finally:
        await consumer.stop()
    return [(decode(r.headers, r.key, r.value), dict(r.headers)) for r in records]


async def test_an_order_from_post_to_completed(stack: EmbeddedStack, shop: Shop, baskets: list[Basket]) -> None:
    await shop.stock_up(baskets[:1])
    order_id = await shop.place(baskets[0])
    assert (await shop.ask(order_id, "approve")).status_code == 200
    await shop.reaches(order_id, "FULFILLING")
    shipped = await shop.ask(order_id, "ship", carrier="UPS", tracking_number="1Z")
    assert shipped.json()["command"]["status"] == "SHIPPED"
    await shop.ask(order_id, "complete")

    await _tracked(shop, order_id, "CAPTURED", "COMMITTED")
    records: list[tuple[Envelope, dict[str, bytes]]] = []

    async def all_sent() -> bool:
        records[:] = await stream_of(stack, order_id)
        return len(records) >= 9

    await until(all_sent, seconds=20, every=0.2)
    by_source: dict[str, list[int]] = {}
    for envelope, _ in records:
        by_source.setdefault(envelope.source, []).append(envelope.version)
    assert by_source == {
        "/orderflow/orders": [1, 2, 3, 4, 5],
        "/orderflow/payments": [1, 2],
        "/orderflow/inventory": [1, 2],
    }
    headers = records[0][1]
    assert headers["ce_specversion"] == b"1.0"
    assert headers["ce_type"] == b"ORDER_CREATED"
    assert headers["ce_id"] == f"orders/{order_id}/1".encode()

    client = await Client.connect(stack.settings.temporal_address)
    description = await client.get_workflow_handle(f"order-{order_id}").describe()
    assert description.status is not None
    assert description.status.name == "COMPLETED"

    async def listed() -> bool:
        found = [w.id async for w in client.list_workflows("ExecutionStatus = 'Completed' AND OrderStatus = 'SHIPPED'")]
        return f"order-{order_id}" in found

    await until(listed)


async def test_the_payment_token_is_in_no_log(stack: EmbeddedStack, shop: Shop, baskets: list[Basket]) -> None:
    await shop.stock_up(baskets[:1])
    token = "tok_canary_5f0c2d"
    order_id = await shop.place(baskets[0], token=token)
    await shop.ask(order_id, "approve")
    await shop.reaches(order_id, "CANCELLED")  # the simulator declines what it does not know
    logs = {path.name: path.read_text(errors="replace") for path in (stack.data_dir / "logs").iterdir()}
    assert {"api.log", "workers.log", "relay.log"} <= logs.keys()
    assert [name for name, text in logs.items() if token in text] == []
    records = await stream_of(stack, order_id)
    assert records
    assert token not in str(records)


async def _tracked(shop: Shop, order_id: str, payment: str, inventory: str) -> None:
    async def there() -> bool:
        order = await shop.show(order_id)
        return bool(order["payment"] and order["inventory"]) and (
            order["payment"]["status"],
            order["inventory"]["status"],
        ) == (payment, inventory)

    await until(there, seconds=20)


async def test_fifty_orders_at_once_all_get_there(shop: Shop, baskets: list[Basket]) -> None:
    await shop.stock_up(baskets[:50])

    async def live(basket: Basket) -> str:
        order_id = await shop.place(basket)
        await shop.ask(order_id, "approve")
        await shop.reaches(order_id, "FULFILLING")
        await shop.ask(order_id, "ship")
        await shop.ask(order_id, "complete")
        return str((await shop.show(order_id))["status"])

    assert await asyncio.gather(*(live(basket) for basket in baskets[:50])) == ["COMPLETED"] * 50
