"""Why an order can be where it is, and a verdict about it: plain data."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, Literal

#: What takes longer than this to be taken, published or tracked is late; what is younger is in motion.
GRACE: Final = timedelta(seconds=5)

Source = Literal["temporal", "orders", "payments", "inventory", "gateway", "kafka"]
Kind = Literal["wrong", "waits", "moving", "customer", "done"]


class Cause(StrEnum):
    """Why an order is where it is, the most urgent first."""

    UNKNOWN = "unknown"
    TEMPORAL_AWAY = "temporal_away"
    DATABASE_AWAY = "database_away"
    HANDOVER_REFUSED = "handover_refused"
    HANDOVER_WAITS = "handover_waits"
    PAUSED = "paused"
    WORKFLOW_TASK_FAILS = "workflow_task_fails"
    NO_ORDERS_WORKER = "no_orders_worker"
    TRANSITION_FAILS = "transition_fails"
    STEP_BUG = "step_bug"
    STEP_NOT_TAKEN = "step_not_taken"
    STEP_FAILS = "step_fails"
    STEP_HANGS = "step_hangs"
    DISAGREES = "disagrees"
    NOTHING_UNDER_WAY = "nothing_under_way"
    EVENTS_FORGOTTEN = "events_forgotten"
    PARKED = "parked"
    PARTITION_STOPPED = "partition_stopped"
    KAFKA_AWAY = "kafka_away"
    RELAY_AWAY = "relay_away"
    TRACKING_BEHIND = "tracking_behind"
    MOVING = "moving"
    CUSTOMER = "customer"
    CANCEL_STANDS = "cancel_stands"
    DONE = "done"
    NOT_READ = "not_read"


@dataclass(frozen=True, slots=True)
class Verdict:
    """``waits_for`` and ``do``: a sentence each. ``group``: what orders with the same trouble have in common.

    ``kind``: wrong (does not go on by itself, or is not as it should be), waits (for something of ours), moving
    (nothing is late), customer, done. ``since``: since when; None: not known. ``unread``: the source whose silence this
    is about.
    """

    cause: Cause
    kind: Kind
    waits_for: str
    do: str
    since: datetime | None = None
    group: str = ""
    unread: Source | None = None

    @property
    def urgency(self) -> int:
        """Lower is more urgent."""
        return _ORDER[self.cause]


_ORDER: Final = {cause: place for place, cause in enumerate(Cause)}
