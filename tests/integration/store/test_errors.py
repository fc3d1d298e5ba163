"""What Postgres and its driver raise, in our words."""

import asyncpg
import pytest

from orderflow.domain.errors import Rejection, Unavailable
from orderflow.store.database import Database
from orderflow.store.errors import LostRace, database_errors, lacks_a_table
from orderflow.store.statements import Statement
from support.stack import Databases


async def _run(database: Database, sql: str, **values: object) -> None:
    await database.all(Statement("test.failing", "Fails.", sql), values)


@pytest.mark.parametrize(
    ("sql", "values"),
    [
        ("SELECT 1 / $divisor::int", {"divisor": 0}),
        ("SELECT $number::int", {"number": 2**40}),
        ("SELECT $text::jsonb", {"text": "a\\u0000b\x00"}),
        ("INSERT INTO relay_lease (name, holder, expires_at) VALUES ('x', NULL, now())", {}),
    ],
    ids=["division_by_zero", "number_out_of_range", "nul", "constraint"],
)
async def test_bad_data_is_a_rejection(orders_db: Database, sql: str, values: dict[str, object]) -> None:
    with pytest.raises(Rejection) as refused:
        await _run(orders_db, sql, **values)
    assert refused.value.problem.status == 422


async def test_who_comes_second_lost_a_race(orders_db: Database) -> None:
    lease = "INSERT INTO relay_lease (name, holder, expires_at) VALUES ('x', 'y', now())"
    await _run(orders_db, lease)
    with pytest.raises(LostRace):
        await _run(orders_db, lease)


def _raising(sqlstate: str) -> str:
    return f"DO $$ BEGIN RAISE EXCEPTION 'away' USING ERRCODE = '{sqlstate}'; END $$"


#: An outage of each kind, and what clients are told of it.
OUTAGES = {
    "08006": "the connection was lost",
    "08P01": "a pooler in between",
    "0A000": "a pooler in between",
    "24000": "mixed up sessions",
    "25001": "mixed up sessions",
    "25006": "read-only",
    "25P01": "mixed up sessions",
    "25P02": "mixed up sessions",
    "25P03": "idle for too long",
    "25P04": "took too long",
    "26000": "a pooler in transaction mode",
    "28P01": "refuses the role",
    "34000": "mixed up sessions",
    "3B001": "mixed up sessions",
    "3D000": "no such database",
    "3F000": "a migration has not been applied",
    "40003": "whether the statement was completed",
    "42501": "lacks a privilege",
    "42703": "a migration has not been applied",
    "42704": "a migration has not been applied",
    "42804": "a migration has not been applied",
    "42809": "a migration has not been applied",
    "42883": "a migration has not been applied",
    "42P01": "a migration has not been applied",
    "42P10": "a migration has not been applied",
    "42P05": "a pooler in transaction mode",
    "53300": "run out of connections",
    "55000": "no such statement now",
    "55006": "in use",
    "55P02": "mixed up sessions",
    "55P03": "a lock was not free in time",
    "57014": "cancelled the statement",
    "57P01": "shutting down",
    "58030": "its system has an error",
    "72000": "it took too long",
    "HV000": "from another server",
    "XX001": "an internal error",
}


@pytest.mark.parametrize(("sqlstate", "words"), OUTAGES.items())
async def test_an_outage_is_unavailable_and_says_which(orders_db: Database, sqlstate: str, words: str) -> None:
    with pytest.raises(Unavailable) as raised:
        await _run(orders_db, _raising(sqlstate))
    assert not isinstance(raised.value, LostRace)
    assert words in str(raised.value.cause)
    assert sqlstate in str(raised.value.cause)
    await _run(orders_db, "SELECT 1")


@pytest.mark.parametrize("sqlstate", ["40001", "40P01"])
async def test_what_was_rolled_back_for_anothers_sake_lost_a_race(orders_db: Database, sqlstate: str) -> None:
    with pytest.raises(LostRace):
        await _run(orders_db, _raising(sqlstate))


@pytest.mark.parametrize(
    ("setting", "sql", "words"),
    [
        ("lock_timeout = 100", "SELECT * FROM relay_lease", "a lock was not free in time"),
        ("statement_timeout = 100", "SELECT pg_sleep(5)", "cancelled the statement"),
    ],
)
async def test_a_limit_of_the_databases_own_is_an_outage(
    databases: Databases, orders_db: Database, setting: str, sql: str, words: str
) -> None:
    admin = await asyncpg.connect(databases.as_admin("orders"))
    name = await admin.fetchval("SELECT current_database()")
    await admin.execute(f"ALTER DATABASE {name} SET {setting}")  # for connections that begin from now on
    try:
        async with admin.transaction():
            await admin.execute("LOCK TABLE relay_lease")
            with pytest.raises(Unavailable) as raised:
                await _run(orders_db, sql)
    finally:
        await admin.close()
    assert words in str(raised.value.cause)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("REVOKE ALL ON relay_lease FROM orderflow_service", "lacks a privilege (SQLSTATE 42501)"),
        ("ALTER TABLE relay_lease RENAME TO another", "a migration has not been applied (SQLSTATE 42P01)"),
        ("ALTER TABLE relay_lease RENAME COLUMN holder TO another", "has not been applied (SQLSTATE 42703)"),
    ],
)
async def test_a_database_that_is_not_set_up_is_an_outage_until_it_is(
    databases: Databases, orders_db: Database, change: str, words: str
) -> None:
    admin = await asyncpg.connect(databases.as_admin("orders"))
    try:
        await _run(orders_db, "SELECT holder FROM relay_lease")
        async with admin.transaction():
            await admin.execute(change)
        with pytest.raises(Unavailable) as raised:
            await _run(orders_db, "SELECT holder FROM relay_lease")
        assert words in str(raised.value.cause)
        assert lacks_a_table(raised.value) == ("42P01" in words)
    finally:
        await admin.close()


@pytest.mark.parametrize(
    "error", [asyncpg.InternalClientError("x"), asyncpg.InterfaceError("x"), asyncpg.ClientConfigurationError("x")]
)
def test_the_drivers_own_trouble_is_an_outage(error: Exception) -> None:
    with pytest.raises(Unavailable), database_errors("orders"):
        raise error


async def test_a_connection_that_is_ended_is_unavailable_and_then_made_again(orders_db: Database) -> None:
    with pytest.raises(Unavailable):
        await _run(orders_db, "SELECT pg_terminate_backend(pg_backend_pid())")
    await _run(orders_db, "SELECT 1")


async def test_an_unknown_server_is_unavailable() -> None:
    async with Database("orders", "postgresql://orders@127.0.0.1:9/orders") as database:
        with pytest.raises(Unavailable):
            await _run(database, "SELECT 1")


async def test_a_bug_stays_a_bug(orders_db: Database) -> None:
    with pytest.raises(asyncpg.PostgresSyntaxError) as raised:
        await _run(orders_db, "SELECT FROM FROM")
    assert not isinstance(raised.value, Rejection | Unavailable)
