"""Waiting until nothing is in motion: what still is, in sentences, read from the databases and from Temporal."""

import asyncio
import time

import asyncpg
from aiokafka.errors import KafkaError
from temporalio.client import Client

from orderflow.stack.errors import StackError
from tools.chaos.arena import DATABASE_AWAY, Arena
from tools.chaos.evidence import SERVICES
from tools.chaos.rules_rest import at_rest
from tools.chaos.rules_stream import SECOND_GROUP, TRACKING_GROUP
from tools.chaos.topic import unread

#: Above the longest pause between two attempts of anything (30 s) a few times over, and above what reconciliation
#: takes to find what was terminated last (80 s).
PATIENCE_SECONDS = 240.0
READY_SECONDS = 120.0

_IN_MOTION = """
    SELECT o.order_id, o.status, EXISTS (
        SELECT FROM events e WHERE e.order_id = o.order_id AND e.status = 'APPROVED') AS was_approved
    FROM orders o"""

_SEEN = "SELECT count(*) AS n FROM processed_messages WHERE source ~ '^/orderflow/(orders|payments|inventory)$'"


async def come_to_rest(arena: Arena) -> list[str]:
    """Wait until every process is ready and nothing moves any more; what still does when patience ends."""
    unrest: list[str] = []
    for name, process in arena.processes.items():
        try:
            await process.wait_ready(READY_SECONDS)
        except StackError as error:
            unrest.append(f"{name}: {error}")
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            moving = await _in_motion(arena)
        except (*DATABASE_AWAY, KafkaError, RuntimeError) as error:
            moving = [f"cannot look: {error!r}"]
        if not moving or time.monotonic() > deadline:
            return unrest + moving
        await asyncio.sleep(0.5)


async def _in_motion(arena: Arena) -> list[str]:
    moving = []
    events = 0
    statuses: dict[str, dict[str, str]] = {}
    for service, table in (("payments", "payments"), ("inventory", "reservations")):
        rows = await _fetch(arena, service, f"SELECT order_id, status FROM {table}")
        statuses[service] = {str(row["order_id"]): row["status"] for row in rows}
    for service in SERVICES:
        [counts] = await _fetch(
            arena,
            service,
            "SELECT (SELECT count(*) FROM outbox) AS outbox, (SELECT count(*) FROM events) AS events,"
            " (SELECT count(*) FROM commands WHERE version IS NULL AND refusal IS NULL) AS pending",
        )
        events += counts["events"]
        moving += [f"{counts['outbox']} events in the outbox of {service}"] * bool(counts["outbox"])
        moving += [f"{counts['pending']} commands are pending in {service}"] * bool(counts["pending"])
    [handovers] = await _fetch(arena, "orders", "SELECT count(*) AS n FROM handovers")
    moving += [f"Temporal has not been told of {handovers['n']} orders"] * bool(handovers["n"])
    waiting = set()
    for row in await _fetch(arena, "orders", _IN_MOTION):
        order_id = str(row["order_id"])
        parts = statuses["payments"].get(order_id), statuses["inventory"].get(order_id)
        if row["status"] == "FULFILLING":
            waiting.add(f"order-{order_id}")
        by_hand = f"order-{order_id}" in arena.terminated.values()
        if not at_rest(row["status"], row["was_approved"], *parts, by_hand=by_hand):
            moving.append(f"order {order_id} is {row['status']}: payment {parts[0]}, reservation {parts[1]}")
    client = await Client.connect(arena.stack.settings.temporal_address)
    running = {
        workflow.id
        async for workflow in client.list_workflows("ExecutionStatus = 'Running'")
        if workflow.id.startswith("order-")
    }
    moving += [f"{workflow} runs, and its order waits for nobody" for workflow in sorted(running - waiting)]
    moving += [f"{workflow} does not run, and its order waits" for workflow in sorted(waiting - running)]
    for who, database in (("the tracking", "orders"), ("the second consumer", "chaos")):
        [seen] = await _fetch(arena, database, _SEEN)
        moving += [f"{who} has seen {seen['n']} of {events} events"] * (seen["n"] != events)
    if not moving:
        for group, records in (await unread(arena.broker, (TRACKING_GROUP, SECOND_GROUP))).items():
            moving += [f"{group} has not passed {records} records"] * bool(records)
    return moving


async def _fetch(arena: Arena, database: str, sql: str) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(arena.database(database), timeout=5, command_timeout=20)
    try:
        return list(await connection.fetch(sql))
    finally:
        connection.terminate()
