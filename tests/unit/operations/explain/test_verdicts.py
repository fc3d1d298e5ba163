"""What an order is said to wait for, for each set of facts."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from operations.explain.causes import Cause, Source, Verdict
from operations.explain.facts import (
    Facts,
    Money,
    OutboxState,
    Pause,
    PendingStep,
    Queue,
    Run,
    Task,
    Tracked,
    Transition,
)
from operations.explain.verdict import verdicts_on
from orderflow.store.handovers import PendingHandover
from orderflow.store.reconciliation import OrderFact, PaymentFact, ReservationFact

NOW = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC)
ORDER = UUID("00000000-0000-4000-8000-000000000001")
NO_ANSWER = "connection refused"


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def row(status: str, version: int = 2, since: float = 60, pending_ship: str | None = None) -> OrderFact:
    pending_since = ago(since) if pending_ship else None
    return OrderFact(ORDER, status, version, ago(120), ago(since), pending_ship, pending_since)


def step(name: str = "authorize_payment", queue: str = "payments", **changes: object) -> PendingStep:
    return replace(PendingStep(name, queue, 1, ago(40), ago(40)), **changes)  # type: ignore[arg-type]


FAILING = step(
    attempt=8,
    due_at=NOW + timedelta(seconds=7),
    failure="payment gateway: refused",
    unavailable=True,
    away="payment gateway",
)
RUNS = Run("running", ago(120), "APPROVED", run_id="r")
DRAFT = Facts(ORDER, NOW, run=Run("missing"), order=row("DRAFT", 1), expires_at=NOW + timedelta(hours=1))
APPROVED = Facts(ORDER, NOW, run=RUNS, order=row("APPROVED"))
SHIPPING = Facts(ORDER, NOW, run=replace(RUNS, status="FULFILLING"), order=row("FULFILLING", 3, 40, "c:ship"))
UNTOLD = Facts(
    ORDER,
    NOW,
    run=Run("missing"),
    order=row("APPROVED"),
    handover=PendingHandover("approve", ago(20), NOW + timedelta(seconds=7), 0, None),
)
CLOSED = Run("closed", ago(50), "COMPLETED", "COMPLETED", "r")
PAID = PaymentFact(ORDER, "CAPTURED", 2, ago(90), ago(60))
SENT = ReservationFact(ORDER, "COMMITTED", 2, ago(60))
DONE = Facts(ORDER, NOW, run=CLOSED, order=row("COMPLETED", 5), payment=PAID, reservation=SENT)
DONE = replace(DONE, money=Money(False, 198, 198, "USD", ago(60)))


def with_run(facts: Facts, **changes: object) -> Facts:
    assert facts.run is not None
    return replace(facts, run=replace(facts.run, **changes))  # type: ignore[arg-type]


def untold(facts: Facts = UNTOLD, **changes: object) -> Facts:
    assert facts.handover is not None
    return replace(facts, handover=replace(facts.handover, **changes))  # type: ignore[arg-type]


def polled(name: str, seconds: float, backlog: int = 1) -> dict[str, Queue]:
    return {name: Queue(name, ago(seconds), backlog)}


def refused(facts: Facts, source: Source, complaint: str, said: str) -> Facts:
    """It answers, and with nothing that helps."""
    return replace(facts, unread={source: said}, complaints={source: complaint})


def unread(facts: Facts, *sources: Source) -> Facts:
    return replace(facts, unread=dict.fromkeys(sources, NO_ANSWER))


CASES: dict[str, tuple[Facts, Cause, str, str]] = {
    # name: facts, cause, what it waits for, what to do (parts of the sentences)
    "unknown": (Facts(ORDER, NOW, run=Run("missing")), Cause.UNKNOWN, "There is no order", "orderflow status"),
    "a workflow that somebody started by hand": (
        Facts(ORDER, NOW, run=replace(RUNS, status=None)),
        Cause.UNKNOWN,
        "no row, although Temporal has a workflow of that name",
        "the database has lost the order",
    ),
    "a draft": (
        DRAFT,
        Cause.CUSTOMER,
        "approve or cancel; it expires at 2026-11-23 13:00:00Z",
        "orderflow order approve",
    ),
    "fulfilling": (replace(APPROVED, order=row("FULFILLING", 3)), Cause.DISAGREES, "did not notice", "reconcile"),
    "in step": (
        replace(with_run(APPROVED, status="FULFILLING"), order=row("FULFILLING", 3)),
        Cause.CUSTOMER,
        "ship or cancel",
        "orderflow order ship",
    ),
    "done": (DONE, Cause.DONE, "Done: COMPLETED.", "Nothing is left"),
    "a draft past its time": (
        replace(DRAFT, expires_at=ago(2)),
        Cause.CUSTOMER,
        "it was to expire at 2026-11-23 11:59:58Z, and the next sweep of an orders worker cancels it",
        "orderflow order approve",
    ),
    "a draft, and Temporal is away": (
        unread(replace(DRAFT, run=None), "temporal"),
        Cause.NOT_READ,
        "What Temporal knows of it is missing here",
        "this order does not wait for it now",
    ),
    "cancelled as a draft": (
        replace(DRAFT, order=row("CANCELLED"), expires_at=None, reason="customer"),
        Cause.DONE,
        "Done: CANCELLED (customer).",
        "Nothing is left",
    ),
    "just approved": (
        untold(written_at=ago(1)),
        Cause.MOVING,
        "it is APPROVED, and Temporal is about to be told of approve",
        "again",
    ),
    "no dispatcher": (
        UNTOLD,
        Cause.HANDOVER_WAITS,
        "has not heard of approve, written 20 s ago (no dispatcher has taken it, and of the orders workers nobody has "
        "polled for 20 s at least)",
        "`orderflow worker orders`",
    ),
    "dispatchers that reach nobody": (
        untold(attempts=4),
        Cause.HANDOVER_WAITS,
        "has not heard of approve, written 20 s ago (a dispatcher tried 4 times without an answer)",
        "handovers_wait): they do not reach Temporal; it is sent again by itself, next at 2026-11-23 12:00:07Z",
    ),
    "a message that Temporal refuses": (
        untold(replace(SHIPPING, handover=UNTOLD.handover), name="ship", refused="too many signals."),
        Cause.HANDOVER_REFUSED,
        "has not heard of ship, written 20 s ago: Temporal refuses the message (too many signals)",
        f"`temporal workflow terminate --workflow-id order-{ORDER}`",
    ),
    "Temporal is away, and has not been told": (
        unread(replace(UNTOLD, run=None), "temporal"),
        Cause.TEMPORAL_AWAY,
        "it is APPROVED, and Temporal does not answer (connection refused); it has not been told of approve, written "
        "20 s ago",
        "Start Temporal",
    ),
    "an orders worker that does not come": (
        replace(with_run(APPROVED, task=Task(1, ago(20))), queues=polled("order-runs", 45)),
        Cause.NO_ORDERS_WORKER,
        "it is APPROVED, and the next task of its workflow is not taken (one last polled 45 s ago)",
        "`orderflow worker orders`",
    ),
    "a ship that no orders worker takes": (
        with_run(SHIPPING, task=Task(1, ago(31))),
        Cause.NO_ORDERS_WORKER,
        "it is FULFILLING with a ship that was accepted 40 s ago, and the next task of its workflow is not taken "
        "(nobody has polled for 31 s at least)",
        "`orderflow worker orders`",
    ),
    "busy orders workers": (
        replace(with_run(APPROVED, task=Task(1, ago(20))), queues=polled("order-runs", 1, backlog=300)),
        Cause.NO_ORDERS_WORKER,
        "is not taken (one last polled 1.0 s ago)",
        "see their log for what holds them, or start more; 300 tasks wait",
    ),
    "a task that its worker lost": (
        with_run(APPROVED, task=Task(1, ago(30), started_at=ago(30))),
        Cause.NO_ORDERS_WORKER,
        "was taken, and its worker is gone",
        "orderflow worker orders",
    ),
    "steps that run near": (
        with_run(APPROVED, task=Task(1, ago(2), started_at=ago(2))),
        Cause.MOVING,
        "it is APPROVED, and an orders worker is at it",
        "again",
    ),
    "a workflow that does nothing": (
        SHIPPING,
        Cause.NOTHING_UNDER_WAY,
        "it is FULFILLING with a ship that was accepted 40 s ago, its workflow runs, and nothing is under way in it",
        f"`orderflow order nudge {ORDER}",
    ),
    "a workflow that somebody paused": (
        with_run(APPROVED, paused=Pause(ago(90), "ops@example", "a look at it")),
        Cause.PAUSED,
        "its workflow was paused in Temporal 1 min 30 s ago (ops@example: a look at it)",
        f"`temporal workflow unpause --workflow-id order-{ORDER}`",
    ),
    "a step that somebody paused": (
        with_run(
            SHIPPING,
            steps=(step("capture_payment", paused=Pause(ago(90)), near="Activity timed out", activity_id="7"),),
        ),
        Cause.PAUSED,
        "capture_payment was paused in Temporal 1 min 30 s ago; before, capture_payment gave no answer near: Activity "
        "timed out; its ship was accepted 40 s ago",
        f"`temporal activity unpause --workflow-id order-{ORDER} --activity-id 7`",
    ),
    "a cancel that came too late": (
        replace(with_run(APPROVED, status="SHIPPED", cancelled_at=ago(9)), order=row("SHIPPED", 4)),
        Cause.CANCEL_STANDS,
        "cancelled its workflow in Temporal 9.0 s ago: that came too late, the order is SHIPPED",
        "goes on as before",
    ),
    "code that no longer fits": (
        with_run(APPROVED, task=Task(4, ago(90), ago(1), "[TMPRL1100] Nondeterminism error: x", nondeterministic=True)),
        Cause.WORKFLOW_TASK_FAILS,
        "no longer fits this order's history ([TMPRL1100] Nondeterminism error: x), attempt 4",
        f"orderflow replay {ORDER}",
    ),
    "code that fails": (
        with_run(APPROVED, task=Task(4, ago(90), ago(1), "KeyError: 'x'")),
        Cause.WORKFLOW_TASK_FAILS,
        "which fails on it (KeyError: 'x'), attempt 4",
        f"orderflow debug {ORDER}",
    ),
    "its row cannot be written": (
        with_run(APPROVED, transition=Transition("fulfil", 5, "orders: refused", ago(9), NOW + timedelta(seconds=3))),
        Cause.TRANSITION_FAILS,
        "fulfil has failed 5 times, last: orders: refused",
        "why the orders database does not answer; fulfil is repeated by itself, next at 2026-11-23 12:00:03Z",
    ),
    "its row refuses": (
        with_run(APPROVED, transition=Transition("look", 5, "no such column", ago(9), NOW, unavailable=False)),
        Cause.TRANSITION_FAILS,
        "last: no such column",
        "a bug or bad data",
    ),
    "no payment worker": (
        replace(with_run(APPROVED, steps=(step(),)), queues=polled("payments", 55)),
        Cause.STEP_NOT_TAKEN,
        "the payment service: no worker takes authorize_payment from the task queue payments "
        "(one last polled 55 s ago)",
        "`orderflow worker payments`",
    ),
    "no inventory worker after failures": (
        with_run(APPROVED, steps=(step("reserve_inventory", "inventory", attempt=3, failure="inventory: refused"),)),
        Cause.STEP_NOT_TAKEN,
        "at least); before, reserve_inventory has failed twice, last: inventory: refused",
        "`orderflow worker inventory`",
    ),
    "no payment worker after a near attempt": (
        with_run(APPROVED, steps=(step(near="payment gateway: no answer"),)),
        Cause.STEP_NOT_TAKEN,
        "at least); before, authorize_payment gave no answer near: payment gateway: no answer",
        "`orderflow worker payments`",
    ),
    "a capture that fails": (
        with_run(SHIPPING, steps=(replace(FAILING, name="capture_payment"),)),
        Cause.STEP_FAILS,
        "capture_payment has failed 7 times, last: payment gateway: refused; its ship was accepted 40 s ago",
        "why the payment gateway does not answer",
    ),
    "the gateway is down": (
        with_run(APPROVED, steps=(FAILING,)),
        Cause.STEP_FAILS,
        "the payment service: authorize_payment has failed 7 times, last: payment gateway: refused",
        "why the payment gateway does not answer; the step is repeated by itself, next at 2026-11-23 12:00:07Z",
    ),
    "the payments database is down": (
        with_run(APPROVED, steps=(replace(FAILING, failure="payments: refused", away="payments"),)),
        Cause.STEP_FAILS,
        "last: payments: refused",
        "why the payments database does not answer",
    ),
    "a step with a bug": (
        with_run(APPROVED, steps=(replace(FAILING, failure="KeyError: 'x'", unavailable=False),)),
        Cause.STEP_FAILS,
        "last: KeyError: 'x'",
        "see the log of the payments worker",
    ),
    "a step that is not repeated": (
        with_run(APPROVED, bug="authorize_payment: no such token"),
        Cause.STEP_BUG,
        "an error which is not repeated: authorize_payment: no such token",
        "started again every 30 s",
    ),
    "a step that hangs": (
        with_run(APPROVED, steps=(step(started=True, started_at=ago(12)),)),
        Cause.STEP_HANGS,
        "a worker took authorize_payment 12 s ago and has not answered",
        "15 s after it was taken",
    ),
    "a step under way": (
        with_run(APPROVED, steps=(step(started=True, started_at=ago(1), due_at=ago(1)),)),
        Cause.MOVING,
        "authorize_payment is under way",
        "again",
    ),
    "Temporal is away": (
        unread(replace(APPROVED, run=None), "temporal"),
        Cause.TEMPORAL_AWAY,
        "waits for Temporal: it is APPROVED, and Temporal does not answer (connection refused)",
        "Start Temporal",
    ),
    "Temporal is away, and holds are to be given back": (
        unread(
            replace(
                DONE, run=None, order=row("CANCELLED", 3), payment=PaymentFact(ORDER, "VOIDING", 2, ago(90), ago(60))
            ),
            "temporal",
        ),
        Cause.TEMPORAL_AWAY,
        "it is CANCELLED, and Temporal does not answer",
        "Start Temporal",
    ),
    "Temporal is away, after the end": (
        unread(replace(DONE, run=None), "temporal"),
        Cause.NOT_READ,
        "What Temporal knows of it is missing here",
        "does not wait for it",
    ),
    "the orders database is away": (
        unread(replace(APPROVED, order=None), "orders"),
        Cause.DATABASE_AWAY,
        "waits for the orders database, which does not answer (connection refused)",
        "Start the Postgres of orders",
    ),
    "the orders database refuses the password": (
        refused(replace(APPROVED, order=None), "orders", "refuses access", "wrong user or password: no"),
        Cause.DATABASE_AWAY,
        "waits for the orders database, which refuses access (wrong user or password: no)",
        "Set ORDERFLOW_ORDERS_DATABASE_URL right",
    ),
    "the orders database answers with an error": (
        refused(replace(APPROVED, order=None), "orders", "answers with an error", "too many connections"),
        Cause.DATABASE_AWAY,
        "waits for the orders database, which answers with an error (too many connections)",
        "See to what the error says",
    ),
    "Temporal refuses the key": (
        refused(APPROVED, "temporal", "refuses access", "Request unauthorized."),
        Cause.TEMPORAL_AWAY,
        "Temporal refuses access (Request unauthorized.)",
        "Set ORDERFLOW_TEMPORAL_API_KEY right",
    ),
    "a database it does not wait for refuses the password": (
        refused(DRAFT, "inventory", "refuses access", "wrong user or password: no"),
        Cause.NOT_READ,
        "it refuses access (wrong user or password: no)",
        "See why the inventory database refuses access",
    ),
    "a database it does not wait for": (
        unread(DRAFT, "inventory"),
        Cause.NOT_READ,
        "the inventory database",
        "not wait",
    ),
    "the gateway, which nobody asks": (unread(DRAFT, "gateway"), Cause.NOT_READ, "the payment gateway", "not wait"),
    "its workflow is gone": (
        replace(APPROVED, run=Run("closed", ago(30), "APPROVED", "TERMINATED", "r")),
        Cause.DISAGREES,
        "no workflow runs it",
        f"`orderflow order nudge {ORDER} --reason …` has its workflow look now, or begin; `orderflow reconcile",
    ),
    "Temporal has forgotten it": (
        replace(SHIPPING, run=Run("missing")),
        Cause.DISAGREES,
        "no workflow runs it",
        "orderflow order nudge",
    ),
    "money held after the end": (
        replace(
            DONE, run=replace(CLOSED, status="CANCELLED"), order=row("CANCELLED", 3), payment=None, reservation=None
        ),
        Cause.DISAGREES,
        "holds or took money for a reference that has no payments row",
        "(look)",
    ),
    "stock held after the end": (
        replace(DONE, reservation=ReservationFact(ORDER, "RESERVED", 1, ago(60))),
        Cause.DISAGREES,
        "its stock is still only reserved",
        "(look)",
    ),
    "Kafka is away": (
        replace(
            DONE,
            outboxes=(OutboxState("orders", 2, ago(30)), OutboxState("payments", 1, ago(40))),
            kafka_error=NO_ANSWER,
        ),
        Cause.KAFKA_AWAY,
        "3 of its events wait since 2026-11-23 11:59:20Z, and Kafka does not answer (connection refused)",
        "Start Kafka",
    ),
    "no relay leads": (
        replace(DONE, outboxes=(OutboxState("orders", 1, ago(30), led=False),)),
        Cause.RELAY_AWAY,
        "1 of its events waits since 2026-11-23 11:59:30Z, no relay leads for orders",
        "`orderflow worker relay`",
    ),
    "the relay does not publish": (
        replace(DONE, outboxes=(OutboxState("orders", 1, ago(30)),)),
        Cause.RELAY_AWAY,
        "a relay leads, and Kafka answers",
        "relay's log",
    ),
    "an event of this moment": (
        replace(DONE, outboxes=(OutboxState("orders", 1, ago(1)),)),
        Cause.DONE,
        "Done",
        "Nothing",
    ),
    "parked": (
        replace(DONE, outboxes=(OutboxState("orders", 2, ago(60), 4, "MessageSizeTooLarge", ago(50)),)),
        Cause.PARKED,
        "Kafka refuses version 4 (MessageSizeTooLarge)",
        "unpark",
    ),
    "behind lost records": (
        replace(DONE, outboxes=(OutboxState("orders", 1, ago(60), stopped_partition=7, stopped_at=ago(50)),)),
        Cause.PARTITION_STOPPED,
        "orders events wait for people: Kafka lost records of partition 7",
        "`orderflow outbox republish --partition 7`",
    ),
    "behind a topic that was made anew": (
        replace(
            DONE,
            outboxes=(OutboxState("orders", 1, ago(60), stopped_partition=7, stopped_at=ago(50), made_anew=True),),
        ),
        Cause.PARTITION_STOPPED,
        "the topic was made anew, and partition 7 lacks what was published before",
        "`orderflow outbox republish --partition 7`",
    ),
    "an event that was deleted from the outbox": (
        replace(DONE, outboxes=(OutboxState("payments", forgotten=(2,), forgotten_since=ago(50)),)),
        Cause.EVENTS_FORGOTTEN,
        "Nobody publishes its payments event 2: somebody deleted it from the outbox",
        "`orderflow reconcile --repair`",
    ),
    "a ship that was refused": (
        replace(
            with_run(APPROVED, status="FULFILLING"), order=row("FULFILLING", 3), refused_ship="The card was blocked."
        ),
        Cause.CUSTOMER,
        "ship or cancel; its last ship was refused: The card was blocked",
        "orderflow order ship",
    ),
    "the tracking is behind": (
        replace(DONE, tracked=Tracked(2, ago(30))),
        Cause.TRACKING_BEHIND,
        "2 published events are not applied, the oldest of 2026-11-23 11:59:30Z",
        "`orderflow worker tracking`",
    ),
    "a dead letter": (
        replace(DONE, tracked=Tracked(1, ago(30), "no such table", ago(29))),
        Cause.TRACKING_BEHIND,
        "a record was set aside (no such table)",
        "redrive",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_the_verdict_names_the_cause_and_says_what_to_do(name: str) -> None:
    facts, cause, waits_for, do = CASES[name]
    verdicts = verdicts_on(facts)
    # What is merely missing, or stands, comes last: the order does not wait for it.
    verdict = verdicts[-1 if cause in (Cause.NOT_READ, Cause.CANCEL_STANDS) else 0]
    assert verdict.cause is cause, verdicts
    assert waits_for in verdict.waits_for
    assert do in verdict.do
    for sentence in (verdict.waits_for, verdict.do):
        assert sentence[0].isupper() or sentence.startswith("`")
        assert sentence.endswith(".")


def test_every_cause_has_a_case() -> None:
    assert {cause for _, cause, _, _ in CASES.values()} == set(Cause)


def causes(verdicts: list[Verdict]) -> list[Cause]:
    return [verdict.cause for verdict in verdicts]


def test_what_stands_beside_trouble_is_said_too() -> None:
    facts = replace(DRAFT, outboxes=(OutboxState("orders", 1, ago(30)),), kafka_error=NO_ANSWER)
    assert causes(verdicts_on(facts)) == [Cause.KAFKA_AWAY, Cause.CUSTOMER]


def test_the_most_urgent_stands_first() -> None:
    facts = with_run(APPROVED, steps=(FAILING, step("reserve_inventory", "inventory")))
    facts = replace(facts, outboxes=(OutboxState("orders", 1, ago(30)),), kafka_error=NO_ANSWER)
    assert causes(verdicts_on(unread(facts, "payments"))) == [
        Cause.DATABASE_AWAY,
        Cause.STEP_NOT_TAKEN,
        Cause.STEP_FAILS,
        Cause.KAFKA_AWAY,
    ]


def test_a_step_at_work_is_not_taken_for_a_contradiction() -> None:
    void = step("void_payment", attempt=3, failure="payment gateway: refused", unavailable=True, due_at=NOW)
    facts = with_run(replace(APPROVED, order=row("CANCELLED", 3)), status="CANCELLED", steps=(void,))
    facts = replace(facts, payment=PaymentFact(ORDER, "VOIDING", 2, ago(100), ago(60)))
    assert causes(verdicts_on(facts)) == [Cause.STEP_FAILS]


def test_nothing_in_motion_is_trouble() -> None:
    facts = with_run(APPROVED, steps=(step(due_at=ago(2)),), task=Task(1, ago(1)))
    facts = replace(facts, outboxes=(OutboxState("orders", 1, ago(2), led=False),), tracked=Tracked(1, ago(3)))
    assert causes(verdicts_on(facts)) == [Cause.MOVING]


def test_orders_with_the_same_trouble_have_the_same_group() -> None:
    one, other = (with_run(APPROVED, steps=(replace(FAILING, attempt=n, scheduled_at=ago(n)),)) for n in (3, 9))
    assert verdicts_on(one)[0].group == verdicts_on(other)[0].group


def test_a_customer_may_act_while_temporal_is_away() -> None:
    facts = unread(replace(APPROVED, run=None, order=row("FULFILLING", 3)), "temporal")
    assert causes(verdicts_on(facts)) == [Cause.CUSTOMER, Cause.NOT_READ]


def test_a_handover_that_waits_is_no_contradiction() -> None:
    cancelled = replace(
        untold(name="cancel"),
        order=row("CANCELLED", 3),
        payment=PaymentFact(ORDER, "AUTHORIZED", 1, ago(90), ago(90)),
        reservation=ReservationFact(ORDER, "RESERVED", 1, ago(90)),
        money=Money(True, 0, 198, "USD", ago(90)),
    )
    assert causes(verdicts_on(cancelled)) == [Cause.HANDOVER_WAITS]


def test_a_cancel_stands_beside_what_it_waits_for() -> None:
    facts = with_run(SHIPPING, steps=(step("capture_payment", started=True, started_at=ago(1)),), cancelled_at=ago(3))
    moving, cancel = verdicts_on(facts)
    assert (moving.cause, cancel.cause) == (Cause.MOVING, Cause.CANCEL_STANDS)
    assert (
        "it is FULFILLING with a ship that was accepted 40 s ago, and capture_payment is under way" in moving.waits_for
    )
    assert "is to be cancelled, as soon as its ship has ended" in cancel.waits_for


def test_what_a_bug_left_behind_is_said_once() -> None:
    facts = with_run(SHIPPING, bug="capture_payment: KeyError")
    assert causes(verdicts_on(facts)) == [Cause.STEP_BUG]
