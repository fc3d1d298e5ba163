"""Roles, databases and rights on Postgres, made by the admin in ``orderflow setup``. Safe to repeat.

``access`` says from the settings who may log in; ``make_logins`` and ``make_database`` make it so before the
migrations, and ``apply_grants`` gives each group its tables after them. Errors are asyncpg's, but for DatabaseUrlError.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeAlias
from urllib.parse import unquote, urlsplit

import asyncpg

from orderflow.postgres.grants import GRANTS
from orderflow.postgres.roles import ROLES, SERVICE_GROUP, Limits, group, limits
from orderflow.settings import DatabaseRole, Service, Settings

if TYPE_CHECKING:
    Connection: TypeAlias = asyncpg.Connection[Any]

#: Any number that nobody else locks: two setups at once take turns.
SETUP_LOCK: Final = 0x6F72646572
#: Databases that every server has.
_EVERYBODYS: Final = ("postgres", "template1")


class DatabaseUrlError(ValueError):
    """The URLs of a service's roles do not fit each other. The message names the setting."""


@dataclass(frozen=True, slots=True)
class Login:
    """A role that may log in, as a URL has it. ``limits``: None for a service's own, whose processes nobody counts."""

    name: str
    password: str | None = field(repr=False)
    group: str
    limits: Limits | None


@dataclass(frozen=True, slots=True)
class Access:
    """A service's database, and who may connect to it."""

    database: str
    logins: Sequence[Login]


def access(settings: Settings, service: Service) -> Access:
    """Who may connect to the database of ``service``. Raises DatabaseUrlError.

    The service's own login is among them while some role has no URL of its own, whose processes use it.
    """
    roles: list[DatabaseRole | None] = list(ROLES[service])
    own = [role for role in ROLES[service] if settings.has_own_url(service, role)]
    wanted = own if len(own) == len(roles) else [None, *own]
    found: dict[str, Login] = {}
    database = ""
    for role in wanted:
        variable, url = settings.database_variable(service, role), urlsplit(settings.database_url(service, role))
        name, there = unquote(url.username or ""), unquote(url.path.lstrip("/"))
        if not name or not there:
            raise DatabaseUrlError(f"{variable} names no role or no database")
        if name in found:
            raise DatabaseUrlError(f"{variable} names the role {name}, which another URL of {service} has: one each")
        if database not in ("", there):
            raise DatabaseUrlError(f"{variable} names the database {there}, and another URL of {service} {database}")
        database = there
        password = unquote(url.password) if url.password else None
        if role is None:
            found[name] = Login(name, password, SERVICE_GROUP, None)
        else:
            found[name] = Login(name, password, group(role), limits(role, settings))
    return Access(database, tuple(found.values()))


async def make_logins(admin: "Connection", logins: Iterable[Login]) -> dict[str, bool]:
    """The groups, and each login with its password, group and limits; by name, whether it was made."""
    for name in groups():
        if not await _there(admin, "pg_roles WHERE rolname", name):
            await admin.execute(f"CREATE ROLE {name} NOLOGIN")
    made = {}
    for login in logins:
        made[login.name] = not await _there(admin, "pg_roles WHERE rolname", login.name)
        if made[login.name]:
            await admin.execute(await _quoted(admin, "CREATE ROLE %I LOGIN", login.name))
        if login.password is not None:
            await admin.execute(await _quoted(admin, "ALTER ROLE %I LOGIN PASSWORD %L", login.name, login.password))
        await admin.execute(await _quoted(admin, f"GRANT {login.group} TO %I", login.name))
        if login.limits is not None:
            await _limit(admin, login.name, login.limits)
    return made


