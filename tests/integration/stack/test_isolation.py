"""Each service reaches its own database, and no other."""

import asyncpg
import pytest

from orderflow.settings import SERVICES, Service
from support.stack import PASSWORDS, Databases, PostgresServer


@pytest.mark.parametrize("service", SERVICES)
async def test_a_service_reaches_its_own_database(databases: Databases, service: Service) -> None:
    connection = await asyncpg.connect(databases.url(service))
    assert await connection.fetchval("SELECT count(*) FROM events") == 0
    await connection.close()


@pytest.mark.parametrize("database", SERVICES)
@pytest.mark.parametrize("role", SERVICES)
async def test_a_service_cannot_connect_to_the_database_of_another(
    databases: Databases, postgres: PostgresServer, role: Service, database: Service
) -> None:
    if role == database:
        return
    name = databases.url(database).rpartition("/")[2].partition("?")[0]
    url = postgres.server.url(name, user=role, password=PASSWORDS[role])
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="permission denied for database"):
        await asyncpg.connect(url)


@pytest.mark.parametrize("service", SERVICES)
async def test_a_service_may_not_change_its_schema(databases: Databases, service: Service) -> None:
    connection = await asyncpg.connect(databases.url(service))
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await connection.execute("CREATE TABLE public.notes (id int)")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await connection.execute("ALTER TABLE events DISABLE TRIGGER ALL")
    await connection.close()
