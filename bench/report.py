"""The figures as a page: what was measured, on what, and ours over naive."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Console
from rich.table import Table

from bench.measure import Mode, Phase, Ratio, Side, together
from bench.rounds import MODES, Plan, Results


@dataclass(frozen=True, slots=True)
class Sheet:
    """One table: the first column names, the others are figures."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


Figure = Callable[[Phase], float]

#: Name, figure, and its decimals.
FIGURES: Mapping[Mode, Sequence[tuple[str, Figure, int]]] = {
    "one at a time": (
        ("whole lifecycle, p50 ms", lambda phase: phase.lifecycle_ms(0.5), 0),
        ("approve → FULFILLING, p50 ms", lambda phase: phase.to_fulfilling_ms(0.5), 0),
        ("CPU an order, ms", lambda phase: phase.cpu_ms_an_order, 0),
    ),
    "at once": (
        ("orders/s", lambda phase: phase.orders_per_second, 1),
        ("whole lifecycle, p50 ms", lambda phase: phase.lifecycle_ms(0.5), 0),
        ("whole lifecycle, p95 ms", lambda phase: phase.lifecycle_ms(0.95), 0),
        ("approve → FULFILLING, p50 ms", lambda phase: phase.to_fulfilling_ms(0.5), 0),
        ("approve → FULFILLING, p95 ms", lambda phase: phase.to_fulfilling_ms(0.95), 0),
        ("CPU an order, ms", lambda phase: phase.cpu_ms_an_order, 0),
    ),
}


def sheets(results: Results, plan: Plan) -> list[Sheet]:
    """The tables of a run."""
    found = [_compared(results.phases[mode], mode, _title(mode, plan)) for mode in MODES]
    at_once = results.phases["at once"]
    return [*found, _cpu(at_once, f"CPU an order by process, {plan.at_once} at once, ms"), _histories(results)]


def _title(mode: Mode, plan: Plan) -> str:
    orders, in_flight = plan.load(mode)
    how = "One at a time" if in_flight == 1 else f"{in_flight} at once"
    return f"{how}: {plan.rounds} rounds of {orders} orders of each side"


def _compared(sides: Mapping[Side, Sequence[Phase]], mode: Mode, title: str) -> Sheet:
    rows = []
    ours, naive = together(sides["ours"]), together(sides["naive"])
    for name, figure, decimals in FIGURES[mode]:
        pairs = zip(sides["ours"], sides["naive"], strict=True)
        ratio = Ratio([figure(one) / figure(other) for one, other in pairs])
        rows.append(
            (
                name,
                f"{figure(ours):.{decimals}f}",
                f"{figure(naive):.{decimals}f}",
                f"{ratio.median:.2f}",
                f"{ratio.least:.2f} to {ratio.most:.2f}",
            )
        )
    return Sheet(title, ("", "ours", "naive", "ratio", "of the rounds"), rows)


def _cpu(sides: Mapping[Side, Sequence[Phase]], title: str) -> Sheet:
    spent = {side: together(phases) for side, phases in sides.items()}
    names = dict.fromkeys(name for phase in spent.values() for name in phase.cpu_seconds)

    def cell(phase: Phase, name: str) -> str:
        seconds = phase.cpu_seconds.get(name)
        return "" if seconds is None else f"{1000 * seconds / len(phase.laps):.1f}"

    ours, naive = spent["ours"], spent["naive"]
    rows = [(name, cell(ours, name), cell(naive, name)) for name in names]
    rows.append(("all", f"{ours.cpu_ms_an_order:.1f}", f"{naive.cpu_ms_an_order:.1f}"))
    return Sheet(title, ("", "ours", "naive"), rows)


def _histories(results: Results) -> Sheet:
    ours, naive = results.histories["ours"], results.histories["naive"]
    rows = [
        (name, f"{one:.{decimals}f}", f"{other:.{decimals}f}")
        for name, one, other, decimals in (
            ("events", ours.events, naive.events, 0),
            ("workflow tasks", ours.workflow_tasks, naive.workflow_tasks, 0),
            ("ordinary activities", ours.activities, naive.activities, 0),
            ("kilobytes", ours.kilobytes, naive.kilobytes, 1),
        )
    ]
    return Sheet("An order's history in Temporal, medians", ("", "ours", "naive"), rows)


def to_terminal(tables: Sequence[Sheet], console: Console) -> None:
    """Print the tables."""
    for sheet in tables:
        console.print(f"[bold]{sheet.title}[/]", _rich(sheet), sep="\n", soft_wrap=True)


def _rich(sheet: Sheet) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    for number, column in enumerate(sheet.columns):
        table.add_column(column, justify="right" if number else "left", no_wrap=True)
    for row in sheet.rows:
        table.add_row(*row)
    return table


def to_markdown(tables: Sequence[Sheet], about: str, machine: Mapping[str, str], when: str) -> str:
    """The whole page. ``about``: what was compared with what."""
    return "\n".join(_lines(tables, about, machine, when))


def _lines(tables: Sequence[Sheet], about: str, machine: Mapping[str, str], when: str) -> Iterator[str]:
    yield f"# Benchmark, {when}"
    yield ""
    yield f"{about} `docs/benchmarks.md` says how to read it."
    yield ""
    yield from (f"- {name}: {value}" for name, value in machine.items())
    for sheet in tables:
        yield ""
        yield f"## {sheet.title}"
        yield ""
        yield f"| {' | '.join(sheet.columns)} |"
        yield f"| --- |{' ---: |' * (len(sheet.columns) - 1)}"
        yield from (f"| {' | '.join(row)} |" for row in sheet.rows)
    yield ""
