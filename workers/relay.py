"""The relay's process: one relay for each of the three databases, ready when all three are."""

import asyncio
from collections.abc import Callable
from datetime import timedelta

from orderflow.postgres.databases import open_database
from orderflow.settings import SERVICES, Service, Settings
from orderflow.store.database import Database
from orderflow.store.outbox_status import relay_name
from orderflow.stream.clients import make_producer, make_reader
from orderflow.stream.gauges import LeadGauges, OutboxGauges
from orderflow.stream.publisher import Publisher
from orderflow.stream.relay import Relay
from orderflow.stream.topic import check_topic
from orderflow.stream.truncation import TopicComparison
from orderflow.telemetry.health import Health
from orderflow.telemetry.meters import sampled
from orderflow.telemetry.readiness import STARTING, PartState
from workers.shared import Shared


def make_comparison(service: str, database: Database, settings: Settings) -> TopicComparison:
    """What compares the publications of ``service`` with the topic."""
    return TopicComparison(
        database,
        f"/orderflow/{service}",
        settings.kafka_topic,
        make_reader=lambda: make_reader(settings),
        retention=timedelta(hours=settings.kafka_retention_hours),
    )


def make_relay(service: Service, settings: Settings, report: Callable[[PartState], None]) -> tuple[Relay, Database]:
    """The relay of ``service``'s database, and that database, to be closed after it."""
    database = open_database(settings, service, "relay", name=relay_name(service), pool_size=3)
    publisher = Publisher(
        f"/orderflow/{service}",
        settings.kafka_topic,
        make_producer=lambda: make_producer(settings),
        check_topic=lambda: check_topic(settings),
        check_acknowledged=make_comparison(service, database, settings).check,
        partitions=settings.kafka_partitions,
    )
    relay = Relay(
        service,
        database,
        publisher,
        lease_seconds=settings.relay_lease_seconds,
        pacing_seconds=settings.relay_pacing_seconds,
        batch_size=settings.relay_batch_size,
        report=report,
    )
    return relay, database


async def serve(settings: Settings, stopping: asyncio.Event, health: Health, _: Shared) -> None:
    """Run the relays of the three databases until ``stopping`` is set."""

    async def relay_one(service: Service) -> None:
        def report(state: PartState) -> None:
            health.set(f"relay:{service}", state)

        report(STARTING)
        relay, database = make_relay(service, settings, report)
        try:
            with (
                sampled(f"outbox_{service}", OutboxGauges(service, database)),
                sampled(f"lead_{service}", LeadGauges(service, relay)),
            ):
                await relay.run(stopping)
        finally:
            await database.close()

    async with asyncio.TaskGroup() as relays:
        for service in SERVICES:
            relays.create_task(relay_one(service))
