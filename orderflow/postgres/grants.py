"""What each role may do in each table: the one list that ``orderflow setup`` makes true after every migration.

A table, view or sequence of a database has a line here, or nobody but the owner sees it; a test fails for what a
migration makes and this file does not name. What is not granted is refused: a right that is taken out of this file is
taken from the database by the next setup. Beside it stands what no grant can give: the triggers of the LIFECYCLE
(``migrations/*/*_lifecycle.sql``) refuse their owner, too.

Privileges are Postgres' own words, with columns in parentheses where not the whole table is meant. A statement that
locks a row (``FOR UPDATE``) needs UPDATE, one that deletes by a condition SELECT of what it compares.
"""

from collections.abc import Mapping
from typing import Final

from orderflow.settings import DatabaseRole, Service

#: By role: privileges.
Line = Mapping[DatabaseRole, str]

#: What the migrations in ``common`` make, in each of the three.
_EVENT_LOG: Final[Mapping[str, Line]] = {
    "events": {"worker": "SELECT, INSERT", "relay": "SELECT", "operator": "SELECT", "reader": "SELECT"},
    "commands": {"worker": "SELECT, INSERT", "reader": "SELECT"},
    # A trigger asks it as who writes.
    "transitions": {"worker": "SELECT", "reader": "SELECT"},
    "schema_migrations": {"reader": "SELECT"},
    # --- What is published: the relay's alone. A trigger, as their owner, puts new events into the outbox.
    "outbox": {
        "relay": "SELECT, INSERT, UPDATE, DELETE",
        # Reconciliation puts back what somebody deleted.
        "operator": "SELECT, INSERT, DELETE",
        "reader": "SELECT",
    },
    "publications": {
        "relay": 'SELECT, INSERT, DELETE, UPDATE ("offset", topic_id)',
        "operator": "SELECT",
        "reader": "SELECT",
    },
    "topics": {"relay": "SELECT, INSERT, UPDATE", "operator": "SELECT", "reader": "SELECT"},
    # How far it is known that every event is published, or waits to be.
    "coverage": {"operator": "SELECT, INSERT, UPDATE", "reader": "SELECT"},
    "relay_lease": {"relay": "SELECT, INSERT, UPDATE, DELETE", "reader": "SELECT"},
    "parked_orders": {"relay": "SELECT, INSERT, DELETE", "operator": "SELECT", "reader": "SELECT"},
    "stopped_partitions": {"relay": "SELECT, INSERT, DELETE", "operator": "SELECT", "reader": "SELECT"},
    "waiting_orders": {"relay": "SELECT, INSERT, DELETE", "operator": "SELECT", "reader": "SELECT"},
}

_ALL_BUT_THE_DIGEST: Final = (
    "SELECT (key_id, principal_id, not_before, expires_at, created_at, last_used_at, revoked_at)"
)

#: By service and table: who may do what.
GRANTS: Final[Mapping[Service, Mapping[str, Line]]] = {
    "orders": {
        **_EVENT_LOG,
        "events": {**_EVENT_LOG["events"], "api": "SELECT, INSERT"},
        # A ship that was accepted is settled by the workflow. What an operator did is recorded here, too.
        "commands": {
            **_EVENT_LOG["commands"],
            "api": "SELECT, INSERT",
            "worker": "SELECT, INSERT, UPDATE",
            "operator": "SELECT, INSERT",
        },
        "transitions": {**_EVENT_LOG["transitions"], "api": "SELECT"},
        "orders": {
            "api": "SELECT, INSERT, UPDATE",
            "worker": "SELECT, UPDATE",
            # How many there are of each status, as a metric.
            "tracking": "SELECT (status, updated_at)",
            "operator": "SELECT",
            "reader": "SELECT",
        },
        "order_lines": {"api": "SELECT, INSERT", "worker": "SELECT", "reader": "SELECT"},
        # The API seals tokens and deletes them, and reads none.
        "payment_tokens": {
            "api": "INSERT, DELETE, SELECT (order_id)",
            "worker": "SELECT, DELETE",
            "reader": "SELECT",
        },
        "handovers": {
            "api": "SELECT, INSERT, UPDATE, DELETE",
            "worker": "SELECT, INSERT, UPDATE, DELETE",
            "operator": "SELECT, INSERT, UPDATE",
            "reader": "SELECT",
        },
        "handover_numbers": {"api": "USAGE", "worker": "USAGE", "operator": "USAGE"},
        # --- What the stream says of the orders: the tracking's, and reconciliation's
        "processed_messages": {"tracking": "SELECT, INSERT, DELETE", "operator": "SELECT, DELETE", "reader": "SELECT"},
        "tracked_events": {
            "tracking": "SELECT, INSERT",
            "api": "SELECT",
            "operator": "SELECT, INSERT, DELETE",
            "reader": "SELECT",
        },
        "tracked_orders": {
            "tracking": "SELECT, INSERT, UPDATE",
            "operator": "SELECT, INSERT, UPDATE, DELETE",
            "reader": "SELECT",
        },
        # Reconciliation heals it of what never happened.
        "tracked_truth": {"operator": "SELECT, INSERT, UPDATE", "reader": "SELECT"},
        "order_state_tracking": {"api": "SELECT", "reader": "SELECT"},
        "dead_letters": {"tracking": "SELECT, INSERT, UPDATE, DELETE", "reader": "SELECT"},
        "passed_records": {"tracking": "SELECT, INSERT, UPDATE, DELETE", "reader": "SELECT"},
        # --- Who may call: made by the commands for keys alone. The API reads them and notes their use.
        "principals": {"api": "SELECT", "codec": "SELECT", "keys": "SELECT, INSERT, UPDATE", "reader": "SELECT"},
        "api_keys": {
            "api": "SELECT, UPDATE (last_used_at)",
            "codec": "SELECT, UPDATE (last_used_at)",
            "keys": "SELECT, INSERT, UPDATE",
            "reader": _ALL_BUT_THE_DIGEST,
        },
        "audit": {"api": "INSERT", "codec": "INSERT", "keys": "INSERT", "reader": "SELECT"},
        # Which stack the database belongs to.
        "deployment": {"tracking": "SELECT", "reader": "SELECT"},
    },
    "payments": {
        **_EVENT_LOG,
        "payments": {"worker": "SELECT, INSERT, UPDATE", "operator": "SELECT", "reader": "SELECT"},
    },
    "inventory": {
        **_EVENT_LOG,
        "stock": {
            "api": "SELECT, INSERT, UPDATE",
            "worker": "SELECT, UPDATE",
            "operator": "SELECT",
            "reader": "SELECT",
        },
        "stock_movements": {
            "api": "SELECT, INSERT",
            "worker": "SELECT, INSERT",
            "operator": "SELECT",
            "reader": "SELECT",
        },
        "reservations": {"worker": "SELECT, INSERT, UPDATE", "operator": "SELECT", "reader": "SELECT"},
        "reservation_lines": {"worker": "SELECT, INSERT", "operator": "SELECT", "reader": "SELECT"},
    },
}
