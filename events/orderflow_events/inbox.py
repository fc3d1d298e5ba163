"""The inbox: which events a consumer group has applied, in the table ``processed_messages``.

An event is inserted in the transaction of its effect, so both happen or neither, and a second insert does nothing.
The table lives in the consumer's own database; ``processed_messages.sql`` creates it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, TypeAlias

import asyncpg

from orderflow_events.envelope import Envelope

#: A connection, or one that a pool lends.
Connection: TypeAlias = "asyncpg.Connection[Any] | asyncpg.pool.PoolConnectionProxy[Any]"

#: CREATE TABLE processed_messages; put it into a migration of yours.
PROCESSED_MESSAGES_SQL = files(__package__).joinpath("processed_messages.sql").read_text()

_CLAIM = """
WITH asked AS (
    SELECT * FROM unnest($2::text[], $3::text[], $4::bigint[]) AS asked (source, subject, sequence)
), claimed AS (
    -- Sorted: two members of a group that overlap during a rebalance wait for each other in one direction.
    INSERT INTO processed_messages (consumer_group, source, subject, sequence)
    SELECT $1, source, subject, sequence FROM asked ORDER BY source, subject, sequence
    ON CONFLICT DO NOTHING
    RETURNING source, subject, sequence
)
SELECT source, subject, sequence,
       -- What the inbox held before this statement: the highest event before this one.
       (SELECT max(p.sequence) FROM processed_messages p
        WHERE p.consumer_group = $1 AND p.source = claimed.source AND p.subject = claimed.subject
          AND p.sequence < claimed.sequence) AS before
FROM claimed
"""


@dataclass(frozen=True, slots=True)
class Gap:
    """An event came although the one before it (same source, same order) has never been seen.

    ``last_seen`` is the highest version before it that was, 0 for none: ``last_seen + 1 .. envelope.version - 1``
    are missing. They were lost to the topic's retention, or are on their way out of order.
    """

    envelope: Envelope
    last_seen: int


async def claim(connection: Connection, group: str, envelopes: Sequence[Envelope]) -> tuple[list[Envelope], list[Gap]]:
    """Enter ``envelopes`` for ``group``: those that were not there yet, in their order, and the gaps before them.

    Must run inside the transaction of the effect.
    """
    rows = await connection.fetch(
        _CLAIM,
        group,
        [e.source for e in envelopes],
        [str(e.order_id) for e in envelopes],
        [e.version for e in envelopes],
    )
    before = {(row["source"], row["subject"], row["sequence"]): row["before"] or 0 for row in rows}
    fresh: list[Envelope] = []
    gaps: list[Gap] = []
    seen: dict[tuple[str, str], set[int]] = {}
    for envelope in envelopes:
        stream = (envelope.source, str(envelope.order_id))
        in_batch = seen.setdefault(stream, set())
        stored = before.pop((*stream, envelope.version), None)
        if stored is not None:
            fresh.append(envelope)
            if envelope.version - 1 not in {stored, *in_batch}:
                gaps.append(Gap(envelope, max({stored, *(v for v in in_batch if v < envelope.version)})))
        in_batch.add(envelope.version)
    return fresh, gaps
