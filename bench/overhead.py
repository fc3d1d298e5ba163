"""``python -m bench.overhead telemetry | security``: what these cost, against a stack that has none of them.

The stacks stand side by side and take turns, as often first as last, so that what disturbs the machine disturbs all.
Read the ratios. On a machine that the load fills, throughput follows the CPU that an order costs, and the CPU is the
steadier figure.
"""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, Final

import typer

from bench.baskets import Basket, read_baskets
from bench.http import HttpClient
from bench.machine import machine
from bench.measure import CpuMeter, Spread
from bench.ours import Ours
from bench.report import Sheet, to_markdown, to_terminal
from bench.rounds import Entrant, turned
from bench.statements import SCRAPED
from bench.terminal import RESULTS, console, run, say_trouble, write
from orderflow.rates import OFF
from orderflow.settings import Settings
from orderflow.stack.ports import LOOPBACK, private_port
from orderflow.stack.stack import EmbeddedStack, wipe

BARE: Final = "bare"


@dataclass(frozen=True, slots=True)
class Variant:
    """A stack that is compared: the settings that make the difference, and whether what lies in Temporal is sealed."""

    settings: Mapping[str, Any]
    sealed: bool = True


@dataclass(frozen=True, slots=True)
class Comparison:
    """Stacks that stand side by side, ``BARE`` among them."""

    about: str
    variants: Mapping[str, Variant]


class What(StrEnum):
    """What there is to be compared."""

    TELEMETRY = "telemetry"
    SECURITY = "security"


_UNLIMITED: Final = {f"api_limit_{what}": OFF for what in ("reads", "writes", "anonymous", "failed_authentications")}
COMPARISONS: Final[Mapping[What, Comparison]] = {
    What.TELEMETRY: Comparison(
        "Each stack over the bare one, which has no metrics, logs errors only and traces nothing. The others have "
        "metrics, are scraped, and log as they do by default.",
        {
            BARE: Variant({"metrics": False, "log_level": "error", "traces": "off"}),
            "metrics and logs": Variant({}),
            "traces at 1 %": Variant({"traces": "file", "traces_sample_ratio": 0.01}),
            "all traces": Variant({"traces": "file", "traces_sample_ratio": 1.0}),
        },
    ),
    What.SECURITY: Comparison(
        "Each stack over the bare one, which asks nobody who they are, counts no requests, and seals nothing in "
        "Temporal but the payment token. All have shares of a principal, a role a process in Postgres, and the "
        "lifecycles' triggers.",
        {
            BARE: Variant({"api_authentication": "off", **_UNLIMITED, "api_limit_handovers": 0}, sealed=False),
            "authentication and limits": Variant({}, sealed=False),
            "and sealed payloads": Variant({}),
        },
    ),
}
#: As a Prometheus would, but more often.
SCRAPE_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class Turn:
    """What one stack did in one round."""

    orders_per_second: float
    cpu_ms_an_order: float


class Contender:
    """A stack with its own settings and client."""

    def __init__(self, stack: EmbeddedStack, ours: Ours) -> None:
        self._stack = stack
        self._entrant = Entrant(ours, CpuMeter({name: one.pid for name, one in stack.processes.items()}))

    async def turn(self, baskets: list[Basket], first: int, orders: int, at_once: int) -> Turn:
        """Live through ``orders``, scraped meanwhile. Raises BenchError."""
        scraping = asyncio.create_task(self._scrape())
        try:
            phase = await self._entrant.phase("at once", baskets, first, orders, at_once)
        finally:
            scraping.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await scraping  # one that failed would make its stack look cheaper
        return Turn(phase.orders_per_second, phase.cpu_ms_an_order(client=True))

    async def _scrape(self) -> None:
        while self._stack.settings.metrics:
            for name in SCRAPED:
                async with HttpClient(f"http://{LOOPBACK}:{private_port(self._stack.ports, name)}") as http:
                    await http.get("/metrics")
            await asyncio.sleep(SCRAPE_SECONDS)


