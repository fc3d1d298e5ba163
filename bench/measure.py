"""What is measured: the times of one order, and the CPU time of processes.

Times are monotonic seconds as the client saw them. CPU time is user plus system time of a process with all its
children, those that have ended included.
"""

import contextlib
import math
import statistics
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal
from uuid import UUID

import psutil

Side = Literal["ours", "naive"]
Mode = Literal["one at a time", "at once"]


class Stopwatch:
    """Runs from the moment it is made."""

    def __init__(self) -> None:
        self._started = time.perf_counter()

    def seconds(self) -> float:
        """How long it has run."""
        return time.perf_counter() - self._started


@dataclass(frozen=True, slots=True)
class Lap:
    """One order, as its client saw it. ``to_fulfilling_seconds``: from sending approve to knowing of FULFILLING."""

    order_id: UUID
    lifecycle_seconds: float
    to_fulfilling_seconds: float


@dataclass(frozen=True, slots=True)
class Phase:
    """Orders of one side in one mode, without a break; ``cpu_seconds`` by process."""

    side: Side
    mode: Mode
    seconds: float
    laps: Sequence[Lap]
    cpu_seconds: Mapping[str, float]

    @property
    def orders_per_second(self) -> float:
        """Throughput, the beginning and the end of the phase included."""
        return len(self.laps) / self.seconds

    def lifecycle_ms(self, share: float) -> float:
        """A percentile of the whole lifecycle."""
        return 1000 * percentile([lap.lifecycle_seconds for lap in self.laps], share)

    def to_fulfilling_ms(self, share: float) -> float:
        """A percentile of approve → FULFILLING."""
        return 1000 * percentile([lap.to_fulfilling_seconds for lap in self.laps], share)

    @property
    def cpu_ms_an_order(self) -> float:
        """All processes together."""
        return 1000 * sum(self.cpu_seconds.values()) / len(self.laps)


def together(phases: Sequence[Phase]) -> Phase:
    """Phases of one side and mode as one."""
    names = dict.fromkeys(name for phase in phases for name in phase.cpu_seconds)
    return Phase(
        side=phases[0].side,
        mode=phases[0].mode,
        seconds=sum(phase.seconds for phase in phases),
        laps=[lap for phase in phases for lap in phase.laps],
        cpu_seconds={name: sum(phase.cpu_seconds.get(name, 0.0) for phase in phases) for name in names},
    )


def percentile(values: Iterable[float], share: float) -> float:
    """The value that ``share`` (0 to 1) of ``values`` do not exceed; the median for one half. Raises ValueError."""
    ordered = sorted(values)
    if not ordered:
        raise ValueError("a percentile of nothing")
    if share == 0.5:
        return statistics.median(ordered)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


@dataclass(frozen=True, slots=True)
class Ratio:
    """A figure of ours over the same figure of the naive workflow, one for each round."""

    rounds: Sequence[float] = field(default_factory=tuple)

    @property
    def median(self) -> float:
        """The middle of the rounds."""
        return statistics.median(self.rounds)

    @property
    def least(self) -> float:
        """The smallest of the rounds."""
        return min(self.rounds)

    @property
    def most(self) -> float:
        """The largest of the rounds."""
        return max(self.rounds)


class CpuMeter:
    """Reads the CPU time of named processes. Raises psutil.NoSuchProcess for one that has ended."""

    def __init__(self, pids: Mapping[str, int], *, client: str = "client") -> None:
        """``client``: the name of this very process, which counts without its children."""
        self._processes = {name: psutil.Process(pid) for name, pid in pids.items()}
        self._client = client

    def read(self) -> dict[str, float]:
        """Seconds since each process began."""
        seconds = {name: _with_children(process) for name, process in self._processes.items()}
        own = psutil.Process().cpu_times()
        return {**seconds, self._client: own.user + own.system}


def used(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """Seconds between two readings."""
    return {name: after[name] - before[name] for name in before}


def _with_children(process: psutil.Process) -> float:
    times = process.cpu_times()
    # What ended is in its parent's count of children, as far as the system keeps one; what runs is asked itself.
    seconds = times.user + times.system + times.children_user + times.children_system
    for child in process.children():
        with contextlib.suppress(psutil.NoSuchProcess):
            seconds += _with_children(child)
    return float(seconds)
