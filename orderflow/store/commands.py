"""The one rule for every write, of orders, payments and reservations alike.

    Lock one aggregate row, ask its LIFECYCLE, write the row and its event in one transaction,
    at most once per command id.

One command is one SQL statement (``write_rule``). No row back means a replay, a refusal or a lost race; one look-up
tells which. The row decides, nobody else does.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from uuid import UUID

import asyncpg

from orderflow.domain import judge
from orderflow.domain.access import EVERYONE, Owner, owned_by
from orderflow.domain.commands import Command, Outcome, idempotency_conflict
from orderflow.domain.errors import Problem
from orderflow.domain.lifecycle import Transition
from orderflow.store.database import Database
from orderflow.store.errors import TRIES, always_lost, unless_lost
from orderflow.store.measuring import count_transition
from orderflow.store.statements import Statement
from orderflow.store.write_rule import AggregateStatements
from orderflow.telemetry import spans

_REFUSE = Statement(
    "commands.refuse",
    "Records a refusal, unless something is recorded of the command already.",
    """
    INSERT INTO commands (order_id, command_id, name, request_hash, refusal, authtype, authid)
    VALUES ($order_id, $command_id, $name, $request_hash, $refusal, $authtype, $authid)
    ON CONFLICT DO NOTHING""",
)

_SETTLE_REFUSED = Statement(
    "commands.settle_refused",
    "Ends a pending command with a refusal.",
    """
    UPDATE commands SET refusal = $refusal, recorded_at = clock_timestamp()
    WHERE order_id = $order_id AND command_id = $command_id AND version IS NULL AND refusal IS NULL""",
)


Row = asyncpg.Record | None
Attempt = Callable[[str | None], Awaitable[Row]]


class CommandLog:
    """Carries out commands on one kind of aggregate, each at most once per (order, command id)."""

    def __init__(self, database: Database, statements: AggregateStatements, *, keeps_refusals: bool = True) -> None:
        """``keeps_refusals``: whether a command that the row forbids is recorded: then that stays its answer.

        Without it nothing is written, and the same command is judged anew when it comes again.
        """
        self._keeps_refusals = keeps_refusals
        self.database = database
        self.lifecycle = statements.lifecycle
        self._statements = statements

    async def change(
        self,
        order_id: UUID,
        command: Command,
        *,
        to: str | None = None,
        data: Mapping[str, Any] | None = None,
        columns: Mapping[str, Any] | None = None,
        owner: Owner = EVERYONE,
    ) -> Outcome:
        """Make the row, or move it, as the LIFECYCLE says for ``command``.

        ``to`` chooses where a command has several ends; ``data`` is the event's; ``columns`` are the values of
        those that the aggregate's statement sets beside status and version. ``owner``: whose rows may be seen; any
        other's is as if it were not there. Raises Unavailable; a refusal is an Outcome.
        """
        return (await self.changed(order_id, command, to=to, data=data, columns=columns, owner=owner))[0]

    async def changed(
        self,
        order_id: UUID,
        command: Command,
        *,
        to: str | None = None,
        data: Mapping[str, Any] | None = None,
        columns: Mapping[str, Any] | None = None,
        owner: Owner = EVERYONE,
    ) -> tuple[Outcome, Row]:
        """The same, and the row that the statement gave; None where it moved nothing."""
        transition = self.lifecycle.transition(command.name, to)
        parameters = {**self.parameters(order_id, command, transition, data or {}, owner), **(columns or {})}

        async def attempt(status: str | None) -> Row:
            # Until the row is seen, assume it is there if the command can move one.
            starting = transition.starts and (status is None or not transition.moves_from)
            if starting:
                return await self.database.one(self._statements.start(transition), parameters)
            return await self.database.one(self._statements.move(transition), parameters)

        # void and release: most orders have a row, so moving is tried first.
        first = transition.moves_from[0] if transition.moves_from else None
        return await self.carried_out(order_id, command, attempt, first, owner=owner)

    def parameters(
        self,
        order_id: UUID,
        command: Command,
        transition: Transition,
        data: Mapping[str, Any],
        owner: Owner = EVERYONE,
    ) -> dict[str, Any]:
        """What every statement is given."""
        return {
            "order_id": order_id,
            "owner": owned_by(owner),
            "command_id": command.id,
            "name": command.name,
            "request_hash": command.request_hash,
            "authtype": command.actor.type,
            "authid": command.actor.id,
            "correlation_id": command.correlation_id,
            # Under a span, the event hangs under the step that made it.
            "traceparent": spans.current_traceparent() or command.traceparent,
            "versions": command.precondition.versions,
            "other_than": command.precondition.other_than,
            "from_statuses": [str(status) for status in transition.moves_from],
            "to_status": str(transition.to),
            "type": transition.event.type,
            "data": dict(data),
        }

    async def carry_out(
        self, order_id: UUID, command: Command, attempt: Attempt, status: str | None = None, state: str = "done"
    ) -> Outcome:
        """Try until it is done, was done before, or is refused. ``attempt`` is given the last known status.

        Raises Unavailable when it loses its race again and again, or the database is away.
        """
        return (await self.carried_out(order_id, command, attempt, status, state))[0]

    async def carried_out(
        self,
        order_id: UUID,
        command: Command,
        attempt: Attempt,
        status: str | None = None,
        state: str = "done",
        *,
        same_request: bool = False,
        owner: Owner = EVERYONE,
    ) -> tuple[Outcome, Row]:
        """The same, and the row that ``attempt`` gave; None where it moved nothing.

        ``same_request``: the caller has the command's id and not its hash, and means the one that is recorded.
        """
        for _ in range(TRIES):
            row = await unless_lost(attempt(status))
            if row is not None:
                self.database.wrote()
                if state == "done":
                    count_transition(self.lifecycle.aggregate, command.name, row)
                return _made(row, state), row
            seen = await self._seen(order_id, command.id, owner)
            if seen["asked"]:
                return _recorded(seen, command, same_request=same_request), None
            status = seen["row_status"]
            problem = judge.refusal(self.lifecycle, command, status, seen["row_version"], pending=seen["pending"])
            if problem is not None and self._keeps_refusals:
                return await self.refuse(order_id, command, problem), None
            if problem is not None:
                return Outcome(state="refused", refusal=problem, **_beside(seen)), None
        raise always_lost(self.database.name, f"{command.name} of order {order_id}")

    async def foresee(self, order_id: UUID, command: Command, owner: Owner = EVERYONE) -> Outcome | None:
        """What is known of ``command`` without carrying it out.

        Its recorded outcome; or a refusal, not recorded, if the row as it stands forbids it; or None: go ahead
        (also where there is no row yet). One statement, one snapshot.
        """
        seen = await self._seen(order_id, command.id, owner)
        if seen["asked"]:
            return _recorded(seen, command)
        if seen["row_status"] is None:
            return None
        problem = judge.refusal(
            self.lifecycle, command, seen["row_status"], seen["row_version"], pending=seen["pending"]
        )
        return Outcome(state="refused", refusal=problem, **_beside(seen)) if problem else None

    async def refuse(self, order_id: UUID, command: Command, problem: Problem) -> Outcome:
        """Record a refusal, unless something else stands there already: what stands there is the answer."""
        values = {**_identity(order_id, command), "refusal": problem.to_data()}
        await self.database.all(_REFUSE, values)
        self.database.wrote()
        return _recorded(await self._seen(order_id, command.id), command)

    async def settle_refused(self, order_id: UUID, command: Command, problem: Problem) -> Outcome:
        """End a pending command with a refusal; repeated, it changes nothing."""
        await self.database.all(_SETTLE_REFUSED, {**_identity(order_id, command), "refusal": problem.to_data()})
        self.database.wrote()
        return _recorded(await self._seen(order_id, command.id), command, same_request=True)

    async def _seen(self, order_id: UUID, command_id: str, owner: Owner = EVERYONE) -> asyncpg.Record:
        values = {"order_id": order_id, "command_id": command_id, "owner": owned_by(owner)}
        row = await self.database.one(self._statements.look_up, values)
        if row is None:  # the statement always gives a row
            raise RuntimeError("the look-up of a command gave no row")
        return row


def _identity(order_id: UUID, command: Command) -> dict[str, Any]:
    return {
        "order_id": order_id,
        "command_id": command.id,
        "name": command.name,
        "request_hash": command.request_hash,
        "authtype": command.actor.type,
        "authid": command.actor.id,
    }


def _made(row: asyncpg.Record, state: str) -> Outcome:
    version, status, created_at = row["version"], row["status"], row["created_at"]
    if state == "pending":
        return Outcome(state="pending", row_status=status, row_version=version, row_created_at=created_at)
    return Outcome(
        state="done",
        version=version,
        status=status,
        row_status=status,
        row_version=version,
        row_created_at=created_at,
    )


def _recorded(seen: asyncpg.Record, command: Command, *, same_request: bool = False) -> Outcome:
    beside = _beside(seen)
    hashes = (command.request_hash, *command.older_hashes)
    if not same_request and (seen["name"] != command.name or seen["request_hash"] not in hashes):
        return Outcome(state="refused", refusal=idempotency_conflict(), **beside)
    if seen["refusal"] is not None:
        refusal = Problem.model_validate(seen["refusal"])
        return Outcome(state="refused", refusal=refusal, replayed=True, **beside)
    if seen["version"] is None:
        return Outcome(state="pending", replayed=True, **beside)
    return Outcome(state="done", version=seen["version"], status=seen["status"], replayed=True, **beside)


def _beside(seen: asyncpg.Record) -> dict[str, Any]:
    return {
        "row_status": seen["row_status"],
        "row_version": seen["row_version"],
        "row_created_at": seen["created_at"],
    }
