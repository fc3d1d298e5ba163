"""``python -m bench.growth [PART ...]``: does an order cost the same when there is more of everything?

Each part has a stack of its own. The points of a part take turns, round by round, where they can: open orders only grow
more. Ours alone is measured, as its client sees it, CPU without the client.
"""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final

import asyncpg
import psutil
import typer

from bench.baskets import Basket, read_baskets
from bench.errors import BenchError
from bench.filling import Filler
from bench.growth_results import Backlog, PartName, PartResults, Point, part_plots, part_sheet
from bench.machine import machine
from bench.measure import CpuMeter, Phase, Stopwatch
from bench.ours import Ours
from bench.page import PARTS, keep, part_markdown
from bench.report import to_terminal
from bench.results import GearName, PhaseFigures, figures
from bench.rounds import Entrant, line, turned
from bench.servers import Servers, servers
from bench.terminal import RESULTS, console, run, say, say_trouble, write
from orderflow.domain.orders import Line
from orderflow.settings import SERVICES, Settings
from orderflow.stack.ports import free_port
from orderflow.stack.probes import http_answers
from orderflow.stack.processes import Spec

CLIENTS: Final = (1, 3, 10, 30, 100, 300)
LINES: Final = (1, 11, 50, 200)
HOT_SHARES: Final = (0.0, 0.5, 1.0)
OPEN: Final = (0, 1_000, 10_000, 50_000)
BACKLOG: Final = 200_000
#: As many lines as a real basket has on average.
USUAL_LINES: Final = 11
#: Of orders that are filled in.
FILLED: Final = tuple(Line(sku=f"g-{number:04}", quantity=1, unit_price=100) for number in range(USUAL_LINES))
#: Products of the made baskets, and the one that many want.
PRODUCTS: Final = 2_000
HOT: Final = "g-hot"
#: Orders of a phase: at least so many for each client, or it is all beginning and end.
ORDERS_A_CLIENT: Final = 3
RELAY: Final = "relay alone"
LOOK_SECONDS: Final = 0.5
PATIENCE_SECONDS: Final = 600.0


@dataclass(frozen=True, slots=True)
class Load:
    """One point: these baskets, with so many orders in flight."""

    label: str
    baskets: Sequence[Basket]
    in_flight: int


@dataclass(frozen=True, slots=True)
class Scale:
    """How much is measured: ``share`` makes everything smaller, for tests."""

    orders: int
    rounds: int
    at_once: int
    share: float

    def of(self, count: int) -> int:
        """A count of the full bench, made smaller."""
        return max(1, round(count * self.share)) if count else 0


def main(
    parts: Annotated[list[str] | None, typer.Argument(help=f"Of {', '.join(PARTS)}. Default: all.")] = None,
    orders: Annotated[int, typer.Option(min=1, help="Orders of each point in each round, at least.")] = 120,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds; the points take turns.")] = 3,
    at_once: Annotated[int, typer.Option(min=1, help="Orders in flight, where that is not what grows.")] = 30,
    share: Annotated[float, typer.Option(min=0.0001, max=1, help="Of what grows: open orders, backlog, clients.")] = 1,
    strict: Annotated[bool, typer.Option(help="On Temporal with Postgres and Apache Kafka (Go, Java, Maven).")] = False,
    kept: Annotated[bool, typer.Option("--keep", help="Show these parts in docs/benchmarks.md.")] = False,
    results: Annotated[Path, typer.Option(help="Folder for the figures.")] = RESULTS,
) -> None:
    """Throughput and cost against orders at once, lines, a hot SKU, open orders; and a backlog for the relay."""
    chosen = [part for part in PARTS if not parts or part in parts]
    if unknown := set(parts or ()) - set(PARTS):
        raise typer.BadParameter(f"no such part: {', '.join(sorted(unknown))}")
    settings = Settings(reconcile_interval_seconds=0)
    gear: GearName = "strict" if strict else "embedded"
    for part in chosen:
        say(f"{part}: starting the stack")
        found = run(measured(part, settings, gear, Scale(orders, rounds, at_once, share)))
        to_terminal([part_sheet(found)], console)
        texts = {"page.md": f"# Growth, {part}\n\n{part_markdown(found, '', level=2)}"}
        texts |= {"figures.json": found.model_dump_json(indent=1) + "\n", **part_plots(found)}
        write(results / f"growth-{part}-{found.began_at:%Y-%m-%d-%H%M%S}", texts)
        if kept:
            keep(f"growth-{part}", found)


