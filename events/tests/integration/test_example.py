"""The example consumer runs as it stands, and each payment is billed once however often it is killed."""

import asyncio
import itertools
import random
import sys
from collections.abc import Sequence
from uuid import UUID, uuid4

from support.lab import Lab
from support.paths import ROOT
from support.records import a_record
from support.waiting import until

EXAMPLE = ROOT / "events" / "examples" / "billing.py"
EVENTS = ROOT / "events"
PORTION, KILLS = 50, 5


async def capture(lab: Lab, order: UUID) -> None:
    """An order's payment events, as the relay sends them."""
    for version, (event_type, status, data) in enumerate(
        [
            ("PAYMENT_AUTHORIZED", "AUTHORIZED", {"amount": 419, "currency": "USD", "authorization_id": "a"}),
            ("PAYMENT_CAPTURED", "CAPTURED", {"amount": 419, "currency": "USD", "capture_id": "c"}),
        ],
        start=1,
    ):
        record = a_record(order, version, source="/orderflow/payments", type=event_type, status=status, data=data)
        await lab.producer.send_and_wait(
            lab.settings.kafka_topic, record.value, key=record.key, headers=list(record.headers)
        )


async def produce(lab: Lab, orders: Sequence[UUID]) -> None:
    for order in orders:
        await capture(lab, order)


async def start(lab: Lab) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, str(EXAMPLE)),
        stdout=asyncio.subprocess.DEVNULL,
        env={
            "PYTHONPATH": str(EVENTS),
            "DATABASE_URL": lab.dsn,
            "KAFKA": lab.settings.kafka_bootstrap_servers,
            "TOPIC": lab.settings.kafka_topic,
        },
    )


async def bills(lab: Lab) -> int:
    if await lab.pool.fetchval("SELECT to_regclass('bills')") is None:
        return 0
    return int(await lab.pool.fetchval("SELECT count(*) FROM bills"))


async def test_the_example_bills_each_payment_once_though_it_is_killed_in_the_middle(lab: Lab) -> None:
    portions = [[uuid4() for _ in range(PORTION)] for _ in range(KILLS + 1)]
    chance = random.Random(4)
    consumer = await start(lab)
    try:
        for number, portion in enumerate(portions[:-1]):
            producing = asyncio.create_task(produce(lab, portion))
            at = number * PORTION + chance.randrange(PORTION)

            async def reached(at: int = at) -> bool:
                return await bills(lab) > at

            await until(reached, seconds=40, every=0.002)
            consumer.kill()
            await consumer.wait()
            await producing
            consumer = await start(lab)
        await produce(lab, portions[-1])

        async def all_billed() -> bool:
            return await bills(lab) >= PORTION * len(portions)

        await until(all_billed, seconds=60)
        consumer.terminate()
        assert await asyncio.wait_for(consumer.wait(), 20) == 0
    finally:
        if consumer.returncode is None:
            consumer.kill()
            await consumer.wait()
    billed = await lab.pool.fetch("SELECT order_id, amount, currency FROM bills ORDER BY order_id")
    assert [tuple(row) for row in billed] == [(order, 419, "USD") for order in sorted(itertools.chain(*portions))]
