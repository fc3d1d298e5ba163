"""Kafka's silence and its errors in our words, in one place."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiokafka.errors import KafkaError

from orderflow.domain.errors import Unavailable


@asynccontextmanager
async def answering() -> AsyncIterator[None]:
    """Around calls of Kafka: what gives no answer, or an error for one, is ``Unavailable("kafka", …)``."""
    try:
        yield
    except (KafkaError, OSError) as error:
        raise Unavailable("kafka", str(error) or type(error).__name__) from error
