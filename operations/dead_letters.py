"""A consumer group's dead letters: reading them, and applying them after all.

The table ``dead_letters`` in the group's database is the truth (the kit's, ``events/``). Without ``group`` and ``url``
it is our own tracking's, in the orders database. Every function raises Unavailable when the database gives no answer.
"""

import importlib
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final
from uuid import UUID

from orderflow.domain.errors import Unavailable
from orderflow.settings import Settings
from orderflow.store.database import Database
from orderflow.stream.tracking import log_gap, track
from orderflow_events.applying import Connect, Effect
from orderflow_events.dead_letters import DeadLetter, Remembered, forget_passed, passed_records
from orderflow_events.failures import Interruption
from orderflow_events.redrive import Redriven, dead_letters
from orderflow_events.redrive import discard as give_up
from orderflow_events.redrive import redrive as apply_again

#: Whole tables, seldom.
COMMAND_SECONDS: Final = 60.0
_PAGE: Final = 500


class BadEffect(Exception):
    """What a group does with an event cannot be told; the message says why."""


async def read(
    settings: Settings, group: str | None, url: str | None, order: UUID | None = None, *, after: int = 0, limit: int = 0
) -> list[DeadLetter]:
    """The dead letters behind id ``after``, the oldest first, of one order or all; ``limit`` 0: no limit."""
    letters: list[DeadLetter] = []
    async with _connect(settings, url) as connect:
        while page := await dead_letters(
            connect,
            group or settings.tracking_group,
            str(order) if order else None,
            after=after,
            limit=limit or _PAGE,
        ):
            letters += page
            after = page[-1].id
            if limit:
                break
    return letters


async def redrive(
    settings: Settings, group: str | None, url: str | None, order: UUID | None, effect: Effect
) -> Redriven:
    """Apply the dead letters by ``effect``, in order. What was applied stays so when Unavailable is raised."""
    async with _connect(settings, url) as connect:
        try:
            return await apply_again(
                connect=connect,
                group=group or settings.tracking_group,
                effect=effect,
                order_id=str(order) if order else None,
                on_gap=log_gap,
            )
        except Interruption as error:
            raise Unavailable("dead letters", f"{error}; what was applied stays applied") from error


async def discard(settings: Settings, group: str | None, url: str | None, letter: int) -> DeadLetter | None:
    """Give one dead letter up for good; None: there is none with this id. Its order is free if it was the only one."""
    async with _connect(settings, url) as connect:
        return await give_up(connect, group or settings.tracking_group, letter)


async def passed(settings: Settings, group: str | None, url: str | None, *, forget: bool) -> list[Remembered]:
    """The records that were passed without a dead letter, the latest first; ``forget``: they are told no more."""
    name = group or settings.tracking_group
    async with _connect(settings, url) as connect, connect() as connection:
        found = await passed_records(connection, name)
        if forget:
            await forget_passed(connection, name)
    return found


def effect_of(settings: Settings, group: str | None, named: str | None) -> Effect:
    """The tracking's own, or the ``MODULE:NAME`` of another group's, which is imported. Raises BadEffect."""
    if named is None:
        if group not in (None, settings.tracking_group):
            raise BadEffect(f"what {group} does with an event is not known here: say --effect MODULE:NAME")
        return track
    module, _, name = named.partition(":")
    sys.path.insert(0, str(Path.cwd()))  # as where its consumer runs
    try:
        effect: Effect = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise BadEffect(f"{named!r} is no MODULE:NAME of an effect: {error}") from error
    return effect


@asynccontextmanager
async def _connect(settings: Settings, url: str | None) -> AsyncIterator[Connect]:
    dsn = url or settings.database_url("orders")
    direct = None if url else settings.database_direct_url("orders")
    database = Database("dead letters", dsn, direct_dsn=direct, pool_size=1, command_timeout=COMMAND_SECONDS)
    async with database:
        await database.pool()
        yield database.lend
