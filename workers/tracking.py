"""The tracking's process: a member of its consumer group, ready once it has partitions."""

import asyncio
from collections.abc import Callable

import structlog

from orderflow.databases import open_database
from orderflow.pauses import Backoff, pause
from orderflow.settings import Settings
from orderflow.stream.gauges import ConsumerLagGauges, DeadLetterGauges, OrderGauges
from orderflow.stream.topic import check_topic, in_words
from orderflow.stream.tracking import make_consumer
from orderflow.telemetry.health import Health
from orderflow.telemetry.meters import sampled
from orderflow.telemetry.readiness import STARTING, PartKind, PartState
from workers.shared import Shared

PART = "tracking"

log = structlog.get_logger(__name__)


async def serve(settings: Settings, stopping: asyncio.Event, health: Health, _: Shared) -> None:
    """Track until ``stopping`` is set."""

    def report(state: PartState) -> None:
        health.set(PART, state)

    report(STARTING)
    await _topic_as_it_should_be(settings, stopping, report)
    database = open_database(settings, "orders", name=PART, pool_size=2)
    consumer = make_consumer(settings, database, report)
    group = settings.tracking_group
    try:
        with (
            sampled("consumer_lag", ConsumerLagGauges(group, consumer)),
            sampled("dead_letters", DeadLetterGauges(group, database)),
            # The orders are shown here too: this process has their database, and is one of few.
            sampled("orders", OrderGauges(database)),
        ):
            await consumer.run(stopping)
    finally:
        await database.close()


async def _topic_as_it_should_be(
    settings: Settings, stopping: asyncio.Event, report: Callable[[PartState], None]
) -> None:
    # Subscribing to a topic that is not there can create it, with the broker's defaults.
    backoff = Backoff()
    while not stopping.is_set():
        try:
            differences = await check_topic(settings)
            problem = in_words(differences)
            if not any(difference.stops for difference in differences):
                if problem:
                    log.warning("topic_differs", topic=settings.kafka_topic, differences=problem)
                return
        except Exception as error:
            problem = f"{type(error).__name__}: {error}"
        report(PartState(PartKind.WAITING, f"topic {settings.kafka_topic}: {problem}"))
        log.warning("topic_not_ready", topic=settings.kafka_topic, problem=problem)
        await pause(backoff.next(), stopping)
