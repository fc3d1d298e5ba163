"""Whether Kafka answers: asked now and again, so that a process that has nothing to send or to read says so too."""

import asyncio
from collections.abc import Callable
from typing import Final

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError

from orderflow.pauses import pause
from orderflow.settings import Settings
from orderflow.stream.clients import connection_options
from orderflow.telemetry.readiness import OK, PartKind, PartState

#: Between two questions, and for one answer.
EVERY_SECONDS: Final = 5.0
ANSWER_SECONDS: Final = 3.0


async def kafka_error(settings: Settings, within_seconds: float = ANSWER_SECONDS) -> str | None:
    """Why the brokers do not answer, in a few words; None: one of them does. Never takes much longer than it may."""
    client = AIOKafkaClient(**connection_options(settings), request_timeout_ms=int(within_seconds * 1000))
    try:
        async with asyncio.timeout(within_seconds):
            await client.bootstrap()
    except TimeoutError:
        return f"no answer within {within_seconds:g} s"
    except (KafkaError, OSError) as error:
        return f"{type(error).__name__} at {settings.kafka_bootstrap_servers}"
    finally:
        await client.close()
    return None


async def watch(settings: Settings, stopping: asyncio.Event, report: Callable[[PartState], None]) -> None:
    """Report how Kafka stands until ``stopping`` is set."""
    while not stopping.is_set():
        error = await kafka_error(settings)
        report(OK if error is None else PartState(PartKind.WAITING, f"Kafka: {error}"))
        await pause(EVERY_SECONDS, stopping)
