"""The payments worker: authorize, capture, void."""

import asyncio

from temporalio.client import Client
from temporalio.worker import Worker

from orderflow.settings import Settings
from orderflow.telemetry.health import Health
from orderflow.temporal.names import PAYMENTS_QUEUE
from orderflow.temporal.worker import make_worker, serve_queue, steps_of
from workers.shared import Shared
from workflows.steps import PaymentSteps


def make(client: Client, settings: Settings, steps: PaymentSteps) -> Worker:
    """The worker of the task queue ``payments``."""
    return make_worker(client, settings, PAYMENTS_QUEUE, steps_of(PaymentSteps, steps))


async def serve(settings: Settings, stopping: asyncio.Event, health: Health, shared: Shared) -> None:
    """Work until ``stopping`` is set."""
    steps = await shared.payments()
    await serve_queue(settings, stopping, health, "payments", lambda client: make(client, settings, steps))