async def measured(part: PartName, settings: Settings, gear: GearName, scale: Scale) -> PartResults:
    """One part. Raises BenchError and StackError."""
    began_at, on = datetime.now(UTC), machine(settings, gear)

    def results(about: str, **found: Any) -> PartResults:
        return PartResults(part=part, gear=gear, began_at=began_at, machine=on, about=about, **found)

    async with servers(settings, gear, say_trouble) as there, Ours(there.stack.settings) as ours:
        if part == "backlog":
            about = "Events of orders that are FULFILLING, three each; a relay by itself, without the tracking."
            return results(about, backlog=await _backlog(there, ours, scale))
        entrant, real = Entrant(ours, CpuMeter(there.pids())), read_baskets()
        loads, about = _loads(part, real, scale)
        wanted = {line.sku for basket in (*real, *(b for load in loads for b in load.baskets)) for line in basket.lines}
        await ours.stock(wanted | {line.sku for line in FILLED})
        await entrant.phase("at once", real, 0, 2 * scale.at_once, scale.at_once)
        points = _in_turn(entrant, loads, scale) if loads else _open(there, entrant, real, scale)
        return results(f"{about} {scale.rounds} rounds.", points=await points)


def _loads(part: PartName, real: Sequence[Basket], scale: Scale) -> tuple[list[Load], str]:
    """The points of a part that take turns, and what to know of them."""
    at_once = f"{scale.at_once} at once."
    if part == "clients":
        return [Load(str(n), real, n) for n in dict.fromkeys(scale.of(n) for n in CLIENTS)], "Real baskets."
    if part == "lines":
        loads = [Load(str(lines), made_baskets(lines, 0.0), scale.at_once) for lines in LINES]
        return loads, f"{at_once} Baskets of {PRODUCTS:,} products, with as many lines as said."
    if part == "hot":
        loads = [Load(f"{share:.0%}", made_baskets(USUAL_LINES, share), scale.at_once) for share in HOT_SHARES]
        return loads, f"{at_once} Baskets of {USUAL_LINES} lines; in so many of them one is the same SKU."
    return [], f"{at_once} Half of the open orders are DRAFT, half FULFILLING. What is open stays open, so not in turn:"


def made_baskets(lines: int, hot_share: float, count: int = 200) -> list[Basket]:
    """Baskets of ``lines`` lines of any of the products; a share of them has the hot one as one of its lines."""
    dice = random.Random(1)  # noqa: S311 - the same baskets in every run
    found = []
    for number in range(count):
        skus = [f"g-{product:04}" for product in dice.sample(range(PRODUCTS), lines)]
        if number % 100 < 100 * hot_share:
            skus[0] = HOT
        found.append(Basket(f"somebody-{number}", tuple(Line(sku=s, quantity=1, unit_price=100) for s in skus), number))
    return found


async def _in_turn(entrant: Entrant, loads: Sequence[Load], scale: Scale) -> tuple[Point, ...]:
    found: dict[str, list[PhaseFigures]] = {load.label: [] for load in loads}
    for number in range(scale.rounds):
        for load in turned(loads, number):
            phase = await _phase(entrant, load, scale, number)
            found[load.label].append(figures(phase))
    return tuple(Point(label=label, phases=phases) for label, phases in found.items())


async def _phase(entrant: Entrant, load: Load, scale: Scale, number: int) -> Phase:
    orders = max(scale.orders, ORDERS_A_CLIENT * load.in_flight)
    phase = await entrant.phase("at once", load.baskets, number * orders, orders, load.in_flight)
    say(f"{load.label}: {line(phase, load.in_flight)}")
    return phase