async def _limit(admin: "Connection", name: str, limits: Limits) -> None:
    """A session may set its times otherwise: they end what was forgotten, and stop nobody who means harm."""
    await admin.execute(await _quoted(admin, f"ALTER ROLE %I CONNECTION LIMIT {limits.connections}", name))
    seconds = {
        "statement_timeout": limits.statement_seconds,
        "idle_in_transaction_session_timeout": limits.idle_in_transaction_seconds,
        "lock_timeout": limits.lock_seconds,
    }
    for setting, value in seconds.items():
        change = f"RESET {setting}" if value is None else f"SET {setting} = '{value}s'"
        await admin.execute(await _quoted(admin, f"ALTER ROLE %I {change}", name))


async def make_database(admin: "Connection", database: str) -> bool:
    """The database, if it is not there; whether it was made."""
    if await _there(admin, "pg_database WHERE datname", database):
        return False
    # template0: nobody can be connected to it, which would make this fail.
    await admin.execute(await _quoted(admin, "CREATE DATABASE %I TEMPLATE template0 ENCODING 'UTF8'", database))
    return True


async def restrict_database(admin: "Connection", database: str, logins: Iterable[str]) -> None:
    """Let only ``logins`` connect to ``database``. A copy of a template needs it again: rights are not copied."""
    await admin.execute(await _quoted(admin, "REVOKE ALL ON DATABASE %I FROM PUBLIC", database))
    for name in logins:
        await admin.execute(await _quoted(admin, "GRANT CONNECT ON DATABASE %I TO %I", database, name))


async def restrict_server(admin: "Connection") -> list[str]:
    """Take the databases that every server has from PUBLIC; those that are not the admin's to take."""
    left = []
    for database in _EVERYBODYS:
        await admin.execute(await _quoted(admin, "REVOKE ALL ON DATABASE %I FROM PUBLIC", database))
        acl = "SELECT bool_or(grantee = 0) FROM pg_database, aclexplode(coalesce(datacl, acldefault('d', datdba)))"
        if await admin.fetchval(f"{acl} WHERE datname = $1", database):
            left.append(database)
    return left


async def apply_grants(connection: "Connection", service: Service) -> None:
    """Make ``grants.py`` true in the database of ``service``, in one transaction: nobody is without rights meanwhile.

    PUBLIC keeps nothing, neither the schema nor a trigger's function.
    """
    everybody = ", ".join(groups())
    functions = await connection.fetch(
        "SELECT oid::regprocedure::text AS name FROM pg_proc"
        " WHERE pronamespace = 'public'::regnamespace AND prorettype = 'trigger'::regtype"
    )
    sequences = {
        row["name"]
        for row in await connection.fetch(
            "SELECT relname AS name FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'S'"
        )
    }
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock($1)", SETUP_LOCK)
        await connection.execute("REVOKE ALL ON SCHEMA public FROM PUBLIC")
        await connection.execute(f"GRANT USAGE ON SCHEMA public TO {everybody}")
        for function in functions:
            await connection.execute(f"REVOKE ALL ON FUNCTION {function['name']} FROM PUBLIC")
        for kind in ("TABLES", "SEQUENCES"):
            await connection.execute(f"REVOKE ALL ON ALL {kind} IN SCHEMA public FROM PUBLIC, {everybody}")
        for table, line in GRANTS[service].items():
            kind = "SEQUENCE" if table in sequences else "TABLE"
            for role, privileges in line.items():
                # The service's own login may do what all its roles may.
                await connection.execute(f"GRANT {privileges} ON {kind} {table} TO {group(role)}, {SERVICE_GROUP}")


def groups() -> tuple[str, ...]:
    """All groups, the services' first."""
    roles = dict.fromkeys(role for known in ROLES.values() for role in known)
    return (SERVICE_GROUP, *(group(role) for role in roles))


async def _there(admin: "Connection", where: str, name: str) -> bool:
    return await admin.fetchval(f"SELECT true FROM {where} = $1", name) is not None  # noqa: S608 - words of this file


async def _quoted(admin: "Connection", statement: str, *parts: str) -> str:
    """Names (%I) and literals (%L) quoted by the server, where no parameters are possible."""
    quoted: str = await admin.fetchval("SELECT format($1, VARIADIC $2::text[])", statement, list(parts))
    return quoted
