"""What reconciliation looks at: what one of the stores says of an order at one moment."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal
from uuid import UUID


@dataclass(frozen=True, slots=True)
class OrderFact:
    """An order's row. ``pending_ship``: the id of a ship whose capture is under way."""

    order_id: UUID
    status: str
    version: int
    created_at: datetime
    updated_at: datetime
    pending_ship: str | None = None
    pending_since: datetime | None = None


@dataclass(frozen=True, slots=True)
class PaymentFact:
    """A payment's row."""

    order_id: UUID
    status: str
    version: int
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class ReservationFact:
    """A reservation that holds stock."""

    order_id: UUID
    status: str
    version: int
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class RunFact:
    """What Temporal says of an order. ``since``: when the run was started or closed; ``ended``: how it closed.

    ``status``: the search attribute. ``version`` and ``busy`` (steps under way, inbox) where it answered a query.
    """

    state: Literal["running", "closed", "missing"]
    since: datetime | None = None
    status: str | None = None
    ended: str | None = None
    run_id: str | None = None
    version: int | None = None
    busy: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class MoneyFact:
    """What the gateway holds (``authorized``) or took (``captured``) for a reference; minor units."""

    reference: UUID
    status: Literal["authorized", "captured"]
    amount: int
    currency: str
    since: datetime


@dataclass(frozen=True, slots=True)
class StockFact:
    """A SKU whose figures do not add up."""

    sku: str
    on_hand: int
    moved: int
    reserved: int
    held: int
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class OutboxFact:
    """Events of one database that have waited too long, those of parked orders left out."""

    database: str
    entries: int
    oldest_at: datetime


@dataclass(frozen=True, slots=True)
class ParkedFact:
    """An order whose events wait because Kafka refused one."""

    database: str
    order_id: UUID
    version: int
    error: str
    parked_at: datetime


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything that was read in one look. ``money`` is None where the gateway cannot list it."""

    now: datetime
    orders: Mapping[UUID, OrderFact]
    payments: Mapping[UUID, PaymentFact]
    reservations: Mapping[UUID, ReservationFact]
    runs: Mapping[UUID, RunFact]
    money: Mapping[UUID, MoneyFact] | None
    stock: Sequence[StockFact] = ()
    outbox: Sequence[OutboxFact] = ()
    parked: Sequence[ParkedFact] = ()


@dataclass(frozen=True, slots=True)
class Limits:
    """How long something must have stood before it is a finding; ``window``: how far back final rows are looked at."""

    older_than: timedelta
    stuck: timedelta
    waiting: timedelta
    authorization_age: timedelta
    outbox: timedelta
    window: timedelta
