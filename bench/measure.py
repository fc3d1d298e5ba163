"""What is measured: the times of one order, and the CPU time of processes.

Times are monotonic seconds as the client saw them. CPU time is user plus system time of a process with all its
children, those that have ended included.
"""

import contextlib
import math
import statistics
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal
from uuid import UUID

import psutil

SideName = Literal["ours", "naive", "floor", "dbos"]
Mode = Literal["one at a time", "at once"]
#: From sending the command to its answer; ``to FULFILLING``: from sending approve to knowing of FULFILLING.
Step = Literal["place", "approve", "to FULFILLING", "ship", "complete", "lifecycle"]

#: This process, in readings of the CPU.
CLIENT: Final = "client"


class Stopwatch:
    """Runs from the moment it is made."""

    def __init__(self) -> None:
        self._started = time.perf_counter()

    def seconds(self) -> float:
        """How long it has run."""
        return time.perf_counter() - self._started


@dataclass(frozen=True, slots=True)
class Lap:
    """One order, as its client saw it. A side that has no such step leaves it out.

    ``again``: requests that had to be sent again, because the server asked for that (429, 503).
    """

    order_id: UUID
    seconds: Mapping[Step, float]
    again: int = 0


class LapTimer:
    """Times the steps of one order, from the moment it is made."""

    def __init__(self) -> None:
        self.again = 0
        self._watch = Stopwatch()
        self._sent_at: dict[Step, float] = {}
        self._seconds: dict[Step, float] = {}

    def sending(self, *steps: Step) -> None:
        """The command is sent now, with which ``steps`` begin."""
        self._sent_at |= dict.fromkeys(steps, self._watch.seconds())

    def answered(self, step: Step) -> None:
        """The answer is here, or what the step waits for is known."""
        self._seconds[step] = self._watch.seconds() - self._sent_at[step]

    def lap(self, order_id: UUID) -> Lap:
        """The order is complete."""
        return Lap(order_id, {**self._seconds, "lifecycle": self._watch.seconds()}, self.again)


@dataclass(frozen=True, slots=True)
class Phase:
    """Orders of one side in one mode, without a break; ``cpu_seconds`` by process."""

    side: SideName
    mode: Mode
    seconds: float
    laps: Sequence[Lap]
    cpu_seconds: Mapping[str, float]

    @property
    def orders_per_second(self) -> float:
        """Throughput, the beginning and the end of the phase included."""
        return len(self.laps) / self.seconds

    def milliseconds(self, step: Step, share: float) -> float | None:
        """A percentile of a step's time; None where the side has no such step."""
        found = [1000 * lap.seconds[step] for lap in self.laps if step in lap.seconds]
        return percentile(found, share) if found else None

    def cpu_ms_an_order(self, *, client: bool) -> float:
        """All processes together, with the client or without."""
        seconds = sum(spent for name, spent in self.cpu_seconds.items() if client or name != CLIENT)
        return 1000 * seconds / len(self.laps)


def percentile(values: Iterable[float], share: float) -> float:
    """The value that ``share`` (0 to 1) of ``values`` do not exceed; the median for one half. Raises ValueError."""
    ordered = sorted(values)
    if not ordered:
        raise ValueError("a percentile of nothing")
    if share == 0.5:
        return statistics.median(ordered)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


@dataclass(frozen=True, slots=True)
class Spread:
    """The same figure, one for each round."""

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
    """Reads the CPU time of named processes. Raises psutil.NoSuchProcess for one that has ended.

    Reading costs this process milliseconds. They are booked to nobody: before a phase the client's own time is read
    last, after it first. So each reading is of one end of a phase.
    """

    def __init__(self, pids: Mapping[str, int]) -> None:
        self._pids = dict(pids)

    def begin(self) -> dict[str, float]:
        """Seconds since each process began, as a phase begins."""
        return {**self._processes(), CLIENT: time.process_time()}

    def end(self) -> dict[str, float]:
        """The same as a phase ends."""
        own = time.process_time()
        return {**self._processes(), CLIENT: own}

    def _processes(self) -> dict[str, float]:
        # One pass over all processes of the machine: asking each for its children would make one a process.
        children: dict[int, list[psutil.Process]] = defaultdict(list)
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                children[process.ppid()].append(process)
        return {name: _with_children(psutil.Process(pid), children) for name, pid in self._pids.items()}


def used(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """Seconds between two readings."""
    return {name: after[name] - before[name] for name in before}


def _with_children(process: psutil.Process, children: Mapping[int, Sequence[psutil.Process]]) -> float:
    times = process.cpu_times()
    # What ended is in its parent's count of children, as far as the system keeps one; what runs is asked itself.
    seconds = times.user + times.system + times.children_user + times.children_system
    for child in children.get(process.pid, ()):
        with contextlib.suppress(psutil.NoSuchProcess):
            seconds += _with_children(child, children)
    return float(seconds)
