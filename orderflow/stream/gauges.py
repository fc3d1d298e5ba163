"""What is asked for at a scrape: the relays' outboxes and leads, the tracking's lag and dead letters, the orders.

Each is asked of its own database or of Kafka, at most every few seconds, and left out while that does not answer.
"""

from collections.abc import Callable

from orderflow.store import outbox, tracking, truncation
from orderflow.store.database import Database
from orderflow.store.order_views import OrderViews
from orderflow.telemetry.metrics import (
    CONSUMER_LAG,
    DEAD_LETTERS_WAITING,
    ORDER_MEAN_AGE,
    ORDER_OLDEST_AGE,
    ORDERS,
    OUTBOX_ENTRIES,
    OUTBOX_OLDEST_AGE,
    PARKED_ORDERS,
    RELAY_LEADS,
    STOPPED_PARTITIONS,
)
from orderflow_events.consumer import IdempotentConsumer


class TrackingGauges:
    """Of the tracking's process. The orders are there too: it has their database, and is one of few."""

    def __init__(self, group: str, consumer: IdempotentConsumer, database: Database) -> None:
        self._group = group
        self._consumer = consumer
        self._database = database

    async def lag(self) -> None:
        """Ask Kafka. Partitions that went to another member are not shown here any more."""
        lag = await self._consumer.lag()
        CONSUMER_LAG.forget(self._group)
        for partition, records in lag.items():
            CONSUMER_LAG.set(records, self._group, str(partition))

    def forget_lag(self) -> None:
        """It is not known."""
        CONSUMER_LAG.forget(self._group)

    async def dead_letters(self) -> None:
        """Count those that wait."""
        for kind, letters in (await tracking.dead_letters(self._database, self._group)).items():
            DEAD_LETTERS_WAITING.set(letters, self._group, kind)

    def forget_dead_letters(self) -> None:
        """They are not known."""
        DEAD_LETTERS_WAITING.forget(self._group)

    async def orders(self) -> None:
        """Count the live orders, and see how old they are."""
        for ages in await OrderViews(self._database).ages():
            ORDERS.set(ages.orders, ages.status)
            ORDER_OLDEST_AGE.set(ages.oldest_age, ages.status)
            ORDER_MEAN_AGE.set(ages.mean_age, ages.status)

    def forget_orders(self) -> None:
        """They are not known."""
        for gauge in (ORDERS, ORDER_OLDEST_AGE, ORDER_MEAN_AGE):
            gauge.forget()


class RelayGauges:
    """Of one relay."""

    def __init__(self, service: str, database: Database, leads: Callable[[], bool]) -> None:
        self._service = service
        self._database = database
        self._leads = leads

    async def outbox(self) -> None:
        """How much waits, and what stands still."""
        depth = await outbox.depth(self._database)
        stopped = await truncation.stopped(self._database)
        OUTBOX_ENTRIES.set(depth.entries, self._service)
        OUTBOX_OLDEST_AGE.set(depth.oldest_age.total_seconds(), self._service)
        PARKED_ORDERS.set(depth.parked_orders, self._service)
        STOPPED_PARTITIONS.set(len(stopped), self._service)

    def forget_outbox(self) -> None:
        """It is not known."""
        for gauge in (OUTBOX_ENTRIES, OUTBOX_OLDEST_AGE, PARKED_ORDERS, STOPPED_PARTITIONS):
            gauge.forget(self._service)

    async def lead(self) -> None:
        """Whether it leads."""
        RELAY_LEADS.set(int(self._leads()), self._service)

    def forget_lead(self) -> None:
        """It is no more."""
        RELAY_LEADS.forget(self._service)