async def _open(there: Servers, entrant: Entrant, baskets: Sequence[Basket], scale: Scale) -> tuple[Point, ...]:
    points, there_are = [], 0
    async with _databases(there.stack.settings) as databases:
        filler = Filler(databases["orders"], databases["payments"], databases["inventory"], FILLED)
        for level in OPEN:
            wanted = scale.of(level)
            more = wanted - there_are
            await filler.drafts(more - more // 2)
            await filler.fulfilling(more // 2)
            there_are = wanted
            for database in databases.values():
                await _emptied(database)
                await database.execute("ANALYZE")
            load = Load(f"{wanted:,}", baskets, scale.at_once)
            phases = [figures(await _phase(entrant, load, scale, number)) for number in range(scale.rounds)]
            points.append(Point(label=load.label, phases=phases))
    return tuple(points)


async def _backlog(there: Servers, ours: Ours, scale: Scale) -> Backlog:
    events = scale.of(BACKLOG) // 3 * 3
    await there.stack.process("relay").stop()
    async with _databases(there.stack.settings) as databases:
        orders = databases["orders"]
        await Filler(orders, None, None, FILLED).fulfilling(events // 3)
        await orders.execute("ANALYZE")
        say(f"{events:,} events wait")
        raw = await _raw_rate(there, events)
        say(f"a raw producer: {raw:,.0f} events/s")
        await there.beside.start(_relay_alone(there))
        relay = psutil.Process(there.beside.processes[RELAY].pid)
        memory: list[float] = []
        seen: list[tuple[float, int]] = []
        watch = Stopwatch()
        while not seen or seen[-1][1]:
            if watch.seconds() > PATIENCE_SECONDS:
                raise BenchError("the relay does not come to an end")
            seen.append((watch.seconds(), await orders.fetchval("SELECT count(*) FROM outbox")))
            memory.append(round(relay.memory_info().rss / 1e6, 1))
            await asyncio.sleep(LOOK_SECONDS)
    # From the first look that it had begun before: what it takes to start is not its rate.
    working = [(at, left) for at, left in seen if left < events] or seen
    (began_at, left), (ended_at, _) = working[0], working[-1]
    rate = left / (ended_at - began_at) if ended_at > began_at else events / max(ended_at, LOOK_SECONDS)
    say(f"the relay: {rate:,.0f} events/s")
    return Backlog(events=events, relay_rate=rate, raw_rate=raw, memory=memory)


def _relay_alone(there: Servers) -> Spec:
    port = free_port(avoid=there.stack.ports.values())
    return Spec(
        name=RELAY,
        argv=[sys.executable, "-P", "-m", "cli.main", "worker", "relay"],
        env=there.stack.env | {"ORDERFLOW_HEALTH_PORT": str(port)},
        cwd=there.stack.data_dir,
        ready=http_answers(port, "/health/live"),
    )


async def _raw_rate(there: Servers, events: int) -> float:
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "bench.raw_producer", str(events), str(USUAL_LINES)),
        env=there.stack.env,
        cwd=there.stack.data_dir,
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await child.communicate()
    if child.returncode != 0:
        raise BenchError("the raw producer failed")
    return float(output)


async def _emptied(database: asyncpg.Connection[Any]) -> None:
    """Wait until the relay has published what was filled in."""
    watch = Stopwatch()
    while await database.fetchval("SELECT count(*) FROM outbox"):
        if watch.seconds() > PATIENCE_SECONDS:
            raise BenchError("the relay does not come to an end")
        await asyncio.sleep(LOOK_SECONDS)


@asynccontextmanager
async def _databases(settings: Settings) -> AsyncIterator[Mapping[str, asyncpg.Connection[Any]]]:
    """The three, as their server's admin."""
    admin = settings.orders_admin_url
    if admin is None:
        raise RuntimeError("the stack has not started")
    found: dict[str, asyncpg.Connection[Any]] = {}
    try:
        for service in SERVICES:
            url = admin.get_secret_value().replace("/postgres?", f"/{service}?")
            found[service] = await asyncpg.connect(url)
        yield found
    finally:
        for connection in found.values():
            await connection.close()


if __name__ == "__main__":
    typer.run(main)
