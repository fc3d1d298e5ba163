"""Which faults happen, in which order, at which point of the load: a pure function of the seed.

Time on the wall is not part of it (a machine is fast or slow): a fault begins when so many orders have been started.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

#: How long a fault lasts, in seconds: at least, at most.
Span = tuple[float, float]

_MOMENT: Final[Span] = (0.0, 0.0)
_SHORT: Final[Span] = (0.5, 3.0)
_OUTAGE: Final[Span] = (2.0, 6.0)
_MINUTE: Final[Span] = (55.0, 65.0)


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of fault. ``targets``: what it may hit, one of them at a time; ``spans``: how long it lasts."""

    name: str
    targets: tuple[str, ...]
    spans: tuple[Span, ...] = (_MOMENT,)


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault: it begins once ``after_orders`` orders have been started, and lasts ``seconds``.

    ``choice`` in [0, 1) picks what cannot be named beforehand, such as one of the connections that there are then.
    """

    number: int
    kind: str
    target: str
    after_orders: int
    seconds: float
    choice: float

    def line(self) -> str:
        """For people."""
        lasts = f" for {self.seconds:.1f} s" if self.seconds else ""
        return f"{self.number:4d}  after {self.after_orders:5d} orders  {self.kind:<32} {self.target}{lasts}"


_SERVICES: Final = ("orders", "payments", "inventory")


def kinds(*, strict: bool) -> tuple[Kind, ...]:
    """All kinds of a gear. The small broker loses acknowledged records at kill -9, so only Apache Kafka gets that."""
    workers = _SERVICES if strict else ("workers",)
    common = (
        Kind("kill api", ("api",), (_MOMENT, _OUTAGE)),
        Kind("kill worker", workers, (_MOMENT, _OUTAGE)),
        Kind("kill every worker", ("every worker",), (_MOMENT, _OUTAGE)),
        Kind("kill relay", ("relay",), (_MOMENT, _OUTAGE)),
        Kind("kill gateway", ("gateway",), (_MOMENT, _OUTAGE)),
        Kind("kill consumer", ("consumer",), (_MOMENT, _SHORT)),
        Kind("freeze api", ("api",), (_SHORT,)),
        # Beyond a step's 15 s the other worker has repeated it when this one wakes.
        Kind("freeze worker", workers, (_SHORT, _OUTAGE, _OUTAGE, (16.0, 18.0))),
        # Beyond the lease's 5 s another one leads when this one wakes.
        Kind("freeze relay", ("relay",), (_SHORT, (6.0, 8.0))),
        Kind("freeze gateway", ("gateway",), (_SHORT, (5.5, 7.0))),
        Kind("kill postgres", ("postgres",), (_MOMENT, _OUTAGE)),
        Kind("kill a postgres backend", ("postgres",)),
        Kind("restart postgres", ("postgres",), (_MOMENT, _OUTAGE)),
        Kind("freeze postgres", ("postgres",), (_SHORT, (5.0, 7.0))),
        Kind("cut database connections", ("postgres",)),
        Kind("refuse writes", _SERVICES, (_SHORT, _OUTAGE)),
        Kind("database is read-only", _SERVICES, (_SHORT,)),
        Kind("read-only failover", _SERVICES, (_SHORT, _OUTAGE)),
        Kind("lock time-outs", _SERVICES, (_OUTAGE,)),
        Kind("lease from another time", _SERVICES),
        Kind("handovers from another time", ("orders",)),
        Kind("kill temporal", ("temporal",), (_MOMENT, _OUTAGE)),
        Kind("freeze temporal", ("temporal",), (_SHORT,)),
        Kind("kill temporal and api", ("temporal",), (_MOMENT, _SHORT)),
        Kind("temporal is away", ("temporal",), (_MINUTE,)),
        Kind("kill api before temporal is told", ("api",)),
        # Beyond a claim's pause of 2 s another one has told Temporal when this one wakes.
        Kind("freeze a dispatcher", (workers[0],), ((3.0, 8.0),)),
        Kind("kill workers in a near step", ("every worker",)),
        Kind("no worker for payments", ("every worker",), ((4.0, 9.0),)),
        Kind("terminate runs", ("temporal",)),
        Kind("pause steps", ("temporal",), ((4.0, 12.0),)),
        Kind("answer steps with garbage", ("temporal",)),
        Kind("foreign records", ("kafka",)),
        Kind("make the topic anew", ("kafka",)),
        Kind("restart kafka", ("kafka",), (_MOMENT, _OUTAGE)),
        Kind("freeze kafka", ("kafka",), (_SHORT, _OUTAGE)),
        Kind("drop kafka's answers", ("kafka",), (_SHORT, _OUTAGE)),
        Kind("kafka's network hangs", ("kafka",), (_OUTAGE,)),
        Kind("gateway is slow", ("gateway",), (_OUTAGE,)),
        Kind("gateway fails", ("gateway",), (_OUTAGE,)),
        Kind("gateway is down", ("gateway",), (_OUTAGE,)),
        Kind("gateway loses answers", ("gateway",), (_OUTAGE,)),
    )
    if not strict:
        return common
    return (
        *common,
        Kind("kill kafka", ("kafka",), (_MOMENT, _OUTAGE)),
        Kind("kill temporal's postgres", ("temporal-postgres",), (_MOMENT, _SHORT)),
        Kind("freeze temporal's postgres", ("temporal-postgres",), (_SHORT,)),
    )


def schedule(seed: int, orders: int, faults: int, *, strict: bool, only: str = "") -> tuple[Fault, ...]:
    """``faults`` faults, evenly spread over ``orders`` orders; every kind before any kind twice.

    ``only``: of kinds with this in their name. Raises ValueError where there is none.
    """
    dice = random.Random(f"faults of {seed}")
    chosen = [kind for kind in kinds(strict=strict) if only in kind.name]
    if not chosen:
        raise ValueError(
            f"no kind of fault has {only!r} in its name: {', '.join(k.name for k in kinds(strict=strict))}"
        )
    return tuple(
        Fault(
            number=number,
            kind=kind.name,
            target=dice.choice(kind.targets),
            after_orders=number * orders // faults,
            seconds=round(dice.uniform(*dice.choice(kind.spans)), 2),
            choice=dice.random(),
        )
        for number, kind in zip(range(faults), _decks(chosen, dice), strict=False)
    )


def _decks(cards: Sequence[Kind], dice: random.Random) -> Iterator[Kind]:
    while True:
        deck = list(cards)
        dice.shuffle(deck)
        yield from deck
