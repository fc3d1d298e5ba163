"""What the servers and the client hold at the end: plain data, read by the checker, kept for the post-mortem.

Ids are text, times are seconds since the epoch, JSON is data. Nothing here imports the code under test.
"""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

SERVICES: Final = ("orders", "payments", "inventory")
#: The table of each service's aggregates.
AGGREGATES: Final = {"orders": "orders", "payments": "payments", "inventory": "reservations"}

Row = dict[str, Any]
Rows = list[Row]


@dataclass(slots=True)
class Evidence:
    """Tables by service where there are three of them; each table as a list of rows."""

    #: Of each service: its aggregates' rows.
    rows: dict[str, Rows]
    events: dict[str, Rows]
    commands: dict[str, Rows]
    outbox: dict[str, Rows]
    publications: dict[str, Rows]
    parked: dict[str, Rows]
    #: Of the orders: what Temporal has not been told, and whose payment token is kept.
    handovers: Rows
    tokens: Rows
    order_lines: Rows
    reservation_lines: Rows
    stock: Rows
    movements: Rows
    tracking: Rows
    tracked_events: Rows
    processed: Rows
    #: What the second consumer did, in that order.
    effects: Rows
    effects_processed: Rows
    #: Both consumers': consumer_group, subject, kind, reason, and the mark of the foreign record, if it is one.
    dead_letters: Rows
    #: Kafka: partition, offset, key, headers, value.
    records: Rows
    #: What the storm's strangers put there, of what is still there: partition, offset, mark, and what it says that it
    #: is: source, subject, sequence.
    foreign: Rows
    gateway_payments: Rows
    gateway_movements: Rows
    #: Temporal, a row a run, an order's in the order of their starts: id, run_id, status, pending (steps),
    #: task_attempt, task_events, step_failures.
    workflows: Rows
    #: Runs that the storm ended by hand, and their workflows.
    terminated: dict[str, str]
    #: From when to when the orders database refused writes, as after a bad migration: a bug, which clients see.
    refusing: list[tuple[float, float]]
    #: Of each kind of fault that can miss and was carried out: how often it hit something.
    felt: dict[str, int]
    #: From when to when the topic was deleted, made anew, and repaired by an operator.
    topic_made_anew: list[tuple[float, float]]
    #: The client's requests (``chaos.ledger.read_ledger``).
    ledger: Rows
    #: What kept the run from coming to rest, if anything did.
    unrest: list[str] = field(default_factory=list)

    def save(self, file: Path) -> None:
        """As JSON."""
        file.write_text(json.dumps(asdict(self)))

    @classmethod
    def load(cls, file: Path) -> "Evidence":
        """What ``save`` wrote."""
        return cls(**json.loads(file.read_text()))
