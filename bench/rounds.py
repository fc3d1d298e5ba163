"""The rounds: ours and naive in turn, on the same servers, so that what disturbs the machine disturbs both."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from typing import Final, get_args

import httpx
from temporalio.client import Client

from bench import naive, ours
from bench.baskets import Basket
from bench.histories import HistoryShape, history_shape
from bench.measure import CpuMeter, Lap, Mode, Phase, Side, Stopwatch, used
from orderflow.temporal.names import workflow_id

MODES: Final[tuple[Mode, ...]] = get_args(Mode)
#: Orders whose histories are read, for each side.
HISTORIES: Final = 10

Live = Callable[[Basket], Awaitable[Lap]]
Say = Callable[[str], None]


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
class Results:
    """Every round's phases, by mode and side; the histories, by side."""

    phases: dict[Mode, dict[Side, list[Phase]]]
    histories: dict[Side, HistoryShape]


@dataclass(frozen=True, slots=True)
class Track:
    """Where both sides run. ``meters``: the processes that work for a side."""

    baskets: Sequence[Basket]
    http: httpx.AsyncClient
    client: Client
    meters: dict[Side, CpuMeter]

    async def run(self, plan: Plan, say: Say) -> Results:
        """Warm up, then all rounds. Raises BenchError."""
        results = Results({mode: {"ours": [], "naive": []} for mode in MODES}, {})
        sides: list[Side] = ["ours", "naive"]
        for side in sides:
            say(f"warming up: {side}")
            await self._phase(side, "at once", 2 * plan.at_once, plan.at_once, 0)
        for number in range(plan.rounds):
            for mode in MODES:
                orders, in_flight = plan.load(mode)
                for side in sides:
                    phase = await self._phase(side, mode, orders, in_flight, number * orders)
                    results.phases[mode][side].append(phase)
                    say(f"round {number + 1} of {plan.rounds}: {_line(phase, in_flight)}")
            sides.reverse()
        for side in sides:
            laps = results.phases["one at a time"][side][-1].laps[-HISTORIES:]
            name = workflow_id if side == "ours" else naive.workflow_id
            results.histories[side] = await history_shape(self.client, [name(lap.order_id) for lap in laps])
        return results

    async def _phase(self, side: Side, mode: Mode, orders: int, in_flight: int, first: int) -> Phase:
        """CPU time is counted until ours has brought its last event to Kafka and back."""
        live: Live = (
            (lambda basket: ours.live_through(self.http, basket))
            if side == "ours"
            else (lambda basket: naive.live_through(self.client, basket))
        )
        before = self.meters[side].read()
        watch = Stopwatch()
        laps = await drive(live, islice(cycle(self.baskets), first, first + orders), in_flight)
        seconds = watch.seconds()
        if side == "ours":
            await ours.told(self.http, [lap.order_id for lap in laps[-in_flight:]])
        return Phase(side, mode, seconds, laps, used(before, self.meters[side].read()))


async def drive(live: Live, baskets: Iterator[Basket], in_flight: int) -> list[Lap]:
    """Let ``in_flight`` clients live through ``baskets``, each one after the other. Raises the first error."""
    laps: list[Lap] = []

    async def one_client() -> None:
        for basket in baskets:
            laps.append(await live(basket))

    clients = [asyncio.create_task(one_client()) for _ in range(in_flight)]
    try:
        await asyncio.gather(*clients)
    finally:
        for client in clients:
            client.cancel()
    return laps


def _line(phase: Phase, in_flight: int) -> str:
    how = "one at a time" if phase.mode == "one at a time" else f"{in_flight} at once"
    return (
        f"{phase.side:<5} {how:<13} {phase.orders_per_second:5.1f} orders/s, "
        f"lifecycle p50 {phase.lifecycle_ms(0.5):5.0f} ms, "
        f"approve to FULFILLING p50 {phase.to_fulfilling_ms(0.5):5.0f} ms, "
        f"CPU {phase.cpu_ms_an_order:4.0f} ms an order"
    )
