"""The services' databases, as the settings say."""

from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager

from orderflow.settings import SERVICES, Service, Settings
from orderflow.store.database import Database


def open_database(
    settings: Settings,
    service: Service,
    *,
    name: str | None = None,
    pool_size: int = 0,
    command_timeout: float | None = None,
) -> Database:
    """The database of ``service``; ``name`` is what Postgres and the logs call the connections.

    ``pool_size`` and ``command_timeout`` (seconds): instead of the settings'.
    """
    return Database(
        name or service,
        settings.database_url(service),
        direct_dsn=settings.database_direct_url(service),
        pool_size=pool_size or settings.database_pool_size,
        command_timeout=command_timeout or settings.database_command_timeout_seconds,
    )


@asynccontextmanager
async def open_databases(
    settings: Settings, services: Iterable[Service] = SERVICES, *, pool_size: int, command_timeout: float | None = None
) -> AsyncIterator[dict[Service, Database]]:
    """Those of several services, which no service does: for who audits them. Each opens at first use."""
    async with AsyncExitStack() as stack:
        yield {
            service: await stack.enter_async_context(
                open_database(settings, service, pool_size=pool_size, command_timeout=command_timeout)
            )
            for service in services
        }
