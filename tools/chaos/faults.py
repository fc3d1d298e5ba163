"""Carrying out the schedule. Each fault ends by itself, and leaves what it hit as it found it.

Two may be under way at once; those that hit the same process follow one another.
"""

import asyncio
import contextlib
import os
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Final

import asyncpg
import httpx
import psutil

from orderflow.settings import SERVICES
from orderflow.stack.errors import StackError
from orderflow.stack.processes import Process
from tools.chaos.arena import Arena
from tools.chaos.schedule import Fault

AT_ONCE = 2
#: A fault does not wait longer for its orders to be started: the load itself may be waiting for something.
PATIENCE_SECONDS = 8.0
READY_SECONDS = 120.0
_GATEWAY_FAULTS: Final[dict[str, dict[str, object]]] = {
    # Beyond the 5 s that a caller waits: carried out after the answer was given up.
    "gateway is slow": {"delay_seconds": 5.5},
    "gateway fails": {"error_rate": 0.6},
    "gateway is down": {"down": True},
    "gateway loses answers": {"lose_answer_rate": 0.7},
}


class Storm:
    """The faults of a run. ``begun``: how many; ``done``: by kind; ``failed``: those that could not be carried out."""

    def __init__(self, arena: Arena, schedule: Sequence[Fault], say: Callable[[str], None]) -> None:
        self.begun = 0
        self.done: Counter[str] = Counter()
        self.failed: list[str] = []
        self._arena = arena
        self._schedule = schedule
        self._say = say
        self._locks: dict[str, asyncio.Lock] = {}
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._log = (arena.folder / "faults.log").open("a", buffering=1)

    async def run(self, orders_started: Callable[[], int]) -> None:
        """Carry out the whole schedule, keeping pace with the load."""
        async with asyncio.TaskGroup() as tasks:
            for fault in self._schedule:
                await self._slots.acquire()
                waited_until = time.monotonic() + PATIENCE_SECONDS
                while orders_started() < fault.after_orders and time.monotonic() < waited_until:  # noqa: ASYNC110
                    await asyncio.sleep(0.1)
                tasks.create_task(self._one(fault))
                self.begun += 1
        self._log.close()

    async def _one(self, fault: Fault) -> None:
        try:
            self._say(fault.line())
            self._log.write(f"{time.time():.3f} begin {fault.line()}\n")
            await self._carry_out(fault)
            self.done[fault.kind] += 1
        except (StackError, OSError, TimeoutError, asyncpg.PostgresError, httpx.HTTPError) as error:
            self.failed.append(f"{fault.line()}: {error!r}")
        finally:
            self._log.write(f"{time.time():.3f} end   {fault.line()}\n")
            self._slots.release()

    async def _carry_out(self, fault: Fault) -> None:
        match fault.kind.split():
            case ["kill", "every", "worker"]:
                workers = (*(SERVICES if self._arena.strict else ("workers",)), "workers-2")
                await self._kill(fault.seconds, *workers)
            case ["kill", "temporal", "and", "api"]:
                await self._kill(fault.seconds, "temporal", "api")
            case ["kill", "a", "postgres", "backend"]:
                await self._kill_backend(fault.choice)
            case ["kill", *_]:
                await self._kill(fault.seconds, fault.target)
            case ["freeze", *_]:
                await self._freeze(fault.seconds, fault.target)
            case ["restart", "kafka"] if not self._arena.strict:
                with self._arena.proxy.losing_answers():
                    await self._restart(fault.seconds, fault.target)
            case ["restart", *_]:
                await self._restart(fault.seconds, fault.target)
            case ["cut", "database", "connections"]:
                await self._cut_connections(*SERVICES)
            case ["refuse", "writes"]:
                await self._refuse_writes(fault)
            case ["database", "is", "read-only"]:
                await self._read_only(fault)
            case ["drop", *_]:
                await self._drop_answers(fault.seconds)
            case ["kafka's", *_]:
                await self._hang_kafka(fault.seconds)
            case _:
                await self._break_gateway(fault)

    # --- Processes ---

    async def _kill(self, seconds: float, *names: str) -> None:
        """kill -9, all in the same instant; away for ``seconds``, or back as soon as the supervisor sees it."""
        async with self._holding(*names):
            processes = [self._arena.processes[name] for name in names]
            victims = [(process, process.pid) for process in processes]
            for _, pid in victims:
                os.kill(pid, signal.SIGKILL)
            while any(_is(process, pid) for process, pid in victims):  # noqa: ASYNC110 - other processes
                await asyncio.sleep(0.01)
            if seconds:
                for process in processes:
                    await process.stop(grace_seconds=0)  # or the supervisor starts it again
                await asyncio.sleep(seconds)
                await asyncio.gather(*(self._start(name) for name in names))

    async def _freeze(self, seconds: float, name: str) -> None:
        async with self._holding(name):
            process = self._arena.processes[name]
            process.freeze()
            try:
                await asyncio.sleep(seconds)
            finally:
                process.thaw()

    async def _restart(self, seconds: float, name: str) -> None:
        async with self._holding(name):
            await self._arena.processes[name].stop()
            await asyncio.sleep(seconds)
            await self._start(name)

    @contextlib.asynccontextmanager
    async def _holding(self, *names: str) -> AsyncIterator[None]:
        """Nobody else's fault hits these meanwhile; they run when it begins, and again when it has ended."""
        async with contextlib.AsyncExitStack() as held:
            for name in sorted(names):
                await held.enter_async_context(self._locks.setdefault(name, asyncio.Lock()))
            await self._all_ready(names)
            yield
            await self._all_ready(names)

    async def _all_ready(self, names: Sequence[str]) -> None:
        """All at once: while one is waited for, another fault may make another one restart."""
        deadline = time.monotonic() + READY_SECONDS
        while True:
            processes = [self._arena.processes[name] for name in names]
            for process in processes:
                await process.wait_ready(max(0.0, deadline - time.monotonic()))
            if all(process.state == "ready" and process.identity for process in processes):
                return

    async def _start(self, name: str) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while True:
            try:
                await self._arena.processes[name].start()
                return
            except StackError:
                # Such as a worker that could not become ready because another fault keeps a server away.
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(0.5)

    # --- Postgres ---

    async def _kill_backend(self, choice: float) -> None:
        """kill -9 of one connection's process: Postgres restarts all of them and recovers."""
        async with self._holding("postgres"):
            postmaster = psutil.Process(self._arena.processes["postgres"].pid)
            killed = False
            while not killed:
                rows = await self._admin(
                    "SELECT pid FROM pg_stat_activity WHERE datname = ANY($1) ORDER BY backend_start", list(SERVICES)
                )
                ours = {child.pid for child in postmaster.children()}
                pids = [row["pid"] for row in rows if row["pid"] in ours]
                if pids:
                    # Its connection may have ended meanwhile, and the process with it: then another one.
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pids[int(choice * len(pids))], signal.SIGKILL)
                        killed = True
                await asyncio.sleep(0.1)

    async def _cut_connections(self, *databases: str) -> None:
        await self._admin(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = ANY($1)", list(databases)
        )

    async def _refuse_writes(self, fault: Fault) -> None:
        """A missing privilege: a bug, for the code that meets it."""
        await self._admin("REVOKE INSERT ON events FROM orderflow_service", database=fault.target)
        try:
            await asyncio.sleep(fault.seconds)
        finally:
            await self._admin("GRANT INSERT ON events TO orderflow_service", database=fault.target)

    async def _read_only(self, fault: Fault) -> None:
        """As after a failover to a standby."""
        await self._admin(f"ALTER DATABASE {fault.target} SET default_transaction_read_only = on")
        try:
            await self._cut_connections(fault.target)
            await asyncio.sleep(fault.seconds)
        finally:
            await self._admin(f"ALTER DATABASE {fault.target} RESET default_transaction_read_only")
            await self._cut_connections(fault.target)

    async def _admin(self, sql: str, *values: object, database: str = "postgres") -> list[asyncpg.Record]:
        """Another fault may have taken Postgres away: until it is done."""
        deadline = time.monotonic() + READY_SECONDS
        while True:
            try:
                connection = await asyncpg.connect(self._arena.database(database), timeout=5, command_timeout=10)
                try:
                    return list(await connection.fetch(sql, *values))
                finally:
                    connection.terminate()
            except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(0.2)

    # --- Kafka's network ---

    async def _drop_answers(self, seconds: float) -> None:
        async with self._holding("kafka"):
            with self._arena.proxy.losing_answers():
                await asyncio.sleep(seconds)

    async def _hang_kafka(self, seconds: float) -> None:
        async with self._holding("kafka"):
            self._arena.proxy.hang()
            try:
                await asyncio.sleep(seconds)
            finally:
                self._arena.proxy.go_on()

    # --- The gateway ---

    async def _break_gateway(self, fault: Fault) -> None:
        async with self._holding("gateway"):
            await self._put_faults(_GATEWAY_FAULTS[fault.kind])
            try:
                await asyncio.sleep(fault.seconds)
            finally:
                await self._put_faults({})

    async def _put_faults(self, faults: dict[str, object]) -> None:
        async with httpx.AsyncClient(timeout=10, trust_env=False) as http:
            answer = await http.put(f"{self._arena.stack.settings.gateway_url}/v1/faults", json=faults)
            answer.raise_for_status()


def _is(process: Process, pid: int) -> bool:
    """Whether the supervisor still takes ``pid`` for that process."""
    return process.identity is not None and process.identity.pid == pid
