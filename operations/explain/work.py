"""What an order waits for in Temporal: a worker for its next task, its own row, a step of another service. Pure."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Final

from operations.explain.causes import GRACE, Cause, Verdict
from operations.explain.facts import Facts, Pause, PendingStep, late
from operations.explain.pollers import again, seen_polling
from operations.words import age, short, times
from orderflow.domain.orders import OrderStatus
from orderflow.settings import SERVICES
from orderflow.temporal.names import INVENTORY_QUEUE, ORDERS_QUEUE, PAYMENTS_QUEUE, workflow_id
from workflows.steps import PaymentSteps

#: A workflow task that a worker took and lost is given to another after 10 s.
TASK_TIMEOUT: Final = timedelta(seconds=10)

_SERVICE: Final = {PAYMENTS_QUEUE: "the payment service", INVENTORY_QUEUE: "the inventory service"}
_CAPTURE: Final = PaymentSteps.capture_payment.__name__


def stands(facts: Facts) -> str:
    """Where the order stands, and since when a ship waits."""
    if facts.order is None:
        return "its row is not known"
    since = facts.order.pending_since
    ship = f" with a ship that was accepted {age(facts.now, since)} ago" if since is not None else ""
    return f"it is {facts.order.status}{ship}"


def waits_for_its_workflow(facts: Facts) -> bool:
    """Whether its row says that the next move is the workflow's."""
    return facts.order is not None and (facts.order.status == OrderStatus.APPROVED or facts.order.pending)


def workflow_task(facts: Facts) -> Iterator[Verdict]:
    """Where its workflow is paused, its next task fails, or no orders worker takes it."""
    run = facts.run
    if run is None or run.state != "running":
        return
    if run.paused is not None:
        yield Verdict(
            Cause.PAUSED,
            "wrong",
            f"It waits for people: {_paused('its workflow', run.paused, facts.now)}.",
            f"`temporal workflow unpause --workflow-id {workflow_id(facts.order_id)}`; it goes on from there.",
            run.paused.at,
            "its workflow is paused",
        )
        return
    task = run.task
    if task is None:
        return
    if task.failure is not None and task.attempt > 1:
        since = task.scheduled_at
        if task.nondeterministic:
            yield Verdict(
                Cause.WORKFLOW_TASK_FAILS,
                "wrong",
                f"It waits for the orders worker's code: it no longer fits this order's history ({short(task.failure)}"
                f"), attempt {task.attempt}.",
                f"Deploy the code that began it, or guard the change (docs/changing-workflows.md); "
                f"`orderflow replay {facts.order_id}` tells when it fits, and it goes on by itself then.",
                since,
                "the workflow's code does not fit the history",
            )
        else:
            yield Verdict(
                Cause.WORKFLOW_TASK_FAILS,
                "wrong",
                f"It waits for the orders worker's code, which fails on it ({short(task.failure)}), "
                f"attempt {task.attempt}.",
                f"Fix the bug (`orderflow debug {facts.order_id}`) and deploy; the task is repeated by itself.",
                since,
                f"the workflow's code fails: {short(task.failure, 60)}",
            )
        return
    if task.started_at is None and late(facts, task.scheduled_at):
        yield _orders_worker(facts, "is not taken", task.scheduled_at)
    elif task.started_at is not None and facts.now - task.started_at > TASK_TIMEOUT + GRACE:
        yield _orders_worker(facts, "was taken, and its worker is gone", task.started_at)


def _orders_worker(facts: Facts, what: str, since: datetime) -> Verdict:
    seen, do = seen_polling(facts, ORDERS_QUEUE, since)
    return Verdict(
        Cause.NO_ORDERS_WORKER,
        "waits",
        f"It waits for the orders worker: {stands(facts)}, and the next task of its workflow {what} ({seen}).",
        do,
        since,
        "no orders worker takes it",
    )


