"""A database whose new connections are read-only, as those to a standby that is taken for the primary are."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg


@asynccontextmanager
async def read_only(admin_url: str) -> AsyncIterator[None]:
    """All connections are ended; those that are opened meanwhile are read-only, and stay so afterwards."""
    admin = await asyncpg.connect(admin_url)
    try:
        name = await admin.fetchval("SELECT current_database()")
        await admin.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        await admin.fetch(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1 AND pid <> pg_backend_pid()",
            name,
        )
        try:
            yield
        finally:
            await admin.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")
    finally:
        await admin.close()
