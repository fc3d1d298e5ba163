"""How far behind a consumer says that it is, and what it tells of its batches."""

import asyncio
from collections.abc import Sequence
from uuid import uuid4

from orderflow_events.envelope import Envelope
from orderflow_events.inbox import Connection
from support.lab import Lab, applied, running, take_effects
from support.waiting import until


async def test_lag_is_what_is_not_done_with(lab: Lab) -> None:
    goes_on = asyncio.Event()

    async def waits(connection: Connection, envelopes: Sequence[Envelope]) -> None:
        await goes_on.wait()
        await take_effects(connection, envelopes)

    batches: list[tuple[int, float]] = []
    consumer = lab.consumer(effect=waits, on_batch=lambda records, seconds: batches.append((records, seconds)))
    assert await consumer.lag() == {}
    order = uuid4()
    await lab.send(order, 1, 2, 3)
    async with running(consumer):

        async def behind() -> bool:
            return sum((await consumer.lag()).values()) == 3

        await until(behind, seconds=30)
        # Handed over to the effect is not done with.
        await lab.send(order, 4)

        async def further_behind() -> bool:
            return sum((await consumer.lag()).values()) == 4

        await until(further_behind, seconds=30)
        goes_on.set()
        await applied(lab, order, [1, 2, 3, 4])

        async def there() -> bool:
            return sum((await consumer.lag()).values()) == 0

        await until(there, seconds=30)
        assert len(await consumer.lag()) == lab.settings.kafka_partitions
    assert sum(records for records, _ in batches) == 4
    assert all(seconds > 0 for _, seconds in batches)
    # Another member goes on from what is committed.
    again = lab.consumer()
    async with running(again):

        async def assigned() -> bool:
            return len(await again.lag()) == lab.settings.kafka_partitions

        await until(assigned, seconds=30)
        assert sum((await again.lag()).values()) == 0
