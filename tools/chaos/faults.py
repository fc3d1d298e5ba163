"""Carrying out the schedule. Each fault ends by itself, and leaves what it hit as it found it.

Two may be under way at once; those that hit the same process follow one another. A fault that can miss (nothing was
there to be hit) counts how often it was felt: ``Arena.felt``, which the checker reads.
"""

import asyncio
import contextlib
import itertools
import os
import random
import signal
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Final

import httpx
import psutil
from aiokafka.errors import KafkaError
from temporalio.client import Client, WorkflowExecution
from temporalio.service import RPCError

from orderflow.settings import SERVICES
from orderflow.stack.errors import StackError
from orderflow.stack.processes import Process
from tools.chaos import foreign
from tools.chaos.arena import DATABASE_AWAY, Arena
from tools.chaos.databases import Databases
from tools.chaos.schedule import Fault
from tools.chaos.steps_by_hand import Step, answer, paused, pending_steps
from tools.chaos.topic_anew import make_topic_anew

AT_ONCE = 2
#: A fault does not wait longer for its orders to be started: the load itself may be waiting for something.
PATIENCE_SECONDS = 8.0
READY_SECONDS = 120.0
#: For what a fault needs to strike at its worst: it strikes without it after that.
MOMENT_SECONDS = 8.0
#: Runs that are terminated at once.
TERMINATED = 10
#: Within the 3 s of a near step.
ANSWER_SECONDS = 2.5
#: Steps that somebody pauses, or answers, at once.
STEPS_BY_HAND = 10
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
        self._databases = Databases(arena)
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
        except (*DATABASE_AWAY, KafkaError, StackError, RuntimeError, RPCError, httpx.HTTPError) as error:
            self.failed.append(f"{fault.line()}: {error!r}")
        finally:
            self._log.write(f"{time.time():.3f} end   {fault.line()}\n")
            self._slots.release()

    async def _carry_out(self, fault: Fault) -> None:
        match fault.kind.split():
            case ["kill", "every", "worker"]:
                await self._kill(fault.seconds, *self._workers)
            case ["kill", "api", "before", *_]:
                await self._kill_before_temporal_is_told()
            case ["kill", "workers", "in", *_]:
                await self._kill_in_a_near_step()
            case ["freeze", "a", "dispatcher"]:
                await self._freeze_a_dispatcher(fault)
            case ["no", "worker", *_]:
                await self._no_worker_for_payments(fault.seconds)
            case ["temporal", "is", "away"]:
                await self._kill(fault.seconds, "temporal")
            case ["terminate", *_]:
                await self._terminate(fault.choice)
            case ["kill", "temporal", "and", "api"]:
                await self._kill(fault.seconds, "temporal", "api")
            case ["kill", "a", "postgres", "backend"]:
                await self._kill_backend(fault.choice)
            case ["kill", *_]:
                await self._kill(fault.seconds, fault.target)
            case ["freeze", *_]:
                await self._freeze(fault.seconds, fault.target)
            case ["restart", "kafka"] if not self._arena.strict:
                await self._restart(fault.seconds, fault.target, self._arena.proxy.losing_answers())
            case ["restart", *_]:
                await self._restart(fault.seconds, fault.target)
            case ["cut", "database", "connections"]:
                await self._databases.cut(*SERVICES)
            case ["refuse", "writes"]:
                await self._databases.refuse_writes(fault.target, fault.seconds)
            case ["database", "is", "read-only"]:
                await self._databases.read_only(fault.target, fault.seconds)
            case ["read-only", "failover"]:
                await self._read_only_failover(fault)
            case ["lock", "time-outs"]:
                await self._lock_timeouts(fault)
            case ["lease", *_]:
                await self._lease_from_another_time(fault)
            case ["handovers", *_]:
                await self._handovers_from_another_time(fault)
            case ["pause", *_]:
                await self._pause_steps(fault)
            case ["answer", *_]:
                await self._answer_steps(fault)
            case ["make", "the", "topic", "anew"]:
                await self._make_topic_anew(fault)
            case ["foreign", "records"]:
                await self._foreign_records(fault)
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
            await self._kill_now(*names)
            if seconds:
                for name in names:
                    await self._arena.processes[name].stop(grace_seconds=0)  # or the supervisor starts it again
                await asyncio.sleep(seconds)
                await asyncio.gather(*(self._start(name) for name in names))

    async def _kill_now(self, *names: str) -> None:
        victims = [(process, process.pid) for process in (self._arena.processes[name] for name in names)]
        for _, pid in victims:
            os.kill(pid, signal.SIGKILL)
        while any(_is(process, pid) for process, pid in victims):  # noqa: ASYNC110 - other processes
            await asyncio.sleep(0.01)

    async def _freeze(self, seconds: float, name: str) -> None:
        async with self._holding(name):
            process = self._arena.processes[name]
            process.freeze()
            try:
                await asyncio.sleep(seconds)
            finally:
                process.thaw()

    async def _restart(
        self, seconds: float, name: str, meanwhile: contextlib.AbstractContextManager[object] | None = None
    ) -> None:
        """``meanwhile``: what holds from the moment it may be restarted, not while another fault is waited for."""
        async with self._holding(name):
            with meanwhile or contextlib.nullcontext():
                await self._arena.processes[name].stop()
                await asyncio.sleep(seconds)
                await self._start(name)

    @property
    def _workers(self) -> tuple[str, ...]:
        """The processes that serve task queues."""
        return (*(SERVICES if self._arena.strict else ("workers",)), "workers-2")

    # --- Between the row and the workflow ---

    async def _kill_before_temporal_is_told(self) -> None:
        """Temporal stands still while commands are committed; the API dies with what it has not told."""
        async with self._holding("temporal", "api"):
            temporal = self._arena.processes["temporal"]
            temporal.freeze()
            try:
                await self._until_there_are("handovers", 3)
                await self._kill_now("api")
            finally:
                temporal.thaw()

    async def _freeze_a_dispatcher(self, fault: Fault) -> None:
        """All that dispatch freeze while they tell Temporal; one wakes when another one has told it, and deleted."""
        dispatchers = (fault.target, "workers-2")
        async with self._holding("temporal", *dispatchers), contextlib.AsyncExitStack() as frozen:
            processes = {name: self._arena.processes[name] for name in ("temporal", *dispatchers)}
            processes["temporal"].freeze()
            frozen.callback(processes["temporal"].thaw)
            await self._until_there_are("handovers WHERE attempts > 0", 1)
            for name in dispatchers:
                processes[name].freeze()
                frozen.callback(processes[name].thaw)
            processes["temporal"].thaw()
            await asyncio.sleep(0.5)
            processes["workers-2"].thaw()
            await asyncio.sleep(fault.seconds)

    async def _kill_in_a_near_step(self) -> None:
        """The gateway has done what it was asked for, and holds its answer back when the workers die."""
        async with self._holding("gateway", *self._workers):
            before = await self._operations()
            await self._put_faults({"answer_delay_seconds": ANSWER_SECONDS})
            try:
                deadline = time.monotonic() + MOMENT_SECONDS
                while await self._operations() == before and time.monotonic() < deadline:  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
                await self._kill_now(*self._workers)
            finally:
                await self._put_faults({})

    async def _no_worker_for_payments(self, seconds: float) -> None:
        """Orders that began near go on in a process that has not got the role, and their payments wait."""
        strict = self._arena.strict
        names = ("payments" if strict else "workers", "workers-2")
        async with self._holding(*names):
            await asyncio.gather(*(self._arena.processes[name].stop() for name in names))
            try:
                others = contextlib.nullcontext() if strict else self._arena.another_worker("orders", "inventory")
                async with others:
                    await asyncio.sleep(seconds)
            finally:
                await asyncio.gather(*(self._start(name) for name in names))

    async def _terminate(self, choice: float) -> None:
        """Runs are ended by hand in whatever state they are, those of each status in turn."""
        async with self._holding("temporal"):
            client = await Client.connect(self._arena.stack.settings.temporal_address)
            by_status: dict[object, list[WorkflowExecution]] = defaultdict(list)
            async for run in client.list_workflows("WorkflowType = 'OrderWorkflow' AND ExecutionStatus = 'Running'"):
                by_status[str(run.search_attributes.get("OrderStatus"))].append(run)
            dice = random.Random(choice)
            for runs in by_status.values():
                dice.shuffle(runs)
            in_turn = [run for rank in itertools.zip_longest(*by_status.values()) for run in rank if run is not None]
            for run in in_turn[:TERMINATED]:
                with contextlib.suppress(RPCError):  # it has ended meanwhile
                    await client.get_workflow_handle(run.id, run_id=run.run_id).terminate("chaos")
                    self._arena.terminated[run.run_id] = run.id

    async def _until_there_are(self, rows: str, number: int) -> None:
        """Wait for so many rows in the orders database, not for long."""
        deadline = time.monotonic() + MOMENT_SECONDS
        while time.monotonic() < deadline:
            [found] = await self._databases.admin(f"SELECT count(*) AS n FROM {rows}", database="orders")
            if found["n"] >= number:
                return
            await asyncio.sleep(0.02)

    async def _operations(self) -> int:
        """How many movements of money the gateway has made."""
        async with httpx.AsyncClient(timeout=10, trust_env=False) as http:
            answer = await http.get(f"{self._arena.stack.settings.gateway_url}/v1/ledger")
            answer.raise_for_status()
        return sum(
            bool(entry["status"]) + bool(entry["captured_amount"]) + (entry["status"] == "voided")
            for entry in answer.json()["payments"]
        )

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
                rows = await self._databases.admin(
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

    async def _read_only_failover(self, fault: Fault) -> None:
        # Nothing else shall end the connections that are left, so that it heals by itself.
        async with self._holding("postgres"):
            self._feel(fault, await self._databases.read_only_failover(fault.target, fault.seconds))

    async def _lock_timeouts(self, fault: Fault) -> None:
        self._feel(fault, await self._databases.lock_timeouts(fault.target, fault.seconds))

    async def _lease_from_another_time(self, fault: Fault) -> None:
        ahead = fault.choice < 0.7
        self._feel(fault, await self._databases.lease_from_another_time(fault.target, ahead=ahead))

    async def _handovers_from_another_time(self, fault: Fault) -> None:
        """Temporal stands still, so that there are some."""
        async with self._holding("temporal"):
            temporal = self._arena.processes["temporal"]
            temporal.freeze()
            try:
                await self._until_there_are("handovers", 3)
                ahead = fault.choice < 0.7
                self._feel(fault, await self._databases.handovers_from_another_time(ahead=ahead))
            finally:
                temporal.thaw()

    # --- Steps, by the hands of people ---

    async def _pause_steps(self, fault: Fault) -> None:
        """Steps stay paused for a while after what they waited for is back."""
        async with self._steps_that_wait() as (temporal, steps), paused(temporal, steps) as held:
            await self._put_faults({})
            await asyncio.sleep(fault.seconds)
            self._feel(fault, len(set(held) & set(await pending_steps(temporal))))

    async def _answer_steps(self, fault: Fault) -> None:
        async with self._steps_that_wait() as (temporal, steps):
            self._feel(fault, await answer(temporal, steps, random.Random(fault.choice)))

    @contextlib.asynccontextmanager
    async def _steps_that_wait(self) -> AsyncIterator[tuple[Client, list[Step]]]:
        """The gateway is down: what was tried near, in vain, waits on its task queue, where people see it."""
        async with self._holding("gateway", "temporal"):
            temporal = await Client.connect(self._arena.stack.settings.temporal_address)
            await self._put_faults({"down": True})
            try:
                deadline = time.monotonic() + MOMENT_SECONDS
                steps: list[Step] = []
                while len(steps) < STEPS_BY_HAND and time.monotonic() < deadline:
                    await asyncio.sleep(0.2)
                    steps = await pending_steps(temporal)
                yield temporal, steps[:STEPS_BY_HAND]
            finally:
                await self._put_faults({})

    def _feel(self, fault: Fault, times: int) -> None:
        """Count how often a fault that can miss has hit something."""
        self._arena.felt[fault.kind] = self._arena.felt.get(fault.kind, 0) + times

    # --- Kafka's records ---

    async def _foreign_records(self, fault: Fault) -> None:
        """One of every shape; felt is what the broker took."""
        async with self._holding("kafka"):
            rows = await self._databases.admin(
                "SELECT order_id FROM orders ORDER BY created_at DESC LIMIT 1", database="orders"
            )
            dice = random.Random(fault.choice)
            settings = self._arena.stack.settings
            topic = (self._arena.broker, settings.kafka_topic, settings.kafka_partitions)
            for batch in foreign.batches(fault.number, dice, rows[0]["order_id"] if rows else None):
                self._feel(fault, await foreign.send(*topic, batch, dice))

    async def _make_topic_anew(self, fault: Fault) -> None:
        # The consumers run: of one that does not, nobody could say what it has seen of the topic before.
        async with self._holding("kafka", "consumer", "relay"):
            await self._until_there_are("publications", 1)
            self._feel(fault, await make_topic_anew(self._arena, self._databases, unseen=fault.choice < 0.5))

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
