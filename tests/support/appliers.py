"""The consumer kit's way of applying batches, without Kafka: records made by hand, in the real Postgres."""

import asyncio
import itertools
from collections import Counter
from collections.abc import Sequence
from typing import Any
from uuid import UUID, uuid4

import asyncpg
from aiokafka import ConsumerRecord

from orderflow_events.applying import Applier, each
from orderflow_events.consumer import accept_all
from orderflow_events.dead_letters import DeadLetter, Passed
from orderflow_events.envelope import Envelope
from orderflow_events.failures import Retries, is_transient
from orderflow_events.inbox import Connection, Gap
from orderflow_events.redrive import Redriven, dead_letters, redrive
from orderflow_events.states import ConsumerState
from support.records import a_record

TOPIC = "order.events"


class Billing:
    """A consumer's database, and an effect that fails for the events in ``poison`` (with ``error``)."""

    def __init__(self, pool: "asyncpg.Pool[Any]") -> None:
        self.pool = pool
        self.group = f"billing-{uuid4().hex[:8]}"
        self.poison: set[tuple[UUID, int]] = set()
        self.error: Exception = ZeroDivisionError("a bug in the effect")
        self.tried: Counter[tuple[UUID, int]] = Counter()
        self.states: list[ConsumerState] = []
        self.gaps: list[Gap] = []
        self.passed: list[Passed] = []
        self.told: list[DeadLetter] = []
        self.stopping = asyncio.Event()
        self._offsets = itertools.count()

    async def bill(self, connection: Connection, envelope: Envelope) -> None:
        """One row an event, in a table that would take doubles."""
        event = (envelope.order_id, envelope.version)
        self.tried[event] += 1
        await connection.execute("INSERT INTO effects (order_id, version) VALUES ($1, $2)", *event)
        if event in self.poison:
            raise self.error

    def applier(self, **options: Any) -> Applier:
        """As a member of the group has it; quick with its retries."""
        defaults: dict[str, Any] = {
            "group": self.group,
            "connect": self.pool.acquire,
            "effect": each(self.bill),
            "accept": accept_all,
            "retries": Retries(attempts=3, first_pause_seconds=0.01, longest_pause_seconds=0.05),
            "strict_gaps": False,
            "transient": is_transient,
            "on_gap": self.gaps.append,
            "on_passed": self.passed.append,
            "on_dead_letter": self.told.append,
            "on_state": self.states.append,
        }
        return Applier(**(defaults | options))

    async def apply(self, *records: ConsumerRecord, **options: Any) -> Sequence[DeadLetter] | None:
        """Apply one batch, within a minute."""
        async with asyncio.timeout(60):
            return await self.applier(**options).apply(records, self.stopping)

    async def redrive(self, **options: Any) -> Redriven:
        """Redrive with the group's effect."""
        defaults: dict[str, Any] = {"connect": self.pool.acquire, "group": self.group, "effect": each(self.bill)}
        return await redrive(**(defaults | options))

    async def letters(self, order: UUID | None = None) -> list[DeadLetter]:
        """What stands among the dead letters."""
        return await dead_letters(self.pool.acquire, self.group, str(order) if order else None)

    async def effects(self, order: UUID) -> list[int]:
        """The versions of ``order`` that took effect, in the order in which they did."""
        rows = await self.pool.fetch("SELECT version FROM effects WHERE order_id = $1 ORDER BY n", order)
        return [row["version"] for row in rows]

    def event(self, order: UUID, version: int) -> ConsumerRecord:
        """The record of an event, at the next offset."""
        record = a_record(order, version)
        return self.record(record.key, record.value, record.headers)

    def record(
        self, key: bytes | None, value: bytes | None, headers: Sequence[tuple[str, bytes]] = ()
    ) -> ConsumerRecord:
        """Any record, at the next offset."""
        return ConsumerRecord(
            topic=TOPIC,
            partition=0,
            offset=next(self._offsets),
            timestamp=1_764_000_000_000,
            timestamp_type=0,
            key=key,
            value=value,
            checksum=None,
            serialized_key_size=0,
            serialized_value_size=0,
            headers=headers,
        )
