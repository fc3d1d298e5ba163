"""What the store counts: how long statements wait, take and why they fail, and what commands moved.

A statement that moves a row says with it what only it knows, in the column ``measures``: the status it came from
(``from``) and how long the row had had it (``seconds``); of a reservation, how long it waited for the rows' locks
(``lock_wait``, seconds) and why it was rejected (``reason``).
"""

import time

import asyncpg

from orderflow.domain.errors import Rejection, Unavailable
from orderflow.store.errors import LostRace
from orderflow.store.statements import Statement
from orderflow.telemetry.meters import is_on
from orderflow.telemetry.metrics import (
    FULFILLING_SECONDS,
    LOCK_WAIT_SECONDS,
    POOL_TIMEOUTS,
    POOL_WAIT_SECONDS,
    STATEMENT_FAILURES,
    STATEMENT_SECONDS,
    STOCK_REJECTIONS,
    TRANSITIONS,
)


class StatementTimer:
    """Around one statement. Does nothing."""

    __slots__ = ()

    def __enter__(self) -> "StatementTimer":
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        return None

    def acquired(self) -> None:
        """It has its connection."""

    def answered(self) -> None:
        """It has its rows."""


class _CountingTimer(StatementTimer):
    __slots__ = ("_acquired_at", "_database", "_started_at", "_statement")

    def __init__(self, database: str, statement: Statement) -> None:
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


_NOTHING = StatementTimer()


def measured(database: str, statement: Statement) -> StatementTimer:
    """A timer of ``statement``; where nothing is counted, one that does nothing."""
    return _CountingTimer(database, statement) if is_on() else _NOTHING


def _failure(error: Exception) -> str:
    if isinstance(error, LostRace):
        return "lost_race"
    if isinstance(error, Unavailable):
        return "unavailable"
    return "rejected" if isinstance(error, Rejection) else "error"


def count_transition(aggregate: str, command: str, row: asyncpg.Record) -> None:
    """``row`` was made or moved just now, by this very call: a replay finds no such row, so each counts once."""
    measures = row["measures"]
    TRANSITIONS.add(aggregate, command, measures.get("from", ""), row["status"])
    if command == "fulfil":
        FULFILLING_SECONDS.observe(measures["seconds"])
    if "lock_wait" in measures:
        LOCK_WAIT_SECONDS.observe(measures["lock_wait"])
    if measures.get("reason"):
        STOCK_REJECTIONS.add(measures["reason"])
