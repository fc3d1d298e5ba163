"""How this process counts: counters, gauges and histograms that can be switched off, and what is asked at a scrape.

A thin layer over prometheus-client, and the only one that knows it. Nothing is counted until ``switch_on`` was called,
by an entry point: a library, a test or the command line pays one look at a flag. The names are in ``metrics.py``.

Label values come from closed lists (statuses, steps, statements, route templates); never from ids.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, Literal, Protocol, TypeAlias

import prometheus_client as client
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

Kind: TypeAlias = Literal["counter", "gauge", "histogram"]

PREFIX: Final = "orderflow_"
#: A scrape waits no longer for a sample, and a sample is taken again no sooner.
SAMPLE_SECONDS: Final = 2.0
SAMPLE_EVERY_SECONDS: Final = 5.0

#: Seconds. From a row lock that nobody holds to a step that a dependency keeps waiting.
FAST: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
WHOLE: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0)
LONG: Final = (0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0)
COUNTS: Final = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0)

REGISTRY: Final = client.CollectorRegistry()


class _Switch:
    on = False


def switch_on() -> None:
    """Count from now on. The process's own figures (CPU, memory, open files) are there too."""
    if not _Switch.on:
        _Switch.on = True
        client.disable_created_metrics()  # type: ignore[no-untyped-call]
        client.ProcessCollector(registry=REGISTRY)


def is_on() -> bool:
    """Whether anything is counted: for what costs something before it can be counted."""
    return _Switch.on


@dataclass(frozen=True, slots=True)
class Definition:
    """What a metric is. ``item``: what it answers, for people; ``query``: PromQL that shows it."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...]
    item: str
    query: str


#: Every metric of ours, in the order of ``metrics.py``.
DEFINITIONS: Final[list[Definition]] = []


def _define(name: str, kind: Kind, help: str, labels: Sequence[str], item: str, query: str) -> Definition:
    definition = Definition(PREFIX + name, kind, help, tuple(labels), item, query)
    DEFINITIONS.append(definition)
    return definition


class Counter:
    """Only grows. Its name ends in ``_total``."""

    def __init__(self, name: str, help: str, labels: Sequence[str] = (), *, item: str, query: str) -> None:
        self.definition = _define(name, "counter", help, labels, item, query)
        self._family = client.Counter(self.definition.name, help, labels, registry=REGISTRY)
        self._children: dict[tuple[str, ...], client.Counter] = {}

    def add(self, *labels: str, amount: float = 1) -> None:
        """Count ``amount`` more."""
        if _Switch.on:
            child = self._children.get(labels)
            if child is None:
                child = self._children[labels] = self._family.labels(*labels) if labels else self._family
            child.inc(amount)


class Histogram:
    """How often a value fell where. Its name ends in the unit."""

    def __init__(
        self, name: str, help: str, labels: Sequence[str] = (), *, buckets: Sequence[float], item: str, query: str
    ) -> None:
        self.definition = _define(name, "histogram", help, labels, item, query)
        self._family = client.Histogram(self.definition.name, help, labels, buckets=buckets, registry=REGISTRY)
        self._children: dict[tuple[str, ...], client.Histogram] = {}

    def observe(self, value: float, *labels: str) -> None:
        """One more ``value``."""
        if _Switch.on:
            child = self._children.get(labels)
            if child is None:
                child = self._children[labels] = self._family.labels(*labels) if labels else self._family
            child.observe(value)


class Gauge:
    """Goes up and down. Set by a sample at a scrape; a value that is no longer known is taken away."""

    def __init__(self, name: str, help: str, labels: Sequence[str] = (), *, item: str, query: str) -> None:
        self.definition = _define(name, "gauge", help, labels, item, query)
        # Without labels there is a series, of 0, before anything is known: so all of ours have labels.
        self._family = client.Gauge(self.definition.name, help, labels, registry=REGISTRY)
        self._known: set[tuple[str, ...]] = set()

    def set(self, value: float, *labels: str) -> None:
        """Show ``value`` for ``labels`` from now on."""
        if _Switch.on:
            self._known.add(labels)
            self._family.labels(*labels).set(value)

    def forget(self, *labels: str) -> None:
        """Take away the series that begin with ``labels``."""
        for known in [series for series in self._known if series[: len(labels)] == labels]:
            self._known.remove(known)
            self._family.remove(*known)


@dataclass(frozen=True, slots=True)
class PoolState:
    """A connection pool right now."""

    name: str
    size: int
    idle: int
    most: int


class Pools(Collector):
    """The connection pools of this process, looked at when they are asked for. Those of one name are summed up."""

    def __init__(self, name: str, help: str, *, item: str, query: str) -> None:
        self.definition = _define(name, "gauge", help, ("database", "state"), item, query)
        self._looks: dict[int, Callable[[], PoolState]] = {}
        REGISTRY.register(self)

    def add(self, owner: object, look: Callable[[], PoolState]) -> None:
        """Show ``owner``'s pool from the next scrape on."""
        self._looks[id(owner)] = look

    def remove(self, owner: object) -> None:
        """Leave ``owner``'s pool out from the next scrape on."""
        self._looks.pop(id(owner), None)

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """At a scrape."""
        sums: dict[tuple[str, str], int] = {}
        for look in list(self._looks.values()):
            pool = look()
            for state, number in (("in_use", pool.size - pool.idle), ("idle", pool.idle), ("max", pool.most)):
                sums[pool.name, state] = sums.get((pool.name, state), 0) + number
        family = GaugeMetricFamily(self.definition.name, self.definition.help, labels=self.definition.labels)
        for labels, number in sums.items():
            family.add_metric(labels, number)
        return [family]


class Sampled(Protocol):
    """Gauges that are read together from somewhere else, when they are asked for."""

    async def sample(self) -> None:
        """Read what they show and set them. Raises what stands in its way."""

    def forget(self) -> None:
        """Take their series out of the scrape, as their values are no longer known."""


class _Sampler:
    def __init__(self, name: str, gauges: Sampled) -> None:
        self.name = name
        self._gauges = gauges
        self._next_at = 0.0

    async def take(self, failed: Counter) -> None:
        if time.monotonic() < self._next_at:
            return
        self._next_at = time.monotonic() + SAMPLE_EVERY_SECONDS
        try:
            async with asyncio.timeout(SAMPLE_SECONDS):
                await self._gauges.sample()
        except Exception:  # whatever it is: an old value would be a lie, and the scrape goes on
            self._gauges.forget()
            failed.add(self.name)


_SAMPLERS: Final[list[_Sampler]] = []


@contextmanager
def sampled(name: str, gauges: Sampled) -> Iterator[None]:
    """Inside, ``gauges`` are sampled at scrapes, at most every few seconds, and forgotten where that fails, and after.

    ``name``: the sample's, where failures are counted.
    """
    sampler = _Sampler(name, gauges)
    _SAMPLERS.append(sampler)
    try:
        yield
    finally:
        _SAMPLERS.remove(sampler)
        gauges.forget()


async def exposition(failed: Counter) -> bytes:
    """Everything that is counted, in Prometheus' text format. ``failed`` counts samples that could not be taken."""
    await asyncio.gather(*(sampler.take(failed) for sampler in list(_SAMPLERS)))
    return client.generate_latest(REGISTRY)
