"""The handovers, as dispatchers read them: what is due, what was told, what Temporal refuses.

They are written by the statement that moves the row (``commands.py``); here is what becomes of them afterwards.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from orderflow.domain.handovers import LOOK, Handover
from orderflow.store.database import Database
from orderflow.store.statements import Statement

#: The longest pause between two attempts.
MOST_SECONDS: Final = 30

# The next attempt is put off before this one is made: a dispatcher that dies, or freezes, keeps nothing from others.
# An index is searched for a stable time only: with clock_timestamp() each claim walks along all that is not due.
# One that is put off for longer than any is ever put off was written by a clock that has stepped back since: it is due.
_CLAIM = Statement(
    "handovers.claim",
    "Takes handovers that are due, the oldest first, and puts their next attempt off.",
    f"""
WITH due AS (
    SELECT order_id FROM handovers WHERE next_at <= statement_timestamp()
    ORDER BY next_at LIMIT $limit FOR UPDATE SKIP LOCKED
), astray AS (
    SELECT order_id FROM handovers WHERE next_at > statement_timestamp() + interval '{2 * MOST_SECONDS} seconds'
    ORDER BY next_at LIMIT least($limit, 100) FOR UPDATE SKIP LOCKED
)
UPDATE handovers h
SET attempts = h.attempts + 1,
    next_at = clock_timestamp() + make_interval(secs => least({MOST_SECONDS}, 2 ^ least(h.attempts + 1, 8)))
FROM (SELECT order_id FROM due UNION ALL SELECT order_id FROM astray LIMIT $limit) taken
WHERE h.order_id = taken.order_id
RETURNING h.order_id, h.number, h.name, h.again, h.attempts
""",
)

# Only what was sent: a newer write raised the number, and its handover stays. Sorted, so that two of these never wait
# for each other.
_TOLD = Statement(
    "handovers.told",
    "Deletes handovers that Temporal was told of, where nothing newer was written.",
    """
WITH sent AS (
    SELECT h.order_id FROM handovers h
    JOIN unnest($order_ids::uuid[], $numbers::bigint[]) AS s (order_id, number) USING (order_id, number)
    ORDER BY h.order_id FOR UPDATE OF h
)
DELETE FROM handovers h USING sent WHERE h.order_id = sent.order_id
RETURNING h.order_id
""",
)

_REFUSED = Statement(
    "handovers.refused",
    "Sets a handover aside that Temporal does not take.",
    f"""
UPDATE handovers SET refused = $error, next_at = clock_timestamp() + interval '{MOST_SECONDS} seconds'
WHERE order_id = $order_id AND number = $number RETURNING order_id
""",
)

_LOOK = Statement(
    "handovers.look",
    "Has Temporal look at an order again, whatever it was told before.",
    f"""
INSERT INTO handovers (order_id, name, again, next_at)
SELECT order_id, '{LOOK}', true, clock_timestamp() FROM orders WHERE order_id = $order_id
ON CONFLICT (order_id) DO UPDATE
    SET number = nextval('handover_numbers'), again = true, next_at = clock_timestamp(), attempts = 0, refused = NULL
RETURNING order_id
""",
)

_DEPTH = Statement(
    "handovers.depth",
    "Counts the handovers, and says how old the oldest is that Temporal does not refuse.",
    """
SELECT count(*) AS pending, count(refused) AS refused,
       coalesce(clock_timestamp() - min(written_at) FILTER (WHERE refused IS NULL), interval '0') AS oldest_age
FROM handovers
""",
)

_HEAVY = Statement(
    "handovers.heavy",
    "Lists the principals that have many handovers.",
    """
SELECT authid FROM handovers WHERE authid IS NOT NULL AND refused IS NULL
GROUP BY authid HAVING count(*) >= $most::bigint
""",
)

_OF = Statement(
    "handovers.of",
    "Reads the handover of one order.",
    "SELECT name, written_at, next_at, attempts, refused FROM handovers WHERE order_id = $order_id",
)

_WAITING = Statement(
    "handovers.waiting",
    "Lists the handovers that Temporal has not been told of for long, the oldest first.",
    """
SELECT order_id, name, written_at, next_at, attempts, refused FROM handovers
WHERE written_at <= clock_timestamp() - $older::interval ORDER BY written_at LIMIT $limit
""",
)


@dataclass(frozen=True, slots=True)
class HandoverDepth:
    """How many wait, how many of them Temporal refused, and the age of the oldest of the others."""

    pending: int
    refused: int
    oldest_age: timedelta


@dataclass(frozen=True, slots=True)
class PendingHandover:
    """One order's. ``written_at``: since when Temporal has not been told; ``refused``: what it said, if it did.

    ``attempts``: how often a dispatcher tried; ``next_at``: when it is due again.
    """

    name: str
    written_at: datetime
    next_at: datetime
    attempts: int
    refused: str | None


class Handovers:
    """Those of the orders database. All methods raise Unavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def claim(self, limit: int) -> list[Handover]:
        """Up to ``limit`` that are due, oldest first; each is due again after a pause that grows."""
        return [Handover(**row) for row in await self._database.all(_CLAIM, {"limit": limit})]

    async def told(self, handovers: Sequence[Handover]) -> None:
        """Temporal has these: delete them where the number is the one that was sent."""
        values = {
            "order_ids": [handover.order_id for handover in handovers],
            "numbers": [handover.number for handover in handovers],
        }
        await self._database.all(_TOLD, values)

    async def refused(self, handover: Handover, error: str) -> None:
        """Temporal does not take it: it is counted, and tried again: it may once the run has begun anew."""
        values = {"order_id": handover.order_id, "number": handover.number, "error": error[:500]}
        await self._database.all(_REFUSED, values)

    async def look(self, order_id: UUID) -> bool:
        """Have Temporal look at the order's row, also where its run came to an end. False: there is no such order."""
        return await self._database.one(_LOOK, {"order_id": order_id}) is not None

    async def depth(self) -> HandoverDepth:
        """How much waits."""
        row = await self._database.one(_DEPTH, {})
        if row is None:
            raise AssertionError("an aggregate always has a row")
        return HandoverDepth(**row)

    async def heavy(self, most: int) -> list[str]:
        """The principals whose commands left ``most`` or more of them. What Temporal refuses is not its being away."""
        return [row["authid"] for row in await self._database.all(_HEAVY, {"most": most})]

    async def of(self, order_id: UUID) -> PendingHandover | None:
        """The order's; None: Temporal knows all."""
        row = await self._database.one(_OF, {"order_id": order_id})
        return PendingHandover(**row) if row else None

    async def waiting(self, older_than: timedelta, limit: int | None = None) -> dict[UUID, PendingHandover]:
        """Those of which Temporal has not been told for longer, by order, the oldest first; all, or ``limit``."""
        found = {}
        for row in await self._database.all(_WAITING, {"older": older_than, "limit": limit}):
            fields = dict(row)
            order_id = fields.pop("order_id")
            found[order_id] = PendingHandover(**fields)
        return found
