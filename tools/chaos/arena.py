"""Everything that runs in a chaos run: the embedded stack, a second worker, a second relay, another team's consumer.

The seconds are there so that something goes on when the first is frozen, and the first wakes late into a changed
world. All clients of Kafka go through a proxy. Servers are as durable as in production.
"""

import contextlib
import os
import sys
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import asyncpg

from orderflow.settings import SERVICES, Settings
from orderflow.stack.ports import free_port
from orderflow.stack.postgres import Postgres
from orderflow.stack.probes import http_answers
from orderflow.stack.processes import Event, Process, Spec
from orderflow.stack.stack import EmbeddedStack
from orderflow.stack.supervisor import Supervisor
from orderflow.stack.temporal import TemporalServer
from support.kafka_proxy import KafkaProxy
from tools.chaos import consumer
from tools.chaos.plan import DRAFT_TTL_SECONDS
from tools.chaos.strict import TemporalOnPostgres, strict_temporal

ROOT = Path(__file__).parents[2]


#: What a connection of the harness's own meets in a storm.
DATABASE_AWAY: Final = (
    OSError,
    TimeoutError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)


class _Stack(EmbeddedStack):
    """The embedded stack, with its Kafka clients led through the proxy."""

    proxy: KafkaProxy

    def _settings(
        self, postgres: Postgres, temporal: TemporalServer, kafka: str, passwords: dict[str, str]
    ) -> Settings:
        self.proxy.broker_port = int(kafka.rpartition(":")[2])
        settings = super()._settings(postgres, temporal, kafka, passwords)
        return settings.model_copy(update={"kafka_bootstrap_servers": self.proxy.address})


class Arena:
    """``async with Arena(folder, seed, strict=…) as arena``: everything runs inside, nothing after."""

    def __init__(self, folder: Path, seed: int, *, strict: bool) -> None:
        self.folder = folder
        self.strict = strict
        self.proxy = KafkaProxy(free_port())
        settings = Settings(
            _env_file=None,
            migrations_dir=ROOT / "migrations",
            worker_graceful_shutdown_seconds=5,
            stack_split_workers=strict,
            stack_kafka="apache" if strict else "noida",
            draft_ttl_seconds=DRAFT_TTL_SECONDS,
            # In the middle of the storm, too. It brings back the runs that are terminated; a rule sees to it that there
            # is nothing else that it must bring back.
            reconcile_interval_seconds=20,
            reconcile_repair=True,
        )
        self.stack = _Stack(settings, folder / "stack", ports="free", gateway_seed=seed, on_event=self._note)
        self.stack.proxy = self.proxy
        self._events = (folder / "processes.log").open("a", buffering=1)
        #: Runs that were ended by hand, and their workflows.
        self.terminated: dict[str, str] = {}
        #: From when to when the orders database refused writes.
        self.refusing: list[tuple[float, float]] = []
        #: From when to when the topic was deleted, made anew, and repaired.
        self.topic_made_anew: list[tuple[float, float]] = []
        #: Of each kind of fault that can miss: how often it hit something.
        self.felt: dict[str, int] = {}
        self._beside = Supervisor(folder / "beside", on_event=self._note)
        self._open = contextlib.AsyncExitStack()
        self._temporal: TemporalOnPostgres | None = None

    async def __aenter__(self) -> Self:
        async with contextlib.AsyncExitStack() as opening:
            opening.callback(self._events.close)
            await opening.enter_async_context(self.proxy)
            if self.strict:
                self._temporal = await opening.enter_async_context(strict_temporal(self.folder, self._note))
            await opening.enter_async_context(self.stack)
            opening.push_async_callback(self._beside.stop)
            await self._start_beside()
            self._open = opening.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._open.aclose()

    @property
    def processes(self) -> Mapping[str, Process]:
        """All processes by name."""
        theirs = self._temporal.processes if self._temporal else {}
        return {**self.stack.processes, **self._beside.processes, **theirs}

    def database(self, name: str = "postgres") -> str:
        """The admin's URL of a database."""
        admin = self.stack.settings.orders_admin_url
        if admin is None:
            raise RuntimeError("the stack has not started")
        return admin.get_secret_value().replace("/postgres?", f"/{name}?")

    @property
    def broker(self) -> str:
        """Kafka itself, not through the proxy."""
        return f"127.0.0.1:{self.proxy.broker_port}"

    @property
    def gateway_ledger(self) -> Path:
        """The gateway's SQLite file."""
        return self.stack.data_dir / "gateway-ledger"

    async def _start_beside(self) -> None:
        admin = await asyncpg.connect(self.database())
        try:
            await admin.execute("CREATE DATABASE chaos")
        finally:
            await admin.close()
        connection = await asyncpg.connect(self.database("chaos"))
        try:
            await connection.execute(consumer.TABLES)
        finally:
            await connection.close()
        path = os.pathsep.join((str(ROOT / "tests"), self.stack.env["PYTHONPATH"]))
        await self._beside.start(
            self._worker("workers-2", *SERVICES),
            self._worker("relay-2", "relay"),
            Spec(
                name="consumer",
                argv=[sys.executable, "-P", "-m", "tools.chaos.consumer"],
                env={**self.stack.env, "PYTHONPATH": path, "CHAOS_DATABASE_URL": self.database("chaos")},
                cwd=self.stack.data_dir,
                ready=_at_once,
            ),
        )

    @contextlib.asynccontextmanager
    async def another_worker(self, *roles: str) -> AsyncIterator[None]:
        """A worker with these roles, for as long as this lasts."""
        supervisor = Supervisor(self.folder / "another", on_event=self._note)
        try:
            await supervisor.start(self._worker("another-worker", *roles))
            yield
        finally:
            await supervisor.stop()

    def _worker(self, name: str, *roles: str) -> Spec:
        port = free_port()
        return Spec(
            name=name,
            argv=[sys.executable, "-P", "-m", "cli.main", "worker", *roles],
            env={**self.stack.env, "ORDERFLOW_HEALTH_PORT": str(port)},
            cwd=self.stack.data_dir,
            ready=http_answers(port, "/health/ready"),
            ready_seconds=120,
        )

    def _note(self, event: Event) -> None:
        self._events.write(f"{time.time():.3f} {event.process} {event.kind} {event.detail}\n")


async def _at_once() -> bool:
    return True
