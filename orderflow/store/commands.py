"""The one rule for every write, used by orders, payments and reservations alike:

    Lock one aggregate row, ask its LIFECYCLE, write the row and its event in one transaction,
    at most once per command id.

One command is one SQL statement, a chain of CTEs in which each reads from the one before (nothing else orders them):
``moved`` changes the row where its status is among the LIFECYCLE's ``from``, ``event`` appends what happened (a
trigger puts it into the outbox), ``command`` records what came of the command. No row back means a replay, a refusal
or a lost race; one look-up tells which. The row decides, nobody else does.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import cache
from typing import Any
from uuid import UUID

import asyncpg

from orderflow.domain import judge
from orderflow.domain.commands import Command, Outcome, idempotency_conflict
from orderflow.domain.errors import Problem
from orderflow.domain.lifecycle import Lifecycle, Transition
from orderflow.store.database import Database, Statement
from orderflow.store.errors import TRIES, always_lost, unless_lost
from orderflow.store.measuring import count_transition
from orderflow.telemetry import spans

_NOT_ASKED_BEFORE = "NOT EXISTS (SELECT FROM commands WHERE order_id = $order_id AND command_id = $command_id)"
_AS_EXPECTED = "($expected_version::int IS NULL OR version = $expected_version)"
_IS_PENDING = (
    "EXISTS (SELECT FROM commands WHERE order_id = $order_id AND command_id = $command_id"
    " AND version IS NULL AND refusal IS NULL)"
)
_NOTHING_PENDING = (
    "NOT EXISTS (SELECT FROM commands WHERE order_id = $order_id AND version IS NULL AND refusal IS NULL)"
)

#: What each statement ends with. ``moved`` must give order_id, version, status, created_at, type and data, and
#: ``measures`` (see ``measuring``).
EVENT = """
event AS (
    INSERT INTO events (order_id, version, type, status, data, command_id, correlation_id, traceparent)
    SELECT order_id, version, type, status, data, $command_id, $correlation_id, $traceparent FROM moved
    RETURNING order_id, version
)"""
COMMAND = """
command AS (
    INSERT INTO commands (order_id, command_id, name, request_hash, version)
    SELECT order_id, $command_id, $name, $request_hash, version FROM event
)
SELECT version, status, created_at, measures FROM moved"""
SETTLED = """
command AS (
    UPDATE commands c SET version = event.version, recorded_at = clock_timestamp()
    FROM event WHERE c.order_id = event.order_id AND c.command_id = $command_id
)
SELECT version, status, created_at, measures FROM moved"""

_LOOK_UP = """
    SELECT a.status AS row_status, a.version AS row_version, a.created_at,
           c.command_id IS NOT NULL AS asked, c.name, c.request_hash, c.version, c.refusal, e.status,
           EXISTS (SELECT FROM commands p
                   WHERE p.order_id = k.order_id AND p.version IS NULL AND p.refusal IS NULL) AS pending
    FROM (SELECT $order_id::uuid AS order_id) k
    LEFT JOIN {table} a ON a.order_id = k.order_id
    LEFT JOIN commands c ON c.order_id = k.order_id AND c.command_id = $command_id
    LEFT JOIN events e ON e.order_id = c.order_id AND e.version = c.version"""

_REFUSE = Statement("""
    INSERT INTO commands (order_id, command_id, name, request_hash, refusal)
    VALUES ($order_id, $command_id, $name, $request_hash, $refusal)
    ON CONFLICT DO NOTHING""")

_SETTLE_REFUSED = Statement("""
    UPDATE commands SET refusal = $refusal, recorded_at = clock_timestamp()
    WHERE order_id = $order_id AND command_id = $command_id AND version IS NULL AND refusal IS NULL""")


def lock(table: str, *, settling: bool = False) -> str:
    """CTE ``locked``: the row, locked, if the command may move it.

    ``settling``: the command was judged before and is pending; it is not judged again.
    """
    conditions = ["order_id = $order_id", "status = ANY($from_statuses)"]
    if settling:
        conditions.append(_IS_PENDING)
    else:
        conditions += [_AS_EXPECTED, _NOT_ASKED_BEFORE, _NOTHING_PENDING]
    return f"locked AS (SELECT status, version, updated_at FROM {table} WHERE {' AND '.join(conditions)} FOR UPDATE)"


def update(table: str, columns: tuple[str, ...]) -> str:
    """CTE ``moved`` from ``locked``. Event data that has a ``from`` gets the status that the row really had."""
    sets = "".join(f", {column} = ${column}" for column in columns)
    return f"""
