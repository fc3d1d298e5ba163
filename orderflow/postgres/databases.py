"""The services' databases, as the settings say."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

from orderflow.settings import DatabaseRole, Service, Settings
from orderflow.store.database import Database

#: For who looks at the three databases.
READERS: Final[Mapping[Service, DatabaseRole]] = {"orders": "reader", "payments": "reader", "inventory": "reader"}
#: For who puts right what is published.
RELAYS: Final[Mapping[Service, DatabaseRole]] = {"orders": "relay", "payments": "relay", "inventory": "relay"}
#: For who looks at the three, has an order looked at again and puts forgotten events back.
OPERATORS: Final[Mapping[Service, DatabaseRole]] = {
    "orders": "operator",
    "payments": "operator",
    "inventory": "operator",
}


def open_database(
    settings: Settings,
    service: Service,
    role: DatabaseRole,
    *,
    name: str | None = None,
    pool_size: int = 0,
    command_timeout: float | None = None,
) -> Database:
    """The database of ``service`` as ``role``; ``name`` is what Postgres and the logs call the connections.

    ``pool_size`` and ``command_timeout`` (seconds): instead of the settings'.
    """
    return Database(
        name or service,
        settings.database_url(service, role),
        direct_dsn=settings.database_direct_url(service, role),
        password=settings.database_password(service, role),
        pool_size=pool_size or settings.database_pool_size,
        command_timeout=command_timeout or settings.database_command_timeout_seconds,
    )


@asynccontextmanager
async def open_databases(
    settings: Settings,
    roles: Mapping[Service, DatabaseRole] = READERS,
    *,
    pool_size: int,
    command_timeout: float | None = None,
) -> AsyncIterator[dict[Service, Database]]:
    """Those of several services, each in a role, which no service does. Each opens at first use."""
    async with AsyncExitStack() as stack:
        yield {
            service: await stack.enter_async_context(
                open_database(settings, service, role, pool_size=pool_size, command_timeout=command_timeout)
            )
            for service, role in roles.items()
        }
