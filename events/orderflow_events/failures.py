"""Whose fault a failure is, how often an event is tried, and when dead-lettering has to stop.

An event is only given up for an error of its own: what a broken database or network raises never counts.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TypeAlias

from orderflow_events.database_errors import Verdict, fault_of
from orderflow_events.printable import printable

#: Does this error say nothing about the event? Then it is tried again without bound.
Transient: TypeAlias = Callable[[BaseException], bool]

_LONGEST_REASON = 1_000


def is_transient(error: BaseException) -> bool:
    """What says nothing about the event (``database_errors.FAULTS``); also as the cause of another error.

    Connections, time-outs, locks, deadlocks, a server that is full, read-only or shutting down, a table or a privilege
    that is missing.

    An effect that needs more than Postgres has errors of its own that say nothing about the event. Give the consumer
    ``transient=lambda error: is_transient(error) or isinstance(error, httpx.TransportError)``, for example.
    """
    cause: BaseException | None = error
    while cause is not None:
        if fault_of(cause).verdict in (Verdict.OUTAGE, Verdict.RACE):
            return True
        cause = cause.__cause__
    return False


class Interruption(Exception):
    """The database was at fault, not the event: nothing was applied, it is tried again and never counted."""


class Stopped(Exception):
    """The consumer holds at an event instead of passing over it. The message says why, for the operator."""


def sentence(error: BaseException) -> str:
    """An error on one line of at most 1,000 characters that Postgres, a header, a log and a terminal can be given."""
    said = " ".join(line.strip() for line in str(error).splitlines())
    return printable(f"{type(error).__name__}: {said}" if said else type(error).__name__, _LONGEST_REASON)


@dataclass(frozen=True, slots=True)
class Retries:
    """How a failing event is tried, and how many a group may give up.

    An event is tried ``attempts`` times, with pauses that double from the first to the longest; then it is a dead
    letter. When ``limit`` events whose effect failed have been set aside within ``window`` and stand there still, the
    consumer stops at the next one: something is broken, not an event. Records that cannot be decoded, and those that
    only follow one of their order, do not count: anybody can send them.
    """

    attempts: int = 5
    first_pause_seconds: float = 0.2
    longest_pause_seconds: float = 5.0
    limit: int = 10
    window: timedelta = timedelta(minutes=10)

    def __post_init__(self) -> None:
        if self.attempts < 1 or self.limit < 0:
            raise ValueError("attempts must be at least 1, and limit at least 0")


@dataclass(slots=True)
class Failure:
    """What has gone wrong with one event so far."""

    reason: str = ""
    attempts: int = 0
    first_at: datetime | None = None
    last_at: datetime | None = None

    def add(self, error: BaseException) -> None:
        """Another attempt has failed."""
        self.reason = sentence(error)
        self.attempts += 1
        self.last_at = datetime.now(UTC)
        self.first_at = self.first_at or self.last_at
