"""The search: breadth first, so that a trace is as short as it can be, and walks to the end for what lies deeper."""

import random
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from unit.model.invariants import broken_always, broken_between, broken_finally
from unit.model.moves import Move, beginning, moves
from unit.model.rules import Rules
from unit.model.scenarios import Scenario
from unit.model.state import World

#: How often a walk takes what goes on by itself where clients and faults could come first.
_GOES_ON = 0.7


@dataclass
class Report:
    """What was seen. ``violations``: an invariant's name and the moves that led there; ``complete``: all was seen."""

    worlds: int = 0
    complete: bool = False
    violations: dict[str, list[str]] = field(default_factory=dict)
    #: Of the order, its payment and its reservation.
    statuses: set[str | None] = field(default_factory=set)

    def saw(self, world: World) -> None:
        """One more."""
        self.worlds += 1
        self.statuses |= {world.row.status, world.payments.status, world.inventory.status}

    def found(self, name: str, trace: list[str]) -> None:
        """Keep the shortest."""
        if name not in self.violations or len(trace) < len(self.violations[name]):
            self.violations[name] = trace

    def __str__(self) -> str:
        """For people, with the traces."""
        told = [f"{self.worlds} worlds{', all there are' if self.complete else ''}"]
        for name, trace in self.violations.items():
            told += [f"BROKEN: {name}", *(f"  {number}. {label}" for number, label in enumerate(trace, 1))]
        return "\n".join(told)


_Parents = dict[World, tuple[World, str] | None]


def explore(scenario: Scenario, rules: Rules, limit: int, until: str | None = None) -> Report:
    """The nearest ``limit`` worlds, or fewer: until the invariant of this name is found broken."""
    report, start = Report(), beginning(scenario, rules)
    parents: _Parents = {start: None}
    waiting = deque([start])
    while waiting and report.worlds < limit and until not in report.violations:
        world = waiting.popleft()
        report.saw(world)
        broken, following = _judged(world, scenario, rules)
        if broken:
            report.found(broken, _trace(parents, world))
            continue
        for move in following:
            if fell := broken_between(world, move.world):
                report.found(fell, [*_trace(parents, world), move.label])
            elif move.world not in parents:
                parents[move.world] = (world, move.label)
                waiting.append(move.world)
    report.complete = not waiting
    return report


def walk(scenario: Scenario, rules: Rules, walks: int, seed: int) -> Report:
    """``walks`` random ways to where nothing goes on; the same seed takes the same ones."""
    report, chance = Report(), random.Random(f"{scenario.name}:{seed}")
    for _ in range(walks):
        world: World | None = beginning(scenario, rules)
        trace: list[str] = []
        while world is not None:
            report.saw(world)
            world = _stride(world, trace, scenario, rules, report, chance)
    return report


def _stride(
    world: World, trace: list[str], scenario: Scenario, rules: Rules, report: Report, chance: random.Random
) -> World | None:
    broken, following = _judged(world, scenario, rules)
    if broken:
        report.found(broken, trace)
    if broken or not following:
        return None
    by_itself = [move for move in following if move.goes_on]
    move = chance.choice(by_itself if by_itself and chance.random() < _GOES_ON else following)
    if fell := broken_between(world, move.world):
        report.found(fell, [*trace, move.label])
        return None
    trace.append(move.label)
    return move.world


def _judged(world: World, scenario: Scenario, rules: Rules) -> tuple[str | None, list[Move]]:
    broken = broken_always(world)
    if broken:
        return broken, []
    following = list(moves(world, scenario, rules))
    if not any(move.goes_on for move in following):
        broken = broken_finally(world)
    return broken, following


def _trace(parents: _Parents, world: World) -> list[str]:
    return list(_backwards(parents, world))[::-1]


def _backwards(parents: _Parents, world: World) -> Iterator[str]:
    while (step := parents[world]) is not None:
        world, label = step
        yield label
