"""``python -m bench.raw_producer RECORDS LINES``: what aiokafka sends when nothing else is to be done.

A producer with the relay's options, on uvloop as the relay, sends records that were encoded before, as fast as it can,
to a topic of its own with as many partitions. Prints records a second.
"""

import asyncio
import sys
from datetime import UTC, datetime
from itertools import islice
from typing import Any, Final
from uuid import uuid4

import uvloop
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from orderflow.settings import Settings
from orderflow.stream.clients import connection_options, make_producer
from orderflow_events.envelope import Record, encode

TOPIC: Final = "bench.raw"
#: Records whose acknowledgements are waited for together.
WINDOW: Final = 5_000


async def main(count: int, lines: int) -> float:
    """Records a second."""
    settings = Settings()
    records = _records(count, lines)
    await _make_topic(settings)
    producer = make_producer(settings)
    await producer.start()
    try:
        clock = asyncio.get_running_loop().time
        began_at = clock()
        left = iter(records)
        while window := list(islice(left, WINDOW)):
            sent = [await producer.send(TOPIC, r.value, r.key, headers=list(r.headers)) for r in window]
            await asyncio.gather(*sent)
        return count / (clock() - began_at)
    finally:
        await producer.stop()


def _records(count: int, lines: int) -> list[Record]:
    """What ``bench.filling`` makes of orders that are FULFILLING: three records of each."""
    created = {
        "customer_id": "somebody-in-bulk",
        "reference": None,
        "currency": "USD",
        "total": 100 * lines,
        "lines": [{"sku": f"g-{number:04}", "quantity": 1, "unit_price": 100} for number in range(lines)],
    }
    kinds: list[tuple[str, str, dict[str, Any]]] = [
        ("ORDER_CREATED", "DRAFT", created),
        ("ORDER_APPROVED", "APPROVED", {}),
        ("ORDER_STATE_CHANGED", "FULFILLING", {"from": "APPROVED", "to": "FULFILLING"}),
    ]
    found: list[Record] = []
    while len(found) < count:
        order_id = uuid4()
        for version, (kind, status, data) in enumerate(kinds, start=1):
            record = encode(
                source="/orderflow/orders",
                type=kind,
                order_id=order_id,
                version=version,
                status=status,
                recorded_at=datetime.now(UTC),
                correlation_id=str(order_id),
                traceparent=None,
                data=data,
            )
            found.append(record)
    return found[:count]


async def _make_topic(settings: Settings) -> None:
    admin = AIOKafkaAdminClient(**connection_options(settings))
    await admin.start()
    try:
        await admin.create_topics([NewTopic(TOPIC, settings.kafka_partitions, 1)])
    finally:
        await admin.close()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        sys.stdout.write(f"{runner.run(main(int(sys.argv[1]), int(sys.argv[2])))}\n")
