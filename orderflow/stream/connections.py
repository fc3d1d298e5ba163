"""A producer that never connects again by itself, so that after a broker's restart nothing goes out unseen.

aiokafka's reconnects in silence and sends what was under way, to a broker that may have lost what stood before it.
Here the connections are made first and then sealed: when one ends, or a new one would be needed, the producer is
``lost``, and its owner makes another, which looks at the topic before it sends.

aiokafka offers neither this nor an end to a producer whose broker is away: both use its privates, here and nowhere
else, so its next minor version needs the tests of this room before it is let in (``pyproject.toml``).
"""

import asyncio
from typing import Any
from uuid import UUID

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaConnectionError, KafkaError

from orderflow.stream.topic_id import topic_id


class Connections:
    """The connections of one started producer."""

    def __init__(self, producer: AIOKafkaProducer) -> None:
        self._client = producer.client
        self._connect = self._client._get_conn
        self._closed = self._client._on_connection_closed
        #: Set when the producer must be replaced.
        self.lost = asyncio.Event()

    async def seal(self) -> None:
        """Connect to every broker that answers; from now on to none."""
        for broker in self._client.cluster.brokers():
            await self._client.ready(broker.nodeId)
        self._client._get_conn = self._only_open
        for connection in self._client._conns.values():
            connection._on_close_cb = self._told
            if not connection.connected():
                self.lost.set()

    async def topic_id(self, topic: str) -> UUID | None:
        """The id of ``topic``, asked on one of the connections. Raises KafkaError, also where none is left."""
        for (node, _), connection in self._client._conns.items():
            if connection.connected():
                return await topic_id(self._client, node, topic)
        raise KafkaConnectionError("no connection to Kafka is left")

    async def _only_open(self, node_id: Any, **options: Any) -> Any:
        open_ones = {key[0]: connection for key, connection in self._client._conns.items() if connection.connected()}
        if node_id in open_ones and not self.lost.is_set():
            return open_ones[node_id]
        self.lost.set()
        return None

    def _told(self, connection: Any, reason: Any) -> None:
        self.lost.set()
        self._closed(connection, reason)


async def close_producer(producer: AIOKafkaProducer) -> None:
    """End ``producer`` in seconds, also while Kafka is away. What it has not sent is given up."""
    try:
        async with asyncio.timeout(1):
            await producer.stop()
    except Exception:
        # stop() waits for deliveries, for ever while Kafka is away, and aiokafka has no other way to end a producer.
        producer._message_accumulator.fail_all(KafkaError("given up"))
        sender = producer._sender.sender_task
        if sender is not None:
            # Done above; here it would trip over no transaction.
            sender.remove_done_callback(producer._sender._fail_all)
            sender.add_done_callback(_seen)
            sender.cancel()
        await producer.client.close()
        if sender is not None:
            await asyncio.wait([sender], timeout=1)


def _seen(sender: asyncio.Future[Any]) -> None:
    """Keeps asyncio from reporting an error of a task that nobody waits for any more."""
    if not sender.cancelled():
        sender.exception()
