"""What a run found, as it is kept: one JSON file, from which pages and plots are made."""

from datetime import datetime
from typing import Literal

from bench.histories import HistoryShape
from bench.measure import CLIENT, Mode, Phase, SideName, Spread, Step
from orderflow.domain.model import Model

GearName = Literal["embedded", "strict"]


class PhaseFigures(Model):
    """One side in one mode in one round. Times in milliseconds, by step; CPU in milliseconds an order, by process.

    ``again``: requests that had to be sent again, because the server asked for that.
    """

    orders: int
    seconds: float
    p50: dict[Step, float]
    p95: dict[Step, float]
    cpu: dict[str, float]
    again: int = 0

    @property
    def orders_per_second(self) -> float:
        """Throughput."""
        return self.orders / self.seconds

    def cpu_an_order(self, *, client: bool) -> float:
        """All processes together, with the client or without."""
        return sum(spent for name, spent in self.cpu.items() if client or name != CLIENT)


class PlanFigures(Model):
    """``orders`` of each side in each round with ``at_once`` in flight, and ``alone`` one at a time."""

    orders: int
    alone: int
    rounds: int
    at_once: int


class Results(Model):
    """A whole run. ``phases``: one a round. ``notes``: what a reader must know."""

    gear: GearName
    began_at: datetime
    machine: dict[str, str]
    plan: PlanFigures
    notes: list[str]
    phases: dict[Mode, dict[SideName, list[PhaseFigures]]]
    histories: dict[SideName, HistoryShape]
    #: Milliseconds a second, by process; while nothing happens.
    idle_cpu: dict[str, float]
    #: From an event's commit to a consumer: milliseconds, and how many events.
    arrivals_p50: float
    arrivals_p95: float
    arrivals: int
    #: An order's share, by statement.
    statements: dict[str, float]

    @property
    def sides(self) -> list[SideName]:
        """In the order in which they are shown."""
        return list(self.phases["at once"])


def figures(phase: Phase) -> PhaseFigures:
    """A phase as it is kept."""
    steps: list[Step] = ["place", "approve", "to FULFILLING", "ship", "complete", "lifecycle"]
    p50 = {step: found for step in steps if (found := phase.milliseconds(step, 0.5)) is not None}
    p95 = {step: found for step in steps if (found := phase.milliseconds(step, 0.95)) is not None}
    orders = len(phase.laps)
    return PhaseFigures(
        orders=orders,
        seconds=round(phase.seconds, 4),
        p50={step: round(value, 2) for step, value in p50.items()},
        p95={step: round(value, 2) for step, value in p95.items()},
        cpu={name: round(1000 * seconds / orders, 3) for name, seconds in phase.cpu_seconds.items()},
        again=sum(lap.again for lap in phase.laps),
    )


def ratio(one: list[float], other: list[float]) -> Spread:
    """``one`` over ``other``, round by round."""
    return Spread([a / b for a, b in zip(one, other, strict=True)])
