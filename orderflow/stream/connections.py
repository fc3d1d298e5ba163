"""A producer that never connects again by itself: after a broker's restart nothing goes out unseen.

aiokafka's reconnects in silence and sends what was under way, to a broker that may have lost what stood before it.
Here the connections are made first and then sealed: when one ends, or a new one would be needed, the producer is
``lost``, and its owner makes another, which looks at the topic before it sends.
"""

import asyncio
from typing import Any

from aiokafka import AIOKafkaProducer


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

    async def _only_open(self, node_id: Any, **options: Any) -> Any:
        open_ones = {key[0]: connection for key, connection in self._client._conns.items() if connection.connected()}
        if node_id in open_ones and not self.lost.is_set():
            return open_ones[node_id]
        self.lost.set()
        return None

    def _told(self, connection: Any, reason: Any) -> None:
        self.lost.set()
        self._closed(connection, reason)
