"""The payments worker: authorize, capture, void."""

import asyncio

from temporalio.client import Client
from temporalio.worker import Worker

from activities.payments import PaymentActivities
from orderflow.databases import open_database
from orderflow.gateways.client import GatewayClient
from orderflow.gateways.http import HttpPaymentGateway
from orderflow.gateways.protocol import PaymentGateway
from orderflow.settings import Settings
from orderflow.store.database import Database
from orderflow.store.payments import Payments
from orderflow.telemetry.health import Health
from orderflow.temporal.names import PAYMENTS_QUEUE
from orderflow.temporal.worker import make_worker, serve_queue, steps_of
from workflows.steps import PaymentSteps


def make(client: Client, settings: Settings, database: Database, gateway: PaymentGateway) -> Worker:
    """The worker of the task queue ``payments``."""
    steps = PaymentActivities(Payments(database), gateway)
    return make_worker(client, settings, PAYMENTS_QUEUE, steps_of(PaymentSteps, steps))


async def serve(settings: Settings, stopping: asyncio.Event, health: Health) -> None:
    """Work until ``stopping`` is set."""
    async with (
        open_database(settings, "payments") as database,
        GatewayClient(settings.gateway_url, settings.gateway_timeout_seconds) as http,
    ):
        gateway = HttpPaymentGateway(http)
        await serve_queue(
            settings, stopping, health, "payments", lambda client: make(client, settings, database, gateway)
        )
