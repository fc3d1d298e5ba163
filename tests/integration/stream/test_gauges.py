"""What a relay says of its outbox at a scrape is what its database says, and nothing when that does not answer."""

from collections.abc import Iterator
from uuid import uuid4

import pytest

from orderflow.store import truncation
from orderflow.store.database import Database
from orderflow.store.truncation import Cause, Position
from orderflow.stream.gauges import OutboxGauges
from orderflow.telemetry import meters
from orderflow.telemetry.meters import sampled
from orderflow.telemetry.metrics import SAMPLE_FAILURES
from support.scrapes import Scrape


@pytest.fixture
def gauges(orders_database: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[OutboxGauges]:
    meters.switch_on()
    monkeypatch.setattr(meters, "SAMPLE_EVERY_SECONDS", 0.0)
    gauges = OutboxGauges("gauged", orders_database)
    with sampled("gauged", gauges):
        yield gauges


async def stopped_partitions() -> list[float]:
    scrape = Scrape.of((await meters.exposition(SAMPLE_FAILURES)).decode())
    return [sample.value for sample in scrape.of_name("orderflow_outbox_stopped_partitions", service="gauged")]


async def test_partitions_that_stand_still_are_counted_until_they_go_on(
    gauges: OutboxGauges, orders_database: Database
) -> None:
    assert await stopped_partitions() == [0]
    for partition in (3, 7):
        await truncation.stop(orders_database, Position(uuid4(), 1, partition, 41), "nothing", Cause.LOST)
    assert await stopped_partitions() == [2]
    await truncation.go_on(orders_database, 3)
    assert await stopped_partitions() == [1]


async def test_a_database_that_does_not_answer_leaves_no_old_number(
    gauges: OutboxGauges, orders_database: Database
) -> None:
    assert await stopped_partitions() == [0]
    await orders_database.close()
    assert await stopped_partitions() == []
