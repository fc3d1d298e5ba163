"""What is asked for at a scrape: the relays' outboxes and leads, the tracking's lag and dead letters, the orders.

Each is asked of its own database or of Kafka, at most every few seconds, and left out while that does not answer.
"""

from orderflow.store import outbox, tracking, truncation
from orderflow.store.database import Database
from orderflow.store.order_views import OrderViews
from orderflow.stream.relay import Relay
from orderflow.telemetry.metrics import (
    CONSUMER_LAG,
    DEAD_LETTERS_WAITING,
    ORDER_MEAN_AGE,
    ORDER_OLDEST_AGE,
    ORDERS,
    OUTBOX_ENTRIES,
    OUTBOX_OLDEST_AGE,
    PARKED_ORDERS,
    RELAY_HELD_ORDERS,
    RELAY_LEADS,
    STOPPED_PARTITIONS,
)
from orderflow_events.consumer import IdempotentConsumer


class ConsumerLagGauges:
    """How many records of each partition that this member has are still to be done."""

    def __init__(self, group: str, consumer: IdempotentConsumer) -> None:
        self._group = group
        self._consumer = consumer

    async def sample(self) -> None:
        """Ask Kafka. Partitions that went to another member are not shown here any more."""
        lag = await self._consumer.lag()
        CONSUMER_LAG.forget(self._group)
        for partition, records in lag.items():
            CONSUMER_LAG.set(records, self._group, str(partition))

    def forget(self) -> None:
        """Take the lag of every partition away."""
        CONSUMER_LAG.forget(self._group)


class DeadLetterGauges:
    """How many dead letters of a consumer group wait, by kind."""

    def __init__(self, group: str, database: Database) -> None:
        self._group = group
        self._database = database

    async def sample(self) -> None:
        """Count them. Raises Unavailable."""
        for kind, letters in (await tracking.dead_letters(self._database, self._group)).items():
            DEAD_LETTERS_WAITING.set(letters, self._group, kind)

    def forget(self) -> None:
        """Take the group's counts away."""
        DEAD_LETTERS_WAITING.forget(self._group)


class OrderGauges:
    """How many live orders there are in each status, and for how many seconds they have been in it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def sample(self) -> None:
        """Count them in the orders database. Raises Unavailable."""
        for ages in await OrderViews(self._database).ages():
            ORDERS.set(ages.orders, ages.status)
            ORDER_OLDEST_AGE.set(ages.oldest_age, ages.status)
            ORDER_MEAN_AGE.set(ages.mean_age, ages.status)

    def forget(self) -> None:
        """Take the counts and ages of every status away."""
        for gauge in (ORDERS, ORDER_OLDEST_AGE, ORDER_MEAN_AGE):
            gauge.forget()


class OutboxGauges:
    """How many entries of a service's outbox wait and for how many seconds, parked orders, stopped partitions."""

    def __init__(self, service: str, database: Database) -> None:
        self._service = service
        self._database = database

    async def sample(self) -> None:
        """Ask the database. Raises Unavailable."""
        depth = await outbox.depth(self._database)
        stopped = await truncation.stopped(self._database)
        OUTBOX_ENTRIES.set(depth.entries, self._service)
        OUTBOX_OLDEST_AGE.set(depth.oldest_age.total_seconds(), self._service)
        PARKED_ORDERS.set(depth.parked_orders, self._service)
        STOPPED_PARTITIONS.set(len(stopped), self._service)

    def forget(self) -> None:
        """Take all four of this service away."""
        for gauge in (OUTBOX_ENTRIES, OUTBOX_OLDEST_AGE, PARKED_ORDERS, STOPPED_PARTITIONS):
            gauge.forget(self._service)


class LeadGauges:
    """Of a relay: whether it leads its service's database (1 or 0), and how many orders it holds back."""

    def __init__(self, service: str, relay: Relay) -> None:
        self._service = service
        self._relay = relay

    async def sample(self) -> None:
        """Ask the relay."""
        RELAY_LEADS.set(int(self._relay.leads), self._service)
        RELAY_HELD_ORDERS.set(self._relay.held_orders, self._service)

    def forget(self) -> None:
        """Take both away: this process has no relay any more."""
        RELAY_LEADS.forget(self._service)
        RELAY_HELD_ORDERS.forget(self._service)
