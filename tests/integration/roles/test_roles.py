"""What each role may do in Postgres, cell by cell, and that none stands in another's way."""

import asyncio
import itertools
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, TypeAlias

import asyncpg
import pytest

from orderflow import bootstrap
from orderflow.postgres.grants import GRANTS
from orderflow.postgres.roles import ROLES, group, limits
from orderflow.postgres.setup import DatabaseUrlError, access, groups
from orderflow.settings import SERVICES, DatabaseRole, Service, Settings
from support.paths import MIGRATIONS
from support.stack import LOGINS, Databases, PostgresServer

Connection: TypeAlias = "asyncpg.Connection[Any]"
EVERY_ROLE: Final = [(service, role) for service in SERVICES for role in ROLES[service]]
PRIVILEGES: Final = ("SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER")
#: An order, nowhere.
NO_ONE: Final = "00000000-0000-4000-8000-000000000000"


async def relations(connection: Connection) -> dict[str, bool]:
    """Tables, views and sequences of the schema, by name; whether it is a sequence that no column owns."""
    rows = await connection.fetch(
        "SELECT relname, relkind = 'S' AS sequence FROM pg_class c WHERE relnamespace = 'public'::regnamespace"
        " AND relkind IN ('r', 'p', 'v', 'm', 'S') AND NOT EXISTS ("
        "   SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.deptype = 'i' AND relkind = 'S')"
    )
    return {row["relname"]: row["sequence"] for row in rows}


