"""Faults of the databases that are said in SQL: connections, rights, read-only servers, locks, and clocks.

The database's clock itself cannot be set on one machine. What a step of it leaves behind can be: rows whose times lie
hours ahead (it was ahead when they were written, and has stepped back since) or hours behind.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Final

import asyncpg

from orderflow.postgres.grants import GRANTS
from orderflow.postgres.roles import ROLES, group
from tools.chaos.arena import DATABASE_AWAY, Arena

READY_SECONDS: Final = 120.0
#: Within which a relay must lead again, by a write of the service's role: above the 5 s of a lease twice over, and
#: above what the other fault that may be under way takes.
LEADS_WITHIN_SECONDS: Final = 60.0
#: How far a clock steps.
STEP: Final = "2 hours"
#: Of a role, as DBAs set it; below how long a row is held.
LOCK_TIMEOUT_MILLISECONDS: Final = 300
#: What of each service's work goes through, the most recent first.
_HELD: Final = {
    "orders": "SELECT FROM orders ORDER BY updated_at DESC LIMIT 30 FOR UPDATE SKIP LOCKED",
    "payments": "SELECT FROM payments ORDER BY updated_at DESC LIMIT 30 FOR UPDATE SKIP LOCKED",
    "inventory": "SELECT FROM stock ORDER BY updated_at DESC LIMIT 30 FOR UPDATE SKIP LOCKED",
}
_LEASE: Final = "SELECT FROM relay_lease FOR UPDATE"
_WAITING: Final = """
    SELECT DISTINCT a.pid, l.waitstart FROM pg_locks l JOIN pg_stat_activity a USING (pid)
    WHERE NOT l.granted AND a.usename = ANY ($1)"""
_LEADS: Final = """
    SELECT FROM relay_lease WHERE expires_at > $1::timestamptz + $2 AND expires_at <= clock_timestamp() + $2"""
#: Who died while the clock was ahead.
_DEAD: Final = "a relay that has died"


def _logins(service: str) -> list[str]:
    """Who works on the database of ``service``, as the embedded stack names them."""
    roles = {str(known): own for known, own in ROLES.items()}
    return [f"{service}_{role}" for role in roles[service]]


class Databases:
    """The three services' databases, by their admin. Every number returned: how often the fault was felt."""

    def __init__(self, arena: Arena) -> None:
        self._arena = arena

    async def admin(self, sql: str, *values: object, database: str = "postgres") -> list[asyncpg.Record]:
        """Another fault may have taken Postgres away: until it is done."""
        deadline = time.monotonic() + READY_SECONDS
        while True:
            try:
                async with self._connection(database) as connection:
                    return list(await connection.fetch(sql, *values))
            except DATABASE_AWAY:
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(0.2)

    async def cut(self, *databases: str) -> None:
        """End every connection."""
        await self.admin(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = ANY($1)", list(databases)
        )

    async def refuse_writes(self, service: str, seconds: float) -> None:
        """A missing privilege: a bug, for the code that meets it."""
        began = time.time()
        lines = {str(known): tables["events"] for known, tables in GRANTS.items()}
        writers = ", ".join(group(role) for role, may in lines[service].items() if "INSERT" in may)
        await self.admin(f"REVOKE INSERT ON events FROM {writers}", database=service)
        try:
            await asyncio.sleep(seconds)
        finally:
            await self.admin(f"GRANT INSERT ON events TO {writers}", database=service)
            if service == "orders":
                self._arena.refusing.append((began, time.time()))

    async def read_only(self, service: str, seconds: float) -> None:
        """A failover to a standby and back, both of which end all connections."""
        await self.admin(f"ALTER DATABASE {service} SET default_transaction_read_only = on")
        try:
            await self.cut(service)
            await asyncio.sleep(seconds)
        finally:
            await self.admin(f"ALTER DATABASE {service} RESET default_transaction_read_only")
            await self.cut(service)

    async def read_only_failover(self, service: str, seconds: float) -> int:
        """A failover during which new connections reach a server that takes no writes, and which ends none of them.

        How many connections were left that cannot write. Raises RuntimeError if the service does not write again.
        """
        await self._each_role(service, "SET default_transaction_read_only = on")
        try:
            await self.cut(service)
            await asyncio.sleep(seconds)
        finally:
            await self._each_role(service, "RESET default_transaction_read_only")
        [left] = await self.admin(
            "SELECT count(*) AS n FROM pg_stat_activity WHERE usename = ANY ($1)", _logins(service)
        )
        await self._leads_again(service)
        return int(left["n"])

    async def lock_timeouts(self, service: str, seconds: float) -> int:
        """A role with a lock_timeout, and somebody who holds the rows that it wants: how many statements waited."""
        await self._each_role(service, f"SET lock_timeout = {LOCK_TIMEOUT_MILLISECONDS}")
        waited: set[tuple[object, ...]] = set()
        try:
            await self.cut(service)
            ends_at = time.monotonic() + seconds
            while time.monotonic() < ends_at:
                # Again where another fault has ended the connection that holds them.
                with contextlib.suppress(*DATABASE_AWAY):
                    async with self._connection(service) as holder, holder.transaction():
                        await holder.fetch(_LEASE)
                        await holder.fetch(_HELD[service])
                        while time.monotonic() < ends_at:
                            waited |= {tuple(row) for row in await holder.fetch(_WAITING, _logins(service))}
                            await asyncio.sleep(0.05)
                await asyncio.sleep(0.05)
        finally:
            await self._each_role(service, "RESET lock_timeout")
            await self.cut(service)
        return len(waited)

    async def lease_from_another_time(self, service: str, *, ahead: bool) -> int:
        """The relay's lease stands as a step of the clock leaves it: of a dead relay's, hours ahead; or run out.

        Raises RuntimeError if none leads afterwards.
        """
        # Behind: of the one who leads and does not know it; until it renews, another one may lead as well.
        change = f"holder = '{_DEAD}', expires_at = clock_timestamp() + interval '{STEP}'"
        if not ahead:
            change = f"expires_at = expires_at - interval '{STEP}'"
        changed = await self.admin(f"UPDATE relay_lease SET {change} RETURNING name", database=service)
        await self._leads_again(service)
        return len(changed)

    async def handovers_from_another_time(self, *, ahead: bool) -> int:
        """Temporal must be told of orders, and when that is due was written by a clock that has stepped since."""
        sign = "+" if ahead else "-"
        changed = await self.admin(
            f"UPDATE handovers SET next_at = next_at {sign} interval '{STEP}',"
            f" written_at = written_at {sign} interval '{STEP}' RETURNING order_id",
            database="orders",
        )
        return len(changed)

    async def _each_role(self, service: str, change: str) -> None:
        """In this database only: over the role's own settings, which stay as they are."""
        for login in _logins(service):
            await self.admin(f"ALTER ROLE {login} IN DATABASE {service} {change}")

    async def _leads_again(self, service: str) -> None:
        """Wait until a relay holds a lease that it has written from here on."""
        deadline = time.monotonic() + LEADS_WITHIN_SECONDS
        [now] = await self.admin("SELECT clock_timestamp() AS at")
        length = timedelta(seconds=self._arena.stack.settings.relay_lease_seconds)
        while not await self.admin(_LEADS, now["at"], length, database=service):
            if time.monotonic() > deadline:
                raise RuntimeError(f"no relay of {service} has written its lease within {LEADS_WITHIN_SECONDS:.0f} s")
            await asyncio.sleep(0.2)

    @contextlib.asynccontextmanager
    async def _connection(self, database: str) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
        connection = await asyncpg.connect(self._arena.database(database), timeout=5, command_timeout=10)
        try:
            yield connection
        finally:
            connection.terminate()
