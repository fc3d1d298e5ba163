"""One service's database: a pool that runs statements, and a hint to those who wait."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Self
from urllib.parse import urlsplit

import asyncpg
import structlog
from opentelemetry.trace import SpanKind

from orderflow.domain.errors import Unavailable
from orderflow.pauses import Backoff
from orderflow.store.errors import database_errors
from orderflow.store.measuring import measured
from orderflow.store.statements import Statement
from orderflow.telemetry import spans
from orderflow.telemetry.meters import PoolState
from orderflow.telemetry.metrics import POOL, POOL_TIMEOUTS
from orderflow_events.database_errors import fault_of

#: NOTIFY channel of the relay and of the API's waiting requests: "something was written, look".
CHANNEL = "orderflow"

#: The least time between two notices of a process: the first write of a burst is told at once, the others together.
NOTICE_PACING_SECONDS = 0.02

log = structlog.get_logger(__name__)

#: What the few transactions of several statements are counted as.
_TRANSACTION = Statement(
    "database.transaction",
    "Begins a transaction of several statements; they are counted together, as this one.",
    "BEGIN",
)
_NOTIFY = Statement(
    "database.notify",
    "Tells the relay and the API's waiting requests that something was written.",
    f"SELECT pg_notify('{CHANNEL}', '')",
)


async def _prepare(connection: asyncpg.Connection[Any]) -> None:
    for type_name in ("json", "jsonb"):
        await connection.set_type_codec(type_name, encoder=json.dumps, decoder=json.loads, schema="pg_catalog")


async def _keep(connection: asyncpg.Connection[Any]) -> None:
    """Instead of asyncpg's reset: no statement of ours leaves anything in a session. Doubles the throughput."""


async def create_pool(
    dsn: str,
    *,
    size: int,
    command_timeout: float,
    name: str = "orderflow",
    behind_pooler: bool = False,
    password: Callable[[], str] | None = None,
) -> asyncpg.Pool[Any]:
    """A pool of at most ``size`` connections; jsonb comes and goes as Python data.

    ``command_timeout`` in seconds. ``behind_pooler``: another connection's transactions may run on the same server
    connection in between, so nothing is kept in it: no prepared statement, no setting. ``password``: asked for each new
    connection, in place of the one in ``dsn``. Raises Unavailable when the server cannot be reached.
    """
    kept: dict[str, Any] = {"statement_cache_size": 0} if behind_pooler else {}
    session = {"application_name": name} | ({} if behind_pooler else {"jit": "off"})
    with database_errors(name):
        return await asyncpg.create_pool(
            dsn,
            password=password,
            min_size=1,
            max_size=size,
            command_timeout=command_timeout,
            timeout=command_timeout,
            init=_prepare,
            reset=_keep,
            server_settings=session,
            **kept,
        )


