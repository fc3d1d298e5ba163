"""What the growth bench found, as it is kept: one JSON file for each of its parts."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final, Literal

from bench import plots
from bench.measure import Spread
from bench.report import Figure, Sheet, cpu_an_order, orders_per_second, p50, p95, spread_cell
from bench.results import GearName, PhaseFigures
from orderflow.domain.model import Model

PartName = Literal["clients", "lines", "hot", "open", "backlog"]

TITLES: Final[dict[PartName, str]] = {
    "clients": "Orders at once",
    "lines": "Lines an order",
    "hot": "Orders that want one hot SKU",
    "open": "Open orders",
    "backlog": "A backlog for the relay",
}


class Point(Model):
    """Orders of ours under one load, a phase a round. ``label``: the load."""

    label: str
    phases: list[PhaseFigures]

    def spread(self, figure: Figure) -> Spread:
        """A figure over the rounds."""
        return Spread([value for phase in self.phases if (value := figure(phase)) is not None])


class Backlog(Model):
    """``events`` that waited. Rates in events a second; ``memory``: MB of the relay, at equal distances of time."""

    events: int
    relay_rate: float
    raw_rate: float
    memory: list[float]


class PartResults(Model):
    """One part of the growth bench. ``points`` or ``backlog``. ``about``: what was held equal, and what not."""

    part: PartName
    gear: GearName
    began_at: datetime
    machine: dict[str, str]
    about: str
    points: tuple[Point, ...] = ()
    backlog: Backlog | None = None


def _p50(phase: PhaseFigures) -> float | None:
    return p50("lifecycle", phase)


def _p95(phase: PhaseFigures) -> float | None:
    return p95("lifecycle", phase)


def _again(phase: PhaseFigures) -> float:
    return float(phase.again)


_FIGURES: Final[Sequence[tuple[str, Figure, int]]] = (
    ("orders/s", orders_per_second, 1),
    ("CPU an order without the client, ms", cpu_an_order, 1),
    ("whole lifecycle, p50 ms", _p50, 0),
    ("p95 ms", _p95, 0),
    ("requests sent again", _again, 0),
)


def part_sheet(results: PartResults) -> Sheet:
    """The part's table."""
    title = TITLES[results.part]
    if (backlog := results.backlog) is not None:
        memory = backlog.memory
        rows = [
            ["events", f"{backlog.events:,}"],
            ["relay, events/s", f"{backlog.relay_rate:,.0f}"],
            ["a raw producer of the same records, events/s", f"{backlog.raw_rate:,.0f}"],
            ["relay / raw", f"{backlog.relay_rate / backlog.raw_rate:.2f}"],
            ["memory of the relay: at a tenth of the time, most, at the end, MB", _memory(memory)],
        ]
        return Sheet(title, ["", "ours"], rows)
    rows = [
        [point.label, *(spread_cell(point.spread(figure), decimals) for _, figure, decimals in _FIGURES)]
        for point in results.points
    ]
    return Sheet(title, ["", *(name for name, _, _ in _FIGURES)], rows)


def _memory(memory: Sequence[float]) -> str:
    return f"{memory[len(memory) // 10]:.0f}, {max(memory):.0f}, {memory[-1]:.0f}" if memory else ""


def part_plots(results: PartResults) -> dict[str, str]:
    """SVG texts by file name."""
    name, title = f"growth-{results.part}", TITLES[results.part]
    if (backlog := results.backlog) is not None:
        rates = {"relay": Spread([backlog.relay_rate]), "raw producer": Spread([backlog.raw_rate])}
        memory = {"MB": [Spread([mb]) for mb in backlog.memory]}
        marks = [""] * len(backlog.memory)
        return {
            f"{name}.svg": plots.bars(f"{title}: events a second", {"events/s": rates}),
            f"{name}-memory.svg": plots.lines("Memory of the relay while it works it off, MB", "time", marks, memory),
        }
    ticks = [point.label for point in results.points]
    speed = {"orders/s": [point.spread(orders_per_second) for point in results.points]}
    cost = {"ms": [point.spread(cpu_an_order) for point in results.points]}
    return {
        f"{name}.svg": plots.lines(f"{title}: orders a second", title.lower(), ticks, speed),
        f"{name}-cpu.svg": plots.lines(f"{title}: CPU an order without the client, ms", title.lower(), ticks, cost),
    }
