"""A service's database, as the settings say."""

from typing import Literal

from orderflow.settings import Settings
from orderflow.store.database import Database

Service = Literal["orders", "payments", "inventory"]


def open_database(settings: Settings, service: Service, *, name: str | None = None, pool_size: int = 0) -> Database:
    """The database of ``service``; ``name`` is what Postgres and the logs call the connections."""
    url = {
        "orders": settings.orders_database_url,
        "payments": settings.payments_database_url,
        "inventory": settings.inventory_database_url,
    }[service]
    return Database(
        name or service,
        url.get_secret_value(),
        pool_size=pool_size or settings.database_pool_size,
        command_timeout=settings.database_command_timeout_seconds,
    )
