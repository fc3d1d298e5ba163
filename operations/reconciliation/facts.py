"""What reconciliation looks at: what one of the stores says of an order at one moment."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from orderflow.gateways.protocol import MoneyFact
from orderflow.store.handovers import PendingHandover
from orderflow.store.reconciliation import (
    ForgottenFact,
    OrderFact,
    OutboxFact,
    ParkedFact,
    PaymentFact,
    ReservationFact,
    StockFact,
    StoppedFact,
)
from orderflow.store.tracked_truth import FalseEvents
from orderflow.temporal.runs import RunFact


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything that was read in one look. ``money`` is None where the gateway cannot list it.

    ``handovers``: what Temporal must look at and has not been told of.
    """

    now: datetime
    orders: Mapping[UUID, OrderFact]
    payments: Mapping[UUID, PaymentFact]
    reservations: Mapping[UUID, ReservationFact]
    runs: Mapping[UUID, RunFact]
    money: Mapping[UUID, MoneyFact] | None
    handovers: Mapping[UUID, PendingHandover] = field(default_factory=dict)
    stock: Sequence[StockFact] = ()
    outbox: Sequence[OutboxFact] = ()
    parked: Sequence[ParkedFact] = ()
    stopped: Sequence[StoppedFact] = ()
    forgotten: Sequence[ForgottenFact] = ()
    false: Sequence[FalseEvents] = ()


@dataclass(frozen=True, slots=True)
class Limits:
    """How long something must have stood before it is a finding; ``window``: how far back final rows are looked at."""

    older_than: timedelta
    stuck: timedelta
    waiting: timedelta
    authorization_age: timedelta
    outbox: timedelta
    window: timedelta