def cells(privileges: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    """``SELECT (order_id), INSERT`` as (privilege, its columns)."""
    for privilege, columns in re.findall(r"([A-Z]+)(?: \(([^)]*)\))?", privileges):
        yield privilege, tuple(part.strip(' "') for part in columns.split(",") if part)


async def rights(connection: Connection, table: str, *, sequence: bool) -> set[tuple[str, tuple[str, ...]]]:
    """What the connected role may really do there, by the server's own judgement."""
    if sequence:
        held = [p for p in ("USAGE", "SELECT", "UPDATE") if await _may(connection, "sequence", table, p)]
        return {(privilege, ()) for privilege in held}
    whole = {(p, ()) for p in PRIVILEGES if await _may(connection, "table", table, p)}
    columns = await connection.fetch(
        "SELECT privilege, array_agg(attname::text ORDER BY attnum) AS columns FROM pg_attribute,"
        " unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'REFERENCES']) AS privilege"
        " WHERE attrelid = $1::text::regclass AND attnum > 0 AND NOT attisdropped"
        " AND has_column_privilege(attrelid, attnum, privilege) AND NOT has_table_privilege(attrelid, privilege)"
        " GROUP BY privilege",
        table,
    )
    return whole | {(row["privilege"], tuple(row["columns"])) for row in columns}


async def _may(connection: Connection, kind: str, name: str, privilege: str) -> bool:
    may: bool = await connection.fetchval(f"SELECT has_{kind}_privilege($1, $2)", name, privilege)
    return may


@pytest.mark.parametrize("service", SERVICES)
async def test_everything_in_a_database_is_named_in_the_grants(databases: Databases, service: Service) -> None:
    owner = await asyncpg.connect(databases.as_admin(service))
    there = await relations(owner)
    await owner.close()
    assert there.keys() == GRANTS[service].keys(), "a new table needs a line in orderflow/postgres/grants.py"


@pytest.mark.parametrize(("service", "role"), EVERY_ROLE)
async def test_a_role_may_do_what_its_line_says_and_nothing_else(
    databases: Databases, service: Service, role: DatabaseRole
) -> None:
    connection = await asyncpg.connect(databases.url(service, role))
    try:
        for table, sequence in (await relations(connection)).items():
            wanted = {
                (privilege, tuple(sorted(columns)))
                for privilege, columns in cells(GRANTS[service].get(table, {}).get(role, ""))
            }
            found = {(p, tuple(sorted(c))) for p, c in await rights(connection, table, sequence=sequence)}
            assert found == wanted, table
        for word in ("CREATE TABLE public.notes ()", "CREATE TEMPORARY TABLE notes ()", "CREATE SCHEMA notes"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(word)
    finally:
        await connection.close()


#: The sentences that matter most, each tried: who alone may say it to the orders database.
ALONE: Final[Mapping[str, set[DatabaseRole]]] = {
    "INSERT INTO relay_lease VALUES ('relay', 'me', now() + interval '1 day')": {"relay"},
    "DELETE FROM outbox": {"relay", "operator"},
    "INSERT INTO outbox (order_id, version) VALUES (gen_random_uuid(), 1)": {"relay", "operator"},
    "DELETE FROM publications": {"relay"},
    f"INSERT INTO parked_orders VALUES ('{NO_ONE}', 1, 'x')": {"relay"},
    "UPDATE orders SET version = version + 1 WHERE false": {"api", "worker"},
    "DELETE FROM handovers": {"api", "worker"},
    "SELECT sealed FROM payment_tokens": {"worker", "reader"},
    "DELETE FROM dead_letters": {"tracking"},
    f"INSERT INTO tracked_orders (order_id) VALUES ('{NO_ONE}')": {"tracking", "operator"},
    "DELETE FROM processed_messages": {"tracking", "operator"},
    "UPDATE commands SET refusal = NULL WHERE false": {"worker"},
    "INSERT INTO transitions VALUES ('DRAFT', 'COMPLETED')": set(),
    "DELETE FROM events": set(),
    "DELETE FROM orders": set(),
    "TRUNCATE events CASCADE": set(),
    "ALTER TABLE orders DISABLE TRIGGER ALL": set(),
    "SET session_replication_role = replica": set(),
}


@pytest.mark.parametrize("role", ROLES["orders"])
async def test_each_process_can_do_only_its_own_work(databases: Databases, role: DatabaseRole) -> None:
    connection = await asyncpg.connect(databases.url("orders", role))
    try:
        for sentence, allowed in ALONE.items():
            undo = connection.transaction()
            await undo.start()
            try:
                await connection.execute(sentence)
                assert role in allowed, sentence
            except asyncpg.InsufficientPrivilegeError:
                assert role not in allowed, sentence
            finally:
                await undo.rollback()
    finally:
        await connection.close()


@pytest.mark.parametrize("service", SERVICES)
async def test_the_services_own_login_may_do_what_all_its_roles_may(databases: Databases, service: Service) -> None:
    """Where a deployment has not given its processes roles of their own."""
    connection = await asyncpg.connect(databases.url(service))
    try:
        for table, line in GRANTS[service].items():
            found = await rights(connection, table, sequence=(await relations(connection))[table])
            whole = {privilege for privilege, columns in found if not columns}
            wanted = {(privilege, columns) for cell in line.values() for privilege, columns in cells(cell)}
            assert {p for p, columns in wanted if not columns} == whole, table
            assert {p for p, _ in wanted} == {p for p, _ in found}, table
    finally:
        await connection.close()


@pytest.mark.parametrize(("service", "other"), list(itertools.permutations(SERVICES, 2)))
async def test_no_role_connects_to_the_database_of_another_service(
    databases: Databases, postgres: PostgresServer, service: Service, other: Service
) -> None:
    name = databases.url(other).rpartition("/")[2].partition("?")[0]
    for login in LOGINS[service]:
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="permission denied for database"):
            await asyncpg.connect(postgres.server.url(name, user=login, password=f"{login}-password"))


@pytest.mark.parametrize(("service", "role"), EVERY_ROLE)
async def test_no_role_connects_to_what_every_server_has(
    postgres: PostgresServer, service: Service, role: DatabaseRole
) -> None:
    login = f"{service}_{role}"
    for database in ("postgres", "template1"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="permission denied for database"):
            await asyncpg.connect(postgres.server.url(database, user=login, password=f"{login}-password"))


@pytest.mark.parametrize(("service", "role"), EVERY_ROLE)
async def test_a_role_has_its_limits(databases: Databases, service: Service, role: DatabaseRole) -> None:
    wanted = limits(role, Settings(_env_file=None))
    connection = await asyncpg.connect(databases.url(service, role))
    try:
        shown = "SELECT current_setting($1)::interval = make_interval(secs => $2::int)"
        for name, seconds in (
            ("statement_timeout", wanted.statement_seconds),
            ("idle_in_transaction_session_timeout", wanted.idle_in_transaction_seconds),
            ("lock_timeout", wanted.lock_seconds or 0),
        ):
            assert await connection.fetchval(shown, name, seconds), name
    finally:
        await connection.close()


async def test_a_role_that_takes_all_it_can_shuts_nobody_out(databases: Databases) -> None:
    """200 connections are tried at once: some are refused, and each other role still gets what it may have."""
    tried = await asyncio.gather(
        *(asyncpg.connect(databases.url("orders", "api")) for _ in range(200)), return_exceptions=True
    )
    held = [one for one in tried if not isinstance(one, BaseException)]
    try:
        refused = {type(one) for one in tried if isinstance(one, BaseException)}
        assert refused == {asyncpg.TooManyConnectionsError}
        assert len(held) == limits("api", Settings(_env_file=None)).connections
        for service, role in EVERY_ROLE:
            if (service, role) != ("orders", "api"):
                connection = await asyncpg.connect(databases.url(service, role))
                assert await connection.fetchval("SELECT true")
                await connection.close()
    finally:
        await asyncio.gather(*(connection.close() for connection in held))


async def test_all_roles_together_fit_into_the_server(databases: Databases) -> None:
    settings = Settings(_env_file=None)
    owner = await asyncpg.connect(databases.admin)
    there = int(await owner.fetchval("SHOW max_connections")) - int(
        await owner.fetchval("SHOW superuser_reserved_connections")
    )
    await owner.close()
    assert sum(limits(role, settings).connections for _, role in EVERY_ROLE) <= there


@pytest.mark.parametrize("service", SERVICES)
async def test_the_triggers_functions_look_where_their_owner_made_them(databases: Databases, service: Service) -> None:
    """And nobody but the owner may hang one on a table."""
    owner = await asyncpg.connect(databases.as_admin(service))
    functions = await owner.fetch(
        "SELECT proname, proconfig, proacl FROM pg_proc"
        " WHERE pronamespace = 'public'::regnamespace AND prorettype = 'trigger'::regtype"
    )
    opened = await owner.fetchval("SELECT has_schema_privilege('public', 'public', 'USAGE')")
    await owner.close()
    assert {"append_to_outbox", "require_transition"} <= {row["proname"] for row in functions}
    for row in functions:
        assert row["proconfig"] == ["search_path=public, pg_temp"], row["proname"]
        assert row["proacl"] is not None, row["proname"]
        assert not any(acl.startswith("=") for acl in row["proacl"]), row["proname"]
    assert not opened


# --- Setup ---


def _given(databases: Databases, **changes: object) -> Settings:
    given = {**databases.settings, "orders_admin_url": databases.admin, "migrations_dir": MIGRATIONS}
    return Settings(_env_file=None, **{**given, **changes})


async def test_setup_takes_back_what_the_grants_do_not_say(databases: Databases) -> None:
    owner = await asyncpg.connect(databases.as_admin("orders"))
    await owner.execute(f"GRANT ALL ON relay_lease TO {group('api')}, PUBLIC")
    await owner.execute(f"GRANT UPDATE (total) ON orders TO {group('reader')}")
    said: list[bootstrap.SetupStep] = []
    await bootstrap.setup_database(_given(databases), "orders", said.append)
    for login, table in (("orders_api", "relay_lease"), ("orders_reader", "orders")):
        assert not await owner.fetchval("SELECT has_any_column_privilege($1, $2, 'UPDATE')", login, table)
    await owner.close()
    assert bootstrap.SetupStep("role orders_api", "there already") in said


async def test_a_service_login_is_made_only_where_a_process_would_use_it(databases: Databases) -> None:
    names = [login.name for login in access(_given(databases), "payments").logins]
    assert names == ["payments_worker", "payments_relay", "payments_operator", "payments_reader"]
    one_left = _given(databases, payments_relay_database_url=None)
    assert next(iter(access(one_left, "payments").logins)).name == "payments"
    alone = Settings(_env_file=None, payments_database_url=databases.payments)
    assert [login.name for login in access(alone, "payments").logins] == ["payments"]


async def test_urls_that_do_not_fit_each_other_are_refused(databases: Databases) -> None:
    twice = _given(databases, payments_relay_database_url=databases.url("payments", "worker"))
    with pytest.raises(DatabaseUrlError, match="RELAY_DATABASE_URL names the role payments_worker, which another"):
        access(twice, "payments")
    elsewhere = _given(databases, payments_relay_database_url="postgresql://relay:x@db/elsewhere")
    with pytest.raises(DatabaseUrlError, match="RELAY_DATABASE_URL names the database elsewhere"):
        access(elsewhere, "payments")
    nobody = _given(databases, payments_relay_database_url="postgresql://db/payments")
    with pytest.raises(bootstrap.SetupError, match="PAYMENTS_RELAY_DATABASE_URL names no role"):
        await bootstrap.setup_database(nobody, "payments", lambda _: None)


@pytest.mark.parametrize("service", SERVICES)
def test_a_database_grants_nothing_to_roles_that_it_does_not_know(service: Service) -> None:
    assert {role for line in GRANTS[service].values() for role in line} == set(ROLES[service])


def test_a_group_for_each_kind() -> None:
    assert set(groups()) == {"orderflow_service", *(group(role) for _, role in EVERY_ROLE)}
