"""All that is known of one order at one moment, as plain data: what ``verdict.verdicts_on`` looks at.

A source that could not be read is named in ``Facts.unread``, and what it would have said is None or empty.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal
from uuid import UUID

from operations.explain.causes import GRACE, Source
from orderflow.domain.errors import Unavailable
from orderflow.store.handovers import PendingHandover
from orderflow.store.reconciliation import OrderFact, PaymentFact, ReservationFact


@dataclass(frozen=True, slots=True)
class StoryLine:
    """One line of an order's timeline. ``trouble``: something failed or is late.

    ``about``: what stays the same while the words of a line still change; empty where they do not.
    """

    at: datetime
    source: Source
    what: str
    trouble: bool = False
    about: str = ""


@dataclass(frozen=True, slots=True)
class Pause:
    """Somebody paused a step, or the workflow, in Temporal. ``by`` and ``reason``: empty where nobody said."""

    at: datetime
    by: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class PendingStep:
    """A step on its service's task queue: an activity that Temporal has not seen the end of.

    ``started``: a worker has it now. ``due_at``: when it was, or will be, there for a worker to take. ``near``: why its
    attempt in the orders worker gave no answer; None: there was none.
    """

    name: str
    task_queue: str
    attempt: int
    scheduled_at: datetime
    due_at: datetime
    started: bool = False
    started_at: datetime | None = None
    failure: str | None = None
    failed_at: datetime | None = None
    #: Whether the failure says that something does not answer; otherwise it is a bug, or a worker that died.
    unavailable: bool = False
    #: Who does not answer, as our Unavailable calls it; None where the failure does not say.
    away: str | None = None
    near: str | None = None
    paused: Pause | None = None
    activity_id: str = ""


@dataclass(frozen=True, slots=True)
class Transition:
    """A look at the order's own row, or a transition of it, that failed and will be repeated.

    ``unavailable`` and ``away``: as of a step.
    """

    name: str
    attempt: int
    failure: str
    since: datetime
    again_at: datetime
    unavailable: bool = True
    away: str | None = None


@dataclass(frozen=True, slots=True)
class Task:
    """A workflow task that is not done: waiting for a worker (``started_at`` None), or taken by one.

    ``failure``: why the one before failed; ``nondeterministic``: because the code no longer fits the history.
    """

    attempt: int
    scheduled_at: datetime
    started_at: datetime | None = None
    failure: str | None = None
    nondeterministic: bool = False


@dataclass(frozen=True, slots=True)
class Run:
    """The order's workflow. ``since``: when it was started or closed; ``ended``: how it closed.

    ``status`` is what the workflow had adopted last (its search attribute). ``steps``: those that Temporal shows as
    pending; a step in the orders worker shows as a task that a worker has. ``bug``: a step that ended in an error that
    is not repeated, and waits to be started again. ``cancelled_at``: when an operator cancelled the workflow itself.
    """

    state: Literal["running", "closed", "missing"]
    since: datetime | None = None
    status: str | None = None
    ended: str | None = None
    run_id: str | None = None
    steps: tuple[PendingStep, ...] = ()
    task: Task | None = None
    transition: Transition | None = None
    bug: str | None = None
    cancelled_at: datetime | None = None
    paused: Pause | None = None

    @property
    def is_at_work(self) -> bool:
        """Whether anything is under way in it."""
        return bool(self.steps or self.task or self.transition or self.bug)


@dataclass(frozen=True, slots=True)
class Queue:
    """A task queue. ``polled_at``: when a worker last asked it for work (None: not in the last minutes).

    Temporal remembers a worker for five minutes, and an idle one asks once a minute. ``backlog``: tasks nobody took.
    """

    name: str
    polled_at: datetime | None = None
    backlog: int = 0


@dataclass(frozen=True, slots=True)
class OutboxState:
    """One service's events of the order on their way to Kafka.

    ``waiting``: not published yet, the oldest since ``oldest_at``. ``led``: a relay holds this database's lease.
    ``stopped_partition``: where they would go, Kafka lost records, and nothing is sent until a person has it mended;
    ``made_anew``: it is not Kafka that lost them, the topic was made anew. ``forgotten``: versions that are neither
    published nor waiting.
    """

    service: str
    waiting: int = 0
    oldest_at: datetime | None = None
    parked_version: int | None = None
    parked_error: str | None = None
    parked_at: datetime | None = None
    led: bool = True
    stopped_partition: int | None = None
    stopped_at: datetime | None = None
    made_anew: bool = False
    forgotten: tuple[int, ...] = ()
    forgotten_since: datetime | None = None


@dataclass(frozen=True, slots=True)
class Tracked:
    """How far the tracking is behind: published events that it has not applied, the oldest since ``oldest_at``."""

    missing: int = 0
    oldest_at: datetime | None = None
    set_aside: str | None = None
    set_aside_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Money:
    """What the gateway holds and has taken for the order, in minor units."""

    held: bool
    taken: int
    amount: int
    currency: str
    since: datetime


@dataclass(frozen=True, slots=True)
class Facts:
    """One order at ``now``. ``complaints``: what those that are unread do, where they do answer.

    ``kafka_error``: asked only when events wait; empty: the brokers answer.

    ``refused_ship``: why its last ship was refused, while it could be shipped again. ``handover``: Temporal must look
    at it and has not been told. ``expires_at``: of a DRAFT, when the sweep may cancel it.
    """

    order_id: UUID
    now: datetime
    unread: Mapping[Source, str] = field(default_factory=dict)
    complaints: Mapping[Source, str] = field(default_factory=dict)
    run: Run | None = None
    order: OrderFact | None = None
    reason: str | None = None
    refused_ship: str | None = None
    handover: PendingHandover | None = None
    expires_at: datetime | None = None
    payment: PaymentFact | None = None
    reservation: ReservationFact | None = None
    money: Money | None = None
    queues: Mapping[str, Queue] = field(default_factory=dict)
    outboxes: tuple[OutboxState, ...] = ()
    tracked: Tracked = field(default_factory=Tracked)
    kafka_error: str | None = None

    def complaint(self, source: Source) -> str:
        """What an unread ``source`` does: does not answer, refuses access, answers with an error."""
        return self.complaints.get(source, Unavailable.complaint)


def late(facts: Facts, moment: datetime) -> bool:
    """Whether ``moment`` is longer ago than what is in motion takes."""
    return facts.now - moment > GRACE


def status_of(facts: Facts) -> str | None:
    """Its row's status; what the workflow had adopted last, where the row cannot be read; None: there is no row."""
    if facts.order is not None:
        return facts.order.status
    return facts.run.status if facts.run is not None and "orders" in facts.unread else None
