"""What requests wait for, looked up for all of them in one query."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from orderflow.store.database import Database
from orderflow.store.statements import Statement

_ENDED = Statement(
    "waits.ended",
    "Which of the awaited orders have a newer version, and which of the awaited commands are done or refused.",
    """
SELECT w.number
FROM unnest($order_ids::uuid[], $command_ids::text[], $versions::int[])
    WITH ORDINALITY AS w (order_id, command_id, version, number)
WHERE EXISTS (SELECT FROM orders o WHERE o.order_id = w.order_id AND o.version > w.version)
   OR EXISTS (
       SELECT FROM commands c
       WHERE c.order_id = w.order_id AND c.command_id = w.command_id
         AND (c.version IS NOT NULL OR c.refusal IS NOT NULL)
   )""",
)


@dataclass(frozen=True, slots=True)
class Wait:
    """A command that is to end, or an order that is to have a higher version than ``version``."""

    order_id: UUID
    command_id: str | None = None
    version: int | None = None


async def ended(database: Database, waits: Sequence[Wait]) -> list[Wait]:
    """Those of ``waits`` that have come true. Raises Unavailable."""
    values = {
        "order_ids": [wait.order_id for wait in waits],
        "command_ids": [wait.command_id for wait in waits],
        "versions": [wait.version for wait in waits],
    }
    return [waits[row["number"] - 1] for row in await database.all(_ENDED, values)]
