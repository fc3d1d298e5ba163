"""Everything that reconciliation reads and repairs, but for Temporal: the three databases and the gateway.

No service may read another's database; reconciliation does, with connections of its own.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Final

from temporalio.client import Client

from operations.reconciliation.findings import Reconcile, Report
from operations.reconciliation.reconciler import Reconciler
from operations.reconciliation.repairs import Repairs
from orderflow.gateways.client import GatewayClient
from orderflow.gateways.http import HttpPaymentGateway
from orderflow.postgres.databases import OPERATORS, open_databases
from orderflow.settings import Settings
from orderflow.store.database import Database
from orderflow.temporal.client import connect
from orderflow.temporal.runs import OrderRuns

#: It compares whole tables, seldom: few connections, and time.
_CONNECTIONS: Final = 2
_COMMAND_SECONDS: Final = 60.0
#: For who waits for it at a terminal.
_ANSWER_WITHIN: Final = timedelta(seconds=10)


class Stores:
    """The three databases and the gateway, as reconciliation uses them."""

    def __init__(self, orders: Database, payments: Database, inventory: Database, gateway: HttpPaymentGateway) -> None:
        self.orders, self.payments, self.inventory, self.gateway = orders, payments, inventory, gateway

    def reconciler(self, settings: Settings, client: Client) -> Reconciler:
        """A reconciler that uses them and ``client``."""
        runs = OrderRuns.of(client)
        others = (self.payments, self.inventory)
        repairs = Repairs(self.orders, self.gateway, others, tracking_group=settings.tracking_group)
        return Reconciler(settings, self.orders, self.payments, self.inventory, self.gateway, runs, repairs)


async def reconcile(settings: Settings, request: Reconcile) -> Report:
    """One reconciliation without a worker. Raises Unavailable when a database, Temporal or the gateway is away."""
    client = await connect(settings, answer_within=_ANSWER_WITHIN)
    async with open_stores(settings) as stores:
        return await stores.reconciler(settings, client).run(request)


@asynccontextmanager
async def open_stores(settings: Settings) -> AsyncIterator[Stores]:
    """Everything that reconciliation reads, but for Temporal. Nothing is connected before it is asked."""
    async with (
        open_databases(settings, OPERATORS, pool_size=_CONNECTIONS, command_timeout=_COMMAND_SECONDS) as databases,
        GatewayClient(settings.address("gateway_url"), _COMMAND_SECONDS, connections=_CONNECTIONS) as http,
    ):
        yield Stores(databases["orders"], databases["payments"], databases["inventory"], HttpPaymentGateway(http))
