"""Gathering the evidence: SQL, the topic, the gateway's file, Temporal's histories, the ledger."""

import asyncio
import json
import sqlite3
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import asyncpg
from temporalio.api.enums.v1 import EventType, WorkflowExecutionStatus, WorkflowTaskFailedCause
from temporalio.client import Client, WorkflowExecution

from orderflow.domain.access import Principal
from orderflow.domain.commands import client_command_id
from tools.chaos.arena import Arena
from tools.chaos.evidence import AGGREGATES, SERVICES, Evidence, Row, Rows
from tools.chaos.ledger import read_ledger
from tools.chaos.marks import mark_in
from tools.chaos.topic import read_topic

#: Whose key the client sends.
CALLER: Final = "development-merchant"
_TASK_EVENTS: Final = {
    EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED: "completed",
    EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED: "failed",
    EventType.EVENT_TYPE_WORKFLOW_TASK_TIMED_OUT: "timed out",
}
_STEP_FAILURES: Final = {
    EventType.EVENT_TYPE_ACTIVITY_TASK_FAILED: "failed",
    EventType.EVENT_TYPE_ACTIVITY_TASK_TIMED_OUT: "timed out",
    EventType.EVENT_TYPE_ACTIVITY_TASK_CANCELED: "cancelled",
}


async def collect(arena: Arena, ledger: Path, unrest: list[str]) -> Evidence:
    """Read everything. The run is at rest, or as near to it as it came."""
    databases = {service: await _tables(arena.database(service), _of(service)) for service in SERVICES}
    own = await _tables(arena.database("chaos"), {"effects": "n", "processed_messages": "source"})
    records, foreign = await read_topic(arena.broker)
    sent = read_ledger(ledger)
    _call_by_key(databases, sent)

    def each(table: str) -> dict[str, Rows]:
        return {service: databases[service][table] for service in SERVICES}

    orders, inventory = databases["orders"], databases["inventory"]
    return Evidence(
        rows={service: databases[service][AGGREGATES[service]] for service in SERVICES},
        events=each("events"),
        commands=each("commands"),
        outbox=each("outbox"),
        publications=each("publications"),
        parked=each("parked_orders"),
        handovers=orders["handovers"],
        tokens=[{"order_id": row["order_id"]} for row in orders["payment_tokens"]],
        order_lines=orders["order_lines"],
        reservation_lines=inventory["reservation_lines"],
        stock=inventory["stock"],
        movements=inventory["stock_movements"],
        tracking=orders["order_state_tracking"],
        tracked_events=orders["tracked_events"],
        processed=orders["processed_messages"],
        effects=own["effects"],
        effects_processed=own["processed_messages"],
        dead_letters=[
            letter for database in ("orders", "chaos") for letter in await _dead_letters(arena.database(database))
        ],
        records=records,
        foreign=foreign,
        gateway_payments=_sqlite(arena.gateway_ledger, "SELECT * FROM payments"),
        gateway_movements=_sqlite(arena.gateway_ledger, "SELECT * FROM movements ORDER BY moved_at"),
        workflows=await workflows(arena.stack.settings.temporal_address),
        terminated=arena.terminated,
        refusing=arena.refusing,
        felt=arena.felt,
        topic_made_anew=arena.topic_made_anew,
        ledger=sent,
        unrest=unrest,
    )


def _call_by_key(databases: dict[str, dict[str, Rows]], sent: Rows) -> None:
    """Name the client's commands by what it sent, ``c:<Idempotency-Key>``. One that it never sent keeps its id."""
    [caller] = [row["principal_id"] for row in databases["orders"]["principals"] if row["name"] == CALLER]
    principal = Principal(str(caller), "api_key", frozenset())
    names = {client_command_id(principal, entry["key"]): f"c:{entry['key']}" for entry in sent if entry.get("key")}
    for tables in databases.values():
        for table in ("commands", "events", "stock_movements"):
            for row in tables.get(table, ()):
                row["command_id"] = names.get(row["command_id"], row["command_id"])


