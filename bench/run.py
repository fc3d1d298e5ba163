"""One run of the bench: what stands still first, then the rounds of all sides, then what they left in Temporal."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from temporalio.client import Client

from bench import dbos
from bench.arrivals import arrivals
from bench.baskets import Basket, read_baskets
from bench.errors import SideMissing
from bench.floor import Floor
from bench.histories import HistoryShape, history_shape
from bench.http import HttpClient
from bench.machine import machine
from bench.measure import CLIENT, CpuMeter, SideName, Stopwatch, percentile, used
from bench.naive import Naive
from bench.ours import Ours
from bench.results import GearName, PlanFigures, Results, figures
from bench.rounds import Entrant, Phases, Plan, Say, run_rounds
from bench.servers import FLOOR_WORKER, NAIVE_WORKER, TEMPORAL_POSTGRES, Servers, servers
from bench.statements import statements
from bench.told import PORT_VARIABLE, Told
from orderflow.settings import Settings
from orderflow.stack.ports import LOOPBACK
from orderflow.stack.processes import Event
from orderflow.temporal.client import connect

TEMPORAL: Final = ("temporal", TEMPORAL_POSTGRES)
#: Orders whose histories are read, for each side.
HISTORIES: Final = 10
#: Until what a burst of orders left behind (vacuums, closing connections) is over.
QUIET_SECONDS: Final = 3.0


async def run_bench(
    settings: Settings,
    plan: Plan,
    gear: GearName,
    *,
    with_dbos: bool,
    idle_seconds: float,
    say: Say,
    trouble: Callable[[Event], None],
) -> Results:
    """Measure everything. ``trouble`` hears what happens to the processes. Raises BenchError and StackError."""
    began_at, on, baskets, notes = datetime.now(UTC), machine(settings, gear), read_baskets(), []
    python = None
    if with_dbos:
        try:
            python = await dbos.install()
        except SideMissing as error:
            notes.append(str(error))
            say(str(error))
    say("starting the stack")
    async with servers(settings, gear, trouble) as there, Ours(there.stack.settings) as ours:
        await ours.stock(line.sku for basket in baskets for line in basket.lines)
        us = Entrant(ours, CpuMeter(there.pids()))
        say("warming up: ours")
        await us.phase("at once", baskets, 0, 2 * plan.at_once, plan.at_once)
        idle = await _idle(us.meter, idle_seconds)
        seen = await _arrivals(us, there.stack.settings, baskets, plan.alone)
        sent = await _statements(us, there.stack.ports, baskets, plan)
        async with _others(there, baskets, python) as others:
            for entrant in others:
                say(f"warming up: {entrant.side.name}")
                await entrant.phase("at once", baskets, 0, 2 * plan.at_once, plan.at_once)
            entrants = [us, *others]
            phases = await run_rounds(entrants, baskets, plan, say)
            histories = await _histories(await connect(there.stack.settings), entrants, phases)
    return Results(
        gear=gear,
        began_at=began_at,
        machine=on,
        plan=PlanFigures(orders=plan.orders, alone=plan.alone, rounds=plan.rounds, at_once=plan.at_once),
        notes=notes,
        phases={mode: {s: [figures(p) for p in each] for s, each in found.items()} for mode, found in phases.items()},
        histories=histories,
        idle_cpu=idle,
        arrivals_p50=percentile(seen, 0.5),
        arrivals_p95=percentile(seen, 0.95),
        arrivals=len(seen),
        statements=sent,
    )


async def _idle(meter: CpuMeter, seconds: float) -> dict[str, float]:
    """Milliseconds of CPU a second, by process, while nothing is asked of the stack."""
    await asyncio.sleep(min(QUIET_SECONDS, seconds))
    before, watch = meter.begin(), Stopwatch()
    await asyncio.sleep(seconds)
    spent = used(before, meter.end())
    took = watch.seconds()
    return {name: round(1000 * each / took, 2) for name, each in spent.items() if name != CLIENT}


async def _arrivals(us: Entrant, settings: Settings, baskets: Sequence[Basket], orders: int) -> list[float]:
    async with arrivals(settings) as seen:
        await us.phase("one at a time", baskets, 0, orders, 1)
    return seen.milliseconds


async def _statements(us: Entrant, ports: dict[str, int], baskets: Sequence[Basket], plan: Plan) -> dict[str, float]:
    before = await statements(ports)
    await us.phase("at once", baskets, 0, plan.orders, plan.at_once)
    sent = await statements(ports) - before
    return {name: round(count / plan.orders, 2) for name, count in sent.most_common()}


@contextlib.asynccontextmanager
async def _others(there: Servers, baskets: Sequence[Basket], python: Path | None) -> AsyncIterator[list[Entrant]]:
    client = await connect(there.stack.settings)
    async with Told() as told:
        await there.start_worker(NAIVE_WORKER, "bench.naive")
        await there.start_worker(FLOOR_WORKER, "bench.floor", **{PORT_VARIABLE: str(told.port)})
        found = [
            Entrant(Naive(client), CpuMeter(there.pids(*TEMPORAL, NAIVE_WORKER))),
            Entrant(Floor(client, told, len(baskets)), CpuMeter(there.pids(*TEMPORAL, FLOOR_WORKER))),
        ]
        if python is None:
            yield found
            return
        spec, port = await dbos.app(there.stack, python)
        await there.beside.start(spec)
        async with HttpClient(f"http://{LOOPBACK}:{port}") as http:
            yield [*found, Entrant(dbos.Dbos(http), CpuMeter(there.pids("postgres", dbos.PROCESS)))]


async def _histories(client: Client, entrants: Sequence[Entrant], phases: Phases) -> dict[SideName, HistoryShape]:
    found = {}
    for entrant in entrants:
        laps = phases["one at a time"][entrant.side.name][-1].laps[-HISTORIES:]
        names = [name for lap in laps if (name := entrant.side.workflow_id(lap)) is not None]
        if names:
            found[entrant.side.name] = await history_shape(client, names)
    return found
