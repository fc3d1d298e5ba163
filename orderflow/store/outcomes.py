"""What came of commands, looked up for many who wait, in one query."""

from collections.abc import Collection
from uuid import UUID

import asyncpg

from orderflow.domain.commands import Command, Outcome, idempotency_conflict
from orderflow.domain.errors import Problem
from orderflow.store.database import Database
from orderflow.store.statements import Statement

#: An order's id and a command's.
Key = tuple[UUID, str]

_ENDED = Statement(
    "outcomes.ended",
    "Reads what came of many commands, of those that are done or refused.",
    """
    SELECT c.order_id, c.command_id, c.name, c.request_hash, c.version, c.refusal, e.status
    FROM unnest($order_ids::uuid[], $command_ids::text[]) AS wanted (order_id, command_id)
    JOIN commands c USING (order_id, command_id)
    LEFT JOIN events e ON e.order_id = c.order_id AND e.version = c.version
    WHERE c.version IS NOT NULL OR c.refusal IS NOT NULL""",
)


class Ended:
    """A command that is done or refused."""

    def __init__(self, row: asyncpg.Record) -> None:
        self._row = row

    def outcome_of(self, command: Command) -> Outcome:
        """What ``command`` came to; a conflict, when its id was used for another request."""
        row = self._row
        if (row["name"], row["request_hash"]) != (command.name, command.request_hash):
            return Outcome(state="refused", refusal=idempotency_conflict(command.id))
        if row["refusal"] is not None:
            return Outcome(state="refused", refusal=Problem.model_validate(row["refusal"]))
        return Outcome(state="done", version=row["version"], status=row["status"])


class Outcomes:
    """Reads what is recorded; what is pending or unknown is left out."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def ended(self, keys: Collection[Key]) -> dict[Key, Ended]:
        """Those of ``keys`` that are done or refused. Raises Unavailable."""
        order_ids, command_ids = [key[0] for key in keys], [key[1] for key in keys]
        rows = await self._database.all(_ENDED, {"order_ids": order_ids, "command_ids": command_ids})
        return {(row["order_id"], row["command_id"]): Ended(row) for row in rows}
