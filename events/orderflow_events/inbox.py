"""The inbox: which events a consumer group has applied, in the table ``processed_messages``.

An event is inserted in the transaction of its effect, so both happen or neither, and a second insert does nothing.
The table lives in the consumer's own database, beside the kit's other one, ``dead_letters``.

An entry is needed as long as its record can come again: as long as the topic keeps it. Then it can be pruned.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from importlib.resources import files
from typing import Any, TypeAlias

import asyncpg

from orderflow_events.envelope import Envelope

#: A connection, or one that a pool lends.
Connection: TypeAlias = "asyncpg.Connection[Any] | asyncpg.pool.PoolConnectionProxy[Any]"

_SQL_FILES = ("processed_messages.sql", "dead_letters.sql", "passed_records.sql")

#: Creates the kit's two tables and their indexes where they are not there; put it into a migration of yours.
TABLES_SQL = "\n".join(files(__package__).joinpath(name).read_text() for name in _SQL_FILES)

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

_APPLIED = """
SELECT p.source, p.subject, p.sequence FROM processed_messages p
JOIN unnest($2::text[], $3::text[], $4::bigint[]) AS asked (source, subject, sequence)
    USING (source, subject, sequence)
WHERE p.consumer_group = $1
"""

_PRUNE = """
DELETE FROM processed_messages WHERE ctid = ANY (ARRAY (
    SELECT ctid FROM processed_messages
    WHERE consumer_group = $1 AND processed_at < clock_timestamp() - $2::interval
    ORDER BY processed_at LIMIT $3
))
"""


@dataclass(frozen=True, slots=True)
class Gap:
    """An event came although the one before it (same source, same order) is not in the inbox.

    ``last_seen`` is the highest version before it that is, 0 for none: ``last_seen + 1 .. envelope.version - 1``
    are missing. They were lost to the topic's retention before this group read them, or discarded as dead letters,
    or applied so long ago that the inbox was pruned of them.
    """

    envelope: Envelope
    last_seen: int


async def claim(connection: Connection, group: str, envelopes: Sequence[Envelope]) -> tuple[list[Envelope], list[Gap]]:
    """Enter ``envelopes`` for ``group``: those that were not there yet, in their order, and the gaps before them.

    Must run inside the transaction of the effect.
    """
    rows = await connection.fetch(_CLAIM, group, *_identities(envelopes))
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


async def applied(connection: Connection, group: str, envelopes: Sequence[Envelope]) -> set[tuple[str, str, int]]:
    """Those of ``envelopes`` that are in the inbox, as (source, order id, version)."""
    rows = await connection.fetch(_APPLIED, group, *_identities(envelopes))
    return {(row["source"], row["subject"], row["sequence"]) for row in rows}


@dataclass(frozen=True, slots=True)
class Pruning:
    """How long the inbox remembers: ``retention`` is the topic's, and after it and ``margin`` an entry goes.

    Kafka deletes whole segments, and a segment can be open for ``segment.ms`` (7 days by default) before its retention
    starts: the margin has to be longer than that. ``every`` is the time between two rounds.
    """

    retention: timedelta
    margin: timedelta = timedelta(days=8)
    every: timedelta = timedelta(hours=1)


async def prune(connection: Connection, group: str, older_than: timedelta, *, at_most: int = 10_000) -> int:
    """Delete entries of ``group`` that are older, the oldest first; how many. Fewer than ``at_most``: that was all."""
    return int((await connection.execute(_PRUNE, group, older_than, at_most)).rpartition(" ")[2])


def _identities(envelopes: Sequence[Envelope]) -> tuple[list[str], list[str], list[int]]:
    return [e.source for e in envelopes], [str(e.order_id) for e in envelopes], [e.version for e in envelopes]
