"""The rounds: all sides in turn, on the same servers, so that what disturbs the machine disturbs all."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from typing import Final, TypeVar, get_args

from bench.baskets import Basket
from bench.measure import CpuMeter, Mode, Phase, SideName, Stopwatch, used
from bench.sides import Side, drive

MODES: Final[tuple[Mode, ...]] = get_args(Mode)

Say = Callable[[str], None]
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Plan:
    """``orders`` of each side in each round with ``at_once`` in flight, and ``alone`` one at a time."""

    orders: int
    alone: int
    rounds: int
    at_once: int

    def load(self, mode: Mode) -> tuple[int, int]:
        """How many orders, and how many of them in flight."""
        return (self.alone, 1) if mode == "one at a time" else (self.orders, self.at_once)


@dataclass(frozen=True, slots=True)
class Entrant:
    """A side, and the processes that work for it."""

    side: Side
    meter: CpuMeter

    async def phase(self, mode: Mode, baskets: Sequence[Basket], first: int, orders: int, in_flight: int) -> Phase:
        """Live through ``orders``. CPU time is counted until everything that they caused has happened."""
        before, watch = self.meter.begin(), Stopwatch()
        chosen = islice(cycle(baskets), first, first + orders)
        laps = await drive(self.side.live_through, chosen, in_flight)
        seconds = watch.seconds()
        await self.side.settled(laps)
        return Phase(self.side.name, mode, seconds, laps, used(before, self.meter.end()))


Phases = dict[Mode, dict[SideName, list[Phase]]]


async def run_rounds(entrants: Sequence[Entrant], baskets: Sequence[Basket], plan: Plan, say: Say) -> Phases:
    """All rounds; warm up before. Raises BenchError."""
    found: Phases = {mode: {entrant.side.name: [] for entrant in entrants} for mode in MODES}
    for number in range(plan.rounds):
        for mode in MODES:
            orders, in_flight = plan.load(mode)
            for entrant in turned(entrants, number):
                phase = await entrant.phase(mode, baskets, number * orders, orders, in_flight)
                found[mode][entrant.side.name].append(phase)
                say(f"round {number + 1} of {plan.rounds}: {line(phase, in_flight)}")
    return found


def turned(order: Sequence[_T], number: int) -> list[_T]:
    """Who comes when in round ``number`` (0, 1 ...): in each pair of rounds everybody comes as often before everybody
    else as behind, and another one begins each pair."""
    start = number // 2 % len(order)
    rotated = [*order[start:], *order[:start]]
    return rotated[::-1] if number % 2 else rotated


def line(phase: Phase, in_flight: int) -> str:
    """A phase for the terminal."""
    how = "one at a time" if phase.mode == "one at a time" else f"{in_flight} at once"
    return (
        f"{phase.side:<5} {how:<13} {phase.orders_per_second:5.1f} orders/s, "
        f"lifecycle p50 {phase.milliseconds('lifecycle', 0.5):5.0f} ms, "
        f"to FULFILLING p50 {phase.milliseconds('to FULFILLING', 0.5):5.0f} ms, "
        f"CPU {phase.cpu_ms_an_order(client=False):4.0f} ms an order without the client"
    )