class Database:
    """A service's database. ``async with`` closes it; it opens at first use.

    ``direct_dsn``: the server's own address where ``dsn`` is a pooler's in transaction mode (PgBouncer).
    ``password``: what is asked for the password of each new connection, in place of the one in the addresses.
    """

    def __init__(
        self,
        name: str,
        dsn: str,
        *,
        direct_dsn: str | None = None,
        password: Callable[[], str] | None = None,
        pool_size: int = 8,
        command_timeout: float = 4.0,
    ) -> None:
        self.name = name
        self._dsn = dsn
        self._direct_dsn = direct_dsn
        self._password = password
        #: A direct address with a password of its own keeps that.
        own = direct_dsn is not None and urlsplit(direct_dsn).password != urlsplit(dsn).password
        self._direct_password = None if own else password
        self._pool_size = pool_size
        self._command_timeout = command_timeout
        self._pool: asyncpg.Pool[Any] | None = None
        self._opening = asyncio.Lock()
        self._wrote = asyncio.Event()
        self._notifying: asyncio.Task[None] | None = None
        #: Of each connection that listens, what ends it.
        self._listening: set[asyncio.Event] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def pool(self) -> asyncpg.Pool[Any]:
        """The pool, opened at first use: a process starts, and says so, while its database is away."""
        if self._pool is None:
            async with self._opening:
                if self._pool is None:
                    self._pool = await create_pool(
                        self._dsn,
                        size=self._pool_size,
                        command_timeout=self._command_timeout,
                        name=self.name,
                        behind_pooler=self._direct_dsn is not None,
                        password=self._password,
                    )
                    self._notifying = asyncio.create_task(self._notify())
                    POOL.add(self, self._pool_state)
                    POOL_TIMEOUTS.add(self.name, amount=0)  # so that the first one is an increase
        return self._pool

    async def close(self) -> None:
        """Stop telling, and close all connections."""
        POOL.remove(self)
        if self._notifying is not None:
            self._notifying.cancel()
            await asyncio.gather(self._notifying, return_exceptions=True)
        if self._pool is not None:
            try:
                await asyncio.wait_for(self._pool.close(), timeout=5)
            except TimeoutError:
                self._pool.terminate()

    async def one(self, statement: Statement, values: Mapping[str, Any]) -> asyncpg.Record | None:
        """Run ``statement`` as a transaction of its own; its first row, if any."""
        async with self._connection(statement) as connection:
            return await connection.fetchrow(statement.sql, *statement.arguments(values))

    async def all(self, statement: Statement, values: Mapping[str, Any]) -> list[asyncpg.Record]:
        """Run ``statement`` as a transaction of its own; all its rows."""
        async with self._connection(statement) as connection:
            return await connection.fetch(statement.sql, *statement.arguments(values))

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[asyncpg.pool.PoolConnectionProxy[Any]]:
        """A connection in a transaction, for the few things that are not one statement."""
        async with self._connection(_TRANSACTION) as connection, connection.transaction():
            yield connection

    @contextlib.asynccontextmanager
    async def _connection(self, statement: Statement) -> AsyncIterator[asyncpg.pool.PoolConnectionProxy[Any]]:
        # Waiting for a connection is bounded too: behind a frozen server nobody queues for minutes.
        pool = await self.pool()
        with self._span(statement), measured(self.name, statement) as timer, database_errors(self.name):
            async with self._lent(pool) as connection:
                timer.acquired()
                yield connection
                timer.answered()

    @contextlib.asynccontextmanager
    async def lend(self) -> AsyncIterator[asyncpg.pool.PoolConnectionProxy[Any]]:
        """A connection for who has statements of its own, and asyncpg's errors as they are. Raises Unavailable."""
        async with self._lent(await self.pool()) as connection:
            yield connection

    @contextlib.asynccontextmanager
    async def _lent(self, pool: asyncpg.Pool[Any]) -> AsyncIterator[asyncpg.pool.PoolConnectionProxy[Any]]:
        async with pool.acquire(timeout=self._command_timeout) as connection:
            try:
                yield connection
            except Exception as error:
                if fault_of(error).ends_connection:
                    # Nobody shall get it again, nor those that were opened with it: after a failover each of them may
                    # stand at a server that is read-only. Those in use are closed when they are given back.
                    with contextlib.suppress(
                        asyncpg.InterfaceError
                    ):  # the server has ended it, and the pool has it back
                        connection.terminate()
                    await pool.expire_connections()
                    for listening in self._listening:
                        listening.set()
                raise

    def _span(self, statement: Statement) -> contextlib.AbstractContextManager[object]:
        # Named after the statement: its text would say WITH for most, and be kilobytes in each span.
        about: spans.Attributes = {"db.system.name": "postgresql", "db.namespace": self.name}
        return spans.span(statement.name, SpanKind.CLIENT, about)

    def _pool_state(self) -> PoolState:
        pool = self._pool
        if pool is None or pool.is_closing():
            return PoolState(self.name, 0, 0, 0)
        return PoolState(self.name, pool.get_size(), pool.get_idle_size(), self._pool_size)

    async def listening(self, on_notice: Callable[[], None], *, on_connect: Callable[[], None] | None = None) -> None:
        """Call ``on_notice`` for each notice that something was written, until cancelled. Raises nothing.

        ``on_connect`` (without one: ``on_notice``) is called whenever listening begins, for what was written while
        nobody listened. A lost connection is made again, with growing pauses; notices only make it faster, so whoever
        listens polls as well.
        """
        backoff = Backoff()

        def connected() -> None:
            backoff.reset()
            (on_connect or on_notice)()

        while True:
            try:
                await self._listen(on_notice, connected)
            except Unavailable as error:
                log.info("not_listening", database=self.name, detail=error.detail)
            except Exception:
                log.exception("unexpected_error", where="listening", database=self.name)
            await asyncio.sleep(backoff.next())

    async def _listen(self, on_notice: Callable[[], None], on_connect: Callable[[], None]) -> None:
        """Listen until the connection is lost, on one of its own, directly to the server: poolers lose notices."""
        lost = asyncio.Event()
        with database_errors(self.name):
            connection = await asyncpg.connect(
                self._direct_dsn or self._dsn,
                password=self._direct_password,
                timeout=self._command_timeout,
                server_settings={"application_name": self.name},
            )
            try:
                self._listening.add(lost)
                connection.add_termination_listener(lambda _: lost.set())
                await connection.add_listener(CHANNEL, lambda *_: on_notice())
                on_connect()
                await lost.wait()
            finally:
                self._listening.discard(lost)
                connection.terminate()

    def wrote(self) -> None:
        """Say that something was committed. Cheap: the notices of a burst become one."""
        self._wrote.set()

    async def _notify(self) -> None:
        # After the commit and on its own: inside the transaction NOTIFY takes a global lock (4,077 to 1,531 tx/s).
        # Losing one is harmless, all listeners poll as well.
        while True:
            await self._wrote.wait()
            self._wrote.clear()
            try:
                await self.one(_NOTIFY, {})
            except Exception as error:
                log.warning("notice_lost", database=self.name, detail=str(error))
            await asyncio.sleep(NOTICE_PACING_SECONDS)
