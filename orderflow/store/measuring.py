"""How long a statement waited for its connection, how long it took, and what it failed of."""

import time
from typing import Protocol

from orderflow.domain.errors import Rejection, Unavailable
from orderflow.meters import is_on
from orderflow.metrics import POOL_TIMEOUTS, POOL_WAIT_SECONDS, STATEMENT_FAILURES, STATEMENT_SECONDS
from orderflow.store.errors import LostRace


class Named(Protocol):
    """A statement, as far as metrics know it."""

    @property
    def name(self) -> str:
        """From a closed list."""


class Watch:
    """Around one statement. Does nothing."""

    __slots__ = ()

    def __enter__(self) -> "Watch":
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        return None

    def acquired(self) -> None:
        """It has its connection."""

    def answered(self) -> None:
        """It has its rows."""


class _Counting(Watch):
    __slots__ = ("_acquired_at", "_database", "_started_at", "_statement")

    def __init__(self, database: str, statement: Named) -> None:
        self._database = database
        self._statement = statement
        self._started_at = time.perf_counter()
        self._acquired_at: float | None = None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is None:
            return
        if self._acquired_at is None and isinstance(error, Unavailable):
            POOL_TIMEOUTS.add(self._database)
        if isinstance(error, Exception):
            STATEMENT_FAILURES.add(self._database, self._statement.name, _failure(error))

    def acquired(self) -> None:
        self._acquired_at = time.perf_counter()
        POOL_WAIT_SECONDS.observe(self._acquired_at - self._started_at, self._database)

    def answered(self) -> None:
        took = time.perf_counter() - (self._acquired_at or self._started_at)
        STATEMENT_SECONDS.observe(took, self._database, self._statement.name)


_NOTHING = Watch()


def measured(database: str, statement: Named) -> Watch:
    """A watch on ``statement``; where nothing is counted, one that does nothing."""
    return _Counting(database, statement) if is_on() else _NOTHING


def _failure(error: Exception) -> str:
    if isinstance(error, LostRace):
        return "lost_race"
    if isinstance(error, Unavailable):
        return "unavailable"
    return "rejected" if isinstance(error, Rejection) else "error"
