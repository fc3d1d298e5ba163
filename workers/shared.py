"""What the roles of one process share: a service's steps are made once, for its own task queue and for near use."""

import asyncio
from collections.abc import Collection
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self

from activities.inventory import InventoryActivities
from activities.payments import PaymentActivities
from orderflow.gateways.client import GatewayClient
from orderflow.gateways.http import HttpPaymentGateway
from orderflow.postgres.databases import open_database
from orderflow.security.sealing import TokenOpener
from orderflow.settings import Settings
from orderflow.store.payments import Payments
from orderflow.store.reservations import Reservations


class Shared:
    """The steps of payments and inventory in a process with these ``roles``. Use ``async with``: it closes them."""

    def __init__(self, settings: Settings, roles: Collection[str]) -> None:
        self._settings = settings
        self.roles = frozenset(roles)
        self._stack = AsyncExitStack()
        self._making = asyncio.Lock()
        self._payments: PaymentActivities | None = None
        self._inventory: InventoryActivities | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def payments(self) -> PaymentActivities:
        """The payment service's steps. Raises KeyFileError where its private key is not there."""
        async with self._making:
            if self._payments is None:
                settings = self._settings
                opener = TokenOpener.from_file(settings.token_private_key)
                database = await self._stack.enter_async_context(open_database(settings, "payments", "worker"))
                http = await self._stack.enter_async_context(
                    GatewayClient(settings.address("gateway_url"), settings.gateway_timeout_seconds)
                )
                self._payments = PaymentActivities(Payments(database), HttpPaymentGateway(http), opener)
        return self._payments

    async def inventory(self) -> InventoryActivities:
        """The inventory service's steps."""
        async with self._making:
            if self._inventory is None:
                database = await self._stack.enter_async_context(open_database(self._settings, "inventory", "worker"))
                self._inventory = InventoryActivities(Reservations(database))
        return self._inventory
