"""The redrive: dead letters are applied after all, in order, once what was wrong with them is put right.

Each goes through the inbox and the effect like any event, in one transaction that also deletes its row. An order is
free when its last one is gone: the consumer applies its next event again. Safe to interrupt and to repeat, also beside
a running consumer and another redrive.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from orderflow_events.applying import Connect, Effect, transaction
from orderflow_events.dead_letters import DeadLetter, letter_of
from orderflow_events.envelope import EnvelopeError
from orderflow_events.failures import Interruption, Transient, is_transient, sentence
from orderflow_events.inbox import Gap, claim

log = logging.getLogger(__name__)

_LIST = """
SELECT * FROM dead_letters
WHERE consumer_group = $1 AND ($2::text IS NULL OR subject = $2) AND dead_letter_id > $3
ORDER BY dead_letter_id LIMIT $4
"""

# The first of each order; those without an order stand alone.
_FIRSTS = """
SELECT min(dead_letter_id) AS dead_letter_id FROM dead_letters
WHERE consumer_group = $1 AND ($2::text IS NULL OR subject = $2)
GROUP BY subject, CASE WHEN subject IS NULL THEN dead_letter_id END
ORDER BY 1
"""

_NEXT = """
SELECT min(dead_letter_id) FROM dead_letters WHERE consumer_group = $1 AND subject = $2
"""

_LOCK = """
SELECT * FROM dead_letters WHERE consumer_group = $1 AND dead_letter_id = $2 FOR UPDATE
"""

_DELETE = """
DELETE FROM dead_letters WHERE consumer_group = $1 AND dead_letter_id = $2 RETURNING *
"""

_FAILED_AGAIN = """
UPDATE dead_letters
SET kind = CASE kind WHEN 'follows' THEN 'failed' ELSE kind END, reason = $3, attempts = attempts + 1,
    first_failed_at = coalesce(first_failed_at, $4), last_failed_at = $4
WHERE consumer_group = $1 AND dead_letter_id = $2
"""


@dataclass
class Redriven:
    """What came of a redrive: how many took effect, how many had already, and those that failed again.

    Behind each of ``failed`` its order is still held.
    """

    applied: int = 0
    skipped: int = 0
    failed: list[tuple[DeadLetter, str]] = field(default_factory=list)


async def dead_letters(
    connect: Connect, group: str, order_id: str | None = None, *, after: int = 0, limit: int = 100
) -> list[DeadLetter]:
    """The group's dead letters by id, of one order or of all; the next page starts ``after`` the last id."""
    async with connect() as connection:
        return [letter_of(row) for row in await connection.fetch(_LIST, group, order_id, after, limit)]


async def discard(connect: Connect, group: str, letter_id: int) -> DeadLetter | None:
    """Give one dead letter up for good; None: there is none with that id.

    If it was its order's only one, the order is free. Else those behind it wait for the redrive, which reports the gap.
    """
    async with connect() as connection:
        row = await connection.fetchrow(_DELETE, group, letter_id)
    return letter_of(row) if row else None


async def redrive(
    *,
    connect: Connect,
    group: str,
    effect: Effect,
    order_id: str | None = None,
    transient: Transient = is_transient,
    on_gap: Callable[[Gap], None] = lambda _: None,
) -> Redriven:
    """Apply the dead letters of ``group``, of one order or of all, with the effect that its consumers have.

    One that fails again keeps its order held, and the others go on. Raises ``failures.Interruption`` when the database
    is away: what was applied until then stays applied.
    """
    result = Redriven()
    async with transaction(connect, transient) as connection:
        firsts = [row["dead_letter_id"] for row in await connection.fetch(_FIRSTS, group, order_id)]
    for first in firsts:
        letter_id: int | None = first
        while letter_id is not None:
            letter_id = await _redrive_one(connect, group, letter_id, effect, transient, on_gap, result)
    return result


async def _redrive_one(
    connect: Connect,
    group: str,
    letter_id: int,
    effect: Effect,
    transient: Transient,
    on_gap: Callable[[Gap], None],
    result: Redriven,
) -> int | None:
    """Apply one; the id of the next of its order, None if there is none or if this one fails."""
    letter: DeadLetter | None = None
    gaps: list[Gap] = []
    try:
        async with transaction(connect, transient) as connection:
            row = await connection.fetchrow(_LOCK, group, letter_id)
            if row is None:
                return None  # another redrive was faster, and goes on with the order
            letter = letter_of(row)
            fresh, gaps = await claim(connection, group, [letter.decode()])
            if fresh:
                await effect(connection, fresh)
            await connection.execute(_DELETE, group, letter_id)
            following: int | None = await connection.fetchval(_NEXT, group, letter.subject)
    except Interruption:
        raise
    except Exception as error:
        if letter is None:
            raise
        reason = sentence(error)
        log.warning("%s fails again: %s", letter, reason, exc_info=None if isinstance(error, EnvelopeError) else error)
        async with transaction(connect, transient) as connection:
            await connection.execute(_FAILED_AGAIN, group, letter_id, reason, datetime.now(UTC))
        result.failed.append((letter, reason))
        return None
    result.applied += len(fresh)
    result.skipped += not fresh
    for gap in gaps:
        on_gap(gap)
    return following
