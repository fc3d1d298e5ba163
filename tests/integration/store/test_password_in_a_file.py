"""A database's password in a file is changed while a process runs: its next connection uses the new one."""

from pathlib import Path

import asyncpg
import pytest

from orderflow.postgres.databases import open_database
from orderflow.security import secret_files
from orderflow.security.secret_files import write_secret
from orderflow.settings import Settings
from orderflow.store.statements import Statement
from support.stack import Databases

ONE = Statement("test.one", "Says one.", "SELECT 1 AS one")


async def test_a_new_password_is_used_by_the_next_connection(
    databases: Databases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(secret_files, "_LOOK_SECONDS", 0.0)
    admin = await asyncpg.connect(databases.as_admin("orders"))
    try:
        await admin.execute("CREATE ROLE rotated LOGIN PASSWORD 'first' IN ROLE orders")
        host = databases.orders.rpartition("@")[2]
        write_secret(tmp_path / "url", f"postgresql://rotated:first@{host}")
        monkeypatch.setenv("ORDERFLOW_ORDERS_DATABASE_URL_FILE", str(tmp_path / "url"))
        async with open_database(Settings(_env_file=None), "orders", "worker", pool_size=1) as database:
            assert await database.one(ONE, {}) is not None
            await admin.execute("ALTER ROLE rotated PASSWORD 'sec/ond'")
            write_secret(tmp_path / "url", f"postgresql://rotated:sec%2Fond@{host}", replace=True)
            await (await database.pool()).expire_connections()
            assert await database.one(ONE, {}) is not None
    finally:
        await admin.execute("DROP OWNED BY rotated")
        await admin.execute("DROP ROLE rotated")
        await admin.close()