def main(
    what: Annotated[What, typer.Argument(help="What is measured.")] = What.TELEMETRY,
    orders: Annotated[int, typer.Option(min=1, help="Orders of each stack in each round.")] = 60,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds; each stack is as often first as last.")] = 8,
    at_once: Annotated[int, typer.Option(min=1, max=200, help="Orders in flight.")] = 30,
    results: Annotated[Path, typer.Option(help="Folder for the page.")] = RESULTS,
) -> None:
    """Measure what it costs."""
    comparison = COMPARISONS[what]
    settings = Settings(reconcile_interval_seconds=0)
    on, now = machine(settings, "embedded"), datetime.now(UTC)
    turns = run(_measured(settings, comparison.variants, orders, rounds, at_once))
    tables = [sheet(turns, f"{at_once} at once: {rounds} rounds of {orders} orders of each stack")]
    to_terminal(tables, console)
    facts = "\n".join(f"- {name}: {value}" for name, value in on.items())
    page = f"# Overhead of {what}, {now:%Y-%m-%d %H:%M} UTC\n\n{comparison.about}\n\n{facts}\n\n{to_markdown(tables)}"
    write(results / f"overhead-{what}-{now:%Y-%m-%d-%H%M%S}", {"page.md": page})


def sheet(turns: Mapping[str, list[Turn]], title: str) -> Sheet:
    """Medians over the rounds of each stack's figure over the bare one's."""
    rows = []
    for name, mine in turns.items():
        pairs = list(zip(mine, turns[BARE], strict=True))
        speed = Spread([one.orders_per_second / bare.orders_per_second for one, bare in pairs])
        cpu = Spread([one.cpu_ms_an_order / bare.cpu_ms_an_order for one, bare in pairs])
        figures = (Spread([one.orders_per_second for one in mine]), Spread([one.cpu_ms_an_order for one in mine]))
        rows.append(
            (
                name,
                f"{figures[0].median:.1f}",
                f"{speed.median:.3f}",
                f"{speed.least:.2f} to {speed.most:.2f}",
                f"{figures[1].median:.0f}",
                f"{cpu.median:.3f}",
                f"{cpu.least:.2f} to {cpu.most:.2f}",
            )
        )
    columns = ("", "orders/s", "ratio", "rounds", "CPU ms", "ratio", "rounds")
    return Sheet(title, columns, rows)


async def _measured(
    settings: Settings, variants: Mapping[str, Variant], orders: int, rounds: int, at_once: int
) -> dict[str, list[Turn]]:
    baskets = read_baskets()
    turns: dict[str, list[Turn]] = {name: [] for name in variants}
    async with _contenders(settings, variants, baskets) as contenders:
        names = list(contenders)
        for name in names:
            console.print(f"warming up: {name}")
            await contenders[name].turn(baskets, 0, 2 * at_once, at_once)
        for number in range(rounds):
            for name in turned(names, number):
                turn = await contenders[name].turn(baskets, number * orders, orders, at_once)
                turns[name].append(turn)
                console.print(
                    f"round {number + 1} of {rounds}: {name:<25} {turn.orders_per_second:5.1f} orders/s, "
                    f"CPU {turn.cpu_ms_an_order:4.0f} ms an order"
                )
    return turns


@contextlib.asynccontextmanager
async def _contenders(
    settings: Settings, variants: Mapping[str, Variant], baskets: list[Basket]
) -> AsyncIterator[dict[str, Contender]]:
    async with contextlib.AsyncExitStack() as everything:
        found = {}
        for name, variant in variants.items():
            console.print(f"starting: {name}")
            folder = everything.enter_context(TemporaryDirectory(prefix="orderflow-bench-"))
            # For root, Postgres runs as another user, which must be able to pass.
            os.chmod(folder, 0o711)  # noqa: S103
            home = Path(folder) / "stack"
            everything.callback(wipe, home)
            given = settings.model_copy(update=variant.settings)
            stack = await everything.enter_async_context(
                EmbeddedStack(given, home, ports="free", sealed=variant.sealed, on_event=say_trouble)
            )
            ours = await everything.enter_async_context(Ours(stack.settings))
            await ours.stock(line.sku for basket in baskets for line in basket.lines)
            found[name] = Contender(stack, ours)
        yield found


if __name__ == "__main__":
    typer.run(main)