moved AS (
    UPDATE {table} t SET status = $to_status, version = t.version + 1, updated_at = clock_timestamp(){sets}
    FROM locked WHERE t.order_id = $order_id
    RETURNING t.order_id, t.version, t.status, t.created_at, $type::text AS type,
              jsonb_build_object('from', locked.status,
                                 'seconds', extract(epoch FROM t.updated_at - locked.updated_at)) AS measures,
              $data::jsonb || CASE WHEN $data::jsonb ? 'from' THEN jsonb_build_object('from', locked.status)
                                   ELSE '{{}}'::jsonb END AS data
)"""


@cache
def _move(table: str, columns: tuple[str, ...], effects: str, name: str) -> Statement:
    return Statement(f"WITH {lock(table)}, {update(table, columns)}, {effects}{EVENT}, {COMMAND}", name)


@cache
def _start(table: str, columns: tuple[str, ...], effects: str, types: tuple[str, ...], name: str) -> Statement:
    names = "".join(f", {column}" for column in columns)
    values = "".join(f", ${column}::{kind}" for column, kind in zip(columns, types, strict=True))
    return Statement(
        f"""WITH moved AS (
    INSERT INTO {table} (order_id, status, version{names})
    SELECT $order_id::uuid, $to_status::text, 1{values}
    WHERE NOT EXISTS (SELECT FROM {table} WHERE order_id = $order_id) AND {_NOT_ASKED_BEFORE}
    RETURNING order_id, version, status, created_at, $type::text AS type, $data::jsonb AS data,
              jsonb_build_object() AS measures
), {effects}{EVENT}, {COMMAND}""",
        name,
    )


Row = asyncpg.Record | None
Attempt = Callable[[str | None], Awaitable[Row]]


class CommandLog:
    """Carries out commands on one kind of aggregate, each at most once per (order, command id)."""

    def __init__(
        self, database: Database, table: str, lifecycle: Lifecycle, column_types: Mapping[str, str] | None = None
    ) -> None:
        """``column_types``: SQL types of the columns that are not text."""
        self.database = database
        self.table = table
        self.lifecycle = lifecycle
        self._column_types = column_types or {}
        self._look_up = Statement(_LOOK_UP.format(table=table), f"{table}.look_up")

    async def change(
        self,
        order_id: UUID,
        command: Command,
        *,
        to: str | None = None,
        data: Mapping[str, Any] | None = None,
        columns: Mapping[str, Any] | None = None,
        effects: str = "",
        values: Mapping[str, Any] | None = None,
    ) -> Outcome:
        """Make the row, or move it, as the LIFECYCLE says for ``command``.

        ``to`` chooses where a command has several ends; ``data`` is the event's; ``columns`` are set beside status
        and version; ``effects`` are further CTEs that read from ``moved``, each closed by a comma, with ``values``.
        Raises Unavailable; a refusal is an Outcome.
        """
        transition = self.lifecycle.transition(command.name, to)
        columns = columns or {}
        parameters = {
            **self.parameters(order_id, command, transition, data or {}),
            **columns,
            **(values or {}),
        }
        names = tuple(columns)
        types = tuple(self._column_types.get(name, "text") for name in names)
        statement = f"{self.table}.{command.name}"

        async def attempt(status: str | None) -> Row:
            # Until the row is seen, assume it is there if the command can move one.
            starting = transition.starts and (status is None or not transition.moves_from)
            if starting:
                return await self.database.one(_start(self.table, names, effects, types, statement), parameters)
            return await self.database.one(_move(self.table, names, effects, statement), parameters)

        # void and release: most orders have a row, so moving is tried first.
        first = transition.moves_from[0] if transition.moves_from else None
        return await self.carry_out(order_id, command, attempt, first)

    def parameters(
        self, order_id: UUID, command: Command, transition: Transition, data: Mapping[str, Any]
    ) -> dict[str, Any]:
        """What every statement is given."""
        return {
            "order_id": order_id,
            "command_id": command.id,
            "name": command.name,
            "request_hash": command.request_hash,
            "correlation_id": command.correlation_id,
            # Under a span, the event hangs under the step that made it.
            "traceparent": spans.current_traceparent() or command.traceparent,
            "expected_version": command.expected_version,
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
        for _ in range(TRIES):
            row = await unless_lost(attempt(status))
            if row is not None:
                self.database.wrote()
                if state == "done":
                    count_transition(self.lifecycle.aggregate, command.name, row)
                return _made(row, state)
            seen = await self._seen(order_id, command.id)
            if seen["asked"]:
                return _recorded(seen, command)
            status = seen["row_status"]
            problem = judge.refusal(self.lifecycle, command, status, seen["row_version"], pending=seen["pending"])
            if problem is not None:
                return await self.refuse(order_id, command, problem)
        raise always_lost(self.database.name, f"{command.name} of order {order_id}")

    async def foresee(self, order_id: UUID, command: Command) -> Outcome | None:
        """What is known of ``command`` without carrying it out.

        Its recorded outcome; or a refusal, not recorded, if the row as it stands forbids it; or None: go ahead
        (also where there is no row yet). One statement, one snapshot.
        """
        seen = await self._seen(order_id, command.id)
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
        return _recorded(await self._seen(order_id, command.id), command)

    async def _seen(self, order_id: UUID, command_id: str) -> asyncpg.Record:
        row = await self.database.one(self._look_up, {"order_id": order_id, "command_id": command_id})
        if row is None:  # the statement always gives a row
            raise RuntimeError("the look-up of a command gave no row")
        return row


def _identity(order_id: UUID, command: Command) -> dict[str, Any]:
    return {
        "order_id": order_id,
        "command_id": command.id,
        "name": command.name,
        "request_hash": command.request_hash,
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


def _recorded(seen: asyncpg.Record, command: Command) -> Outcome:
    beside = _beside(seen)
    if (seen["name"], seen["request_hash"]) != (command.name, command.request_hash):
        return Outcome(state="refused", refusal=idempotency_conflict(command.id), **beside)
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