def transition(facts: Facts) -> Iterator[Verdict]:
    """Where a look at its own row, or a transition of it, fails and is repeated."""
    run = facts.run
    if run is None or run.transition is None:
        return
    failed = run.transition
    what = f"{failed.name} has failed {times(failed.attempt)}, last: {short(failed.failure)}"
    if failed.unavailable:
        do = f"See why {_blamed(failed.away, 'the orders database')} does not answer; {failed.name} is repeated "
    else:
        do = f"This is a bug or bad data: see the orders worker's log, fix and deploy; {failed.name} is repeated "
    yield Verdict(
        Cause.TRANSITION_FAILS,
        "waits" if failed.unavailable else "wrong",
        f"It waits for its own row: {what}.",
        do + again(facts.now, failed.again_at),
        failed.since,
        f"{failed.name} fails: {short(failed.failure, 60)}",
    )


def steps(facts: Facts) -> Iterator[Verdict]:
    """Where a step of another service fails, hangs, is taken by nobody, is paused, or has met a bug."""
    run = facts.run
    if run is None or run.state != "running":
        return
    if run.bug is not None:
        yield Verdict(
            Cause.STEP_BUG,
            "wrong",
            f"It waits for a step that ended in an error which is not repeated: {short(run.bug)}.",
            "This is a bug: see that service's worker log, fix and deploy; the step is started again every 30 s.",
            group=f"a step ends in an error: {short(run.bug, 60)}",
        )
    for step in run.steps:
        yield from _step(facts, step)


def _step(facts: Facts, step: PendingStep) -> Iterator[Verdict]:
    service = _SERVICE.get(step.task_queue, f"the worker of {step.task_queue}")
    failed = f"{step.name} has failed {times(step.attempt - 1)}, last: {short(step.failure)}" if step.failure else ""
    before = failed or (f"{step.name} gave no answer near: {short(step.near)}" if step.near else "")
    ship = ""
    if step.name == _CAPTURE and facts.order is not None and facts.order.pending_since is not None:
        ship = f"; its ship was accepted {age(facts.now, facts.order.pending_since)} ago"
    if step.paused is not None:
        yield Verdict(
            Cause.PAUSED,
            "wrong",
            f"It waits for people: {_paused(step.name, step.paused, facts.now)}"
            f"{'; before, ' + before if before else ''}{ship}.",
            f"`temporal activity unpause --workflow-id {workflow_id(facts.order_id)} --activity-id {step.activity_id}` "
            "has it tried again; nothing happens twice.",
            step.paused.at,
            f"{step.name} is paused",
        )
    elif not step.started and late(facts, step.due_at):
        seen, do = seen_polling(facts, step.task_queue, step.due_at)
        yield Verdict(
            Cause.STEP_NOT_TAKEN,
            "waits",
            f"It waits for {service}: no worker takes {step.name} from the task queue {step.task_queue} ({seen})"
            f"{'; before, ' + before if before else ''}{ship}.",
            do,
            step.due_at,
            f"no worker takes {step.name}",
        )
    elif step.failure is not None and step.attempt > 1:
        if step.unavailable:
            blamed = _blamed(step.away, f"the {step.task_queue} database")
            do = f"See why {blamed} does not answer; the step is repeated {again(facts.now, step.due_at)}"
        else:
            do = f"A bug, or a worker that died: see the log of the {step.task_queue} worker; the step is repeated "
            do += again(facts.now, step.due_at)
        yield Verdict(
            Cause.STEP_FAILS,
            "waits" if step.unavailable else "wrong",
            f"It waits for {service}: {failed}{ship}.",
            do,
            step.scheduled_at,
            f"{step.name} fails: {short(step.failure, 60)}",
        )
    elif step.started and step.started_at is not None and facts.now - step.started_at > GRACE:
        yield Verdict(
            Cause.STEP_HANGS,
            "waits",
            f"It waits for {service}: a worker took {step.name} {age(facts.now, step.started_at)} ago and has not "
            f"answered{ship}.",
            "What that worker calls is slow, or the worker died: the step is repeated by itself 15 s after it was "
            "taken.",
            step.started_at,
            f"{step.name} takes long",
        )


def _paused(what: str, pause: Pause, now: datetime) -> str:
    said = ": ".join(part for part in (pause.by, pause.reason) if part)
    return f"{what} was paused in Temporal {age(now, pause.at)} ago{f' ({said})' if said else ''}"


def _blamed(away: str | None, otherwise: str) -> str:
    """Who does not answer; ``otherwise`` where the failure does not say."""
    if away is None:
        return otherwise
    return f"the {away} database" if away in SERVICES else f"the {away}"
