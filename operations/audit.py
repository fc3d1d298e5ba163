"""What an operator did to an order and why: rows in the orders' ``commands``, which nothing ever changes.

One with the id ``r:<name>:<time>`` before it is done: the reason and who asked. One with ``:answer`` behind that id
when more is known than that it was asked: what came of it. Both have a refusal with the slug ``operator``, as they make
no version, so `orderflow order explain` shows them, and what was begun and never answered shows too.
"""

import getpass
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from orderflow.domain.commands import Command
from orderflow.domain.errors import Problem, Unavailable
from orderflow.store.database import Database
from orderflow.store.orders import Orders

MOST_OF_A_REASON: Final = 500
#: Is told what an operator should read beside the result.
Tell = Callable[[str], None]


class NotPossible(Exception):
    """There is nothing to do it to; the message says why. ``missing``: there is no such order at all."""

    def __init__(self, message: str, *, missing: bool = False) -> None:
        super().__init__(message)
        self.missing = missing


class BadReason(Exception):
    """A reason that cannot be recorded; the message says what it needs."""


def checked(reason: str) -> str:
    """``reason`` on one line. Raises BadReason."""
    said = " ".join(reason.split())
    if not said or len(said) > MOST_OF_A_REASON or not said.isprintable():
        raise BadReason(f"a reason needs 1 to {MOST_OF_A_REASON} printable characters")
    return said


@dataclass(frozen=True, slots=True)
class Record:
    """What is written down first: ``name`` is what will be done, ``stamp`` when, in an idempotency key's letters."""

    order_id: UUID
    name: str
    stamp: str

    @property
    def id(self) -> str:
        """The command id of its row."""
        return f"r:{self.name}:{self.stamp}"


async def record(database: Database, order_id: UUID, name: str, said: str) -> Record:
    """Write down that ``name`` is about to be done, and why. Raises Unavailable."""
    made = Record(order_id, name, f"{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}")
    await _write(database, made, made.id, f"{said} (by {_who()})")
    return made


async def answer(database: Database, record: Record, said: str, tell: Tell) -> None:
    """Write down what came of it. When that fails ``tell`` is told: it has happened all the same."""
    try:
        await _write(database, record, f"{record.id}:answer", said)
    except Unavailable as error:
        tell(f"recorded as {record.id}, but not what came of it: {error.detail}")


@asynccontextmanager
async def recorded(database: Database, order_id: UUID, name: str, said: str, tell: Tell) -> AsyncIterator[Record]:
    """Around what is done: recorded before it, and if it was not done, that as well. Gives the record."""
    made = await record(database, order_id, name, said)
    try:
        yield made
    except NotPossible as error:
        await answer(database, made, f"not done: {error}", tell)
        raise
    except Unavailable as error:
        await answer(database, made, f"nobody knows whether it was done: no answer of {error}", tell)
        raise


async def _write(database: Database, record: Record, command_id: str, said: str) -> None:
    problem = Problem(slug="operator", detail=said, status=409)
    await Orders(database).note(record.order_id, Command(name=record.name, id=command_id), problem)


def _who() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return f"user {os.getuid()}"