def _of(service: str) -> dict[str, str]:
    """The tables of a service, and what they are sorted by."""
    shared = {
        "events": "order_id, version",
        "commands": "order_id, recorded_at",
        "outbox": "position",
        "publications": "order_id, version",
        "parked_orders": "order_id",
        AGGREGATES[service]: "order_id",
    }
    more = {
        "orders": {
            "order_lines": "order_id, line",
            "handovers": "order_id",
            "payment_tokens": "order_id",
            "order_state_tracking": "order_id",
            "tracked_events": "order_id, source, version",
            "processed_messages": "subject, source, sequence",
            "principals": "name",
        },
        "inventory": {"reservation_lines": "order_id, sku", "stock": "sku", "stock_movements": "movement_id"},
    }
    return shared | more.get(service, {})


async def _tables(url: str, tables: dict[str, str]) -> dict[str, Rows]:
    connection = await asyncpg.connect(url)
    try:
        for kind in ("json", "jsonb"):
            await connection.set_type_codec(kind, encoder=json.dumps, decoder=json.loads, schema="pg_catalog")
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            return {
                table: [_plain(row) for row in await connection.fetch(f"SELECT * FROM {table} ORDER BY {order}")]
                for table, order in tables.items()
            }
    finally:
        await connection.close()


async def _dead_letters(url: str) -> Rows:
    """Whose they are, and of which foreign record; not their bytes."""
    connection = await asyncpg.connect(url)
    try:
        return [
            {
                **{name: row[name] for name in ("consumer_group", "subject", "kind", "reason")},
                "mark": mark_in(row["record_key"], row["record_value"], *row["header_values"]),
            }
            for row in await connection.fetch("SELECT * FROM dead_letters ORDER BY dead_letter_id")
        ]
    finally:
        await connection.close()


def _plain(row: Iterable[tuple[str, Any]] | asyncpg.Record) -> Row:
    def plain(value: Any) -> Any:
        if isinstance(value, UUID):
            return str(value)
        return value.timestamp() if isinstance(value, datetime) else value

    return {name: plain(value) for name, value in dict(row).items()}


def _sqlite(file: Path, sql: str) -> Rows:
    connection = sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=5)
    try:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute(sql)]
    finally:
        connection.close()


async def workflows(address: str) -> Rows:
    """Every run of every workflow, with what its history says of failures."""
    client = await Client.connect(address)
    executions = [execution async for execution in client.list_workflows()]
    executions.sort(key=lambda execution: (execution.id, execution.start_time))
    found: list[Row | None] = [None] * len(executions)
    todo = iter(enumerate(executions))

    async def read() -> None:
        for number, execution in todo:
            found[number] = await _workflow(client, execution)

    await asyncio.gather(*(read() for _ in range(6)))
    return [workflow for workflow in found if workflow is not None]


async def _workflow(client: Client, execution: WorkflowExecution) -> Row:
    handle = client.get_workflow_handle(execution.id, run_id=execution.run_id)
    description = (await handle.describe()).raw_description
    task_events: list[list[Any]] = []
    step_failures: list[str] = []
    async for event in handle.fetch_history_events():
        if (outcome := _TASK_EVENTS.get(event.event_type)) is not None:
            failed = event.workflow_task_failed_event_attributes
            cause = WorkflowTaskFailedCause.Name(failed.cause) if outcome == "failed" else ""
            task_events.append([event.event_id, outcome, cause, failed.failure.message[:300]])
        elif (how := _STEP_FAILURES.get(event.event_type)) is not None:
            step_failures.append(f"event {event.event_id}: {how}")
    return {
        "id": execution.id,
        "run_id": execution.run_id,
        "status": WorkflowExecutionStatus.Name(description.workflow_execution_info.status).rpartition("STATUS_")[2],
        "pending": [step.activity_type.name for step in description.pending_activities],
        "task_attempt": description.pending_workflow_task.attempt,
        "task_events": task_events,
        "step_failures": step_failures,
    }


async def save_histories(address: str, ids: Iterable[str], folder: Path) -> None:
    """The histories of some workflows, as the Web UI would export them."""
    client = await Client.connect(address)
    for workflow_id in ids:
        history = await client.get_workflow_handle(workflow_id).fetch_history()
        (folder / f"{workflow_id}.json").write_text(history.to_json())
