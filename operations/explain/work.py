"""What an order waits for in Temporal: a worker for its next task, its own row, a step of another service. Pure."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Final

from operations.explain.causes import GRACE, Cause, Verdict
from operations.explain.facts import Facts, PendingStep, Queue, Run, late
from operations.words import age, clock, one_or_many, short, times
from orderflow.settings import SERVICES
from orderflow.temporal.names import INVENTORY_QUEUE, ORDERS_QUEUE, PAYMENTS_QUEUE

#: A workflow task that a worker took and lost is given to another after 10 s.
TASK_TIMEOUT: Final = timedelta(seconds=10)

_SERVICE: Final = {PAYMENTS_QUEUE: "the payment service", INVENTORY_QUEUE: "the inventory service"}


def workflow_task(facts: Facts) -> Iterator[Verdict]:
    """Where its next workflow task fails, or no orders worker takes it."""
    run = facts.run
    if run is None or run.state != "running" or run.task is None:
        return
    task = run.task
    if task.failure is not None and task.attempt > 1:
        since = run.task.scheduled_at
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
        yield _orders_worker(facts, run, task.scheduled_at)
    elif task.started_at is not None and facts.now - task.started_at > TASK_TIMEOUT + GRACE:
        yield _orders_worker(facts, run, task.started_at)


def _orders_worker(facts: Facts, run: Run, since: datetime) -> Verdict:
    if run.untaken:
        named = ", ".join(signal.name for signal in run.untaken)
        are = one_or_many(len(run.untaken), "is", "are")
        what = f"{named}, sent {age(facts.now, run.untaken[0].at)} ago, {are} accepted and not taken"
    elif facts.order is None and "orders" not in facts.unread:
        what = "it is PLACING, and its first task is not taken"
    else:
        what = "its next task is not taken"
    seen, do = _nobody(facts, ORDERS_QUEUE, since)
    return Verdict(
        Cause.NO_ORDERS_WORKER,
        "waits",
        f"It waits for the orders worker: {what} ({seen}).",
        do,
        since,
        "no orders worker takes it",
    )


def transition(facts: Facts) -> Iterator[Verdict]:
    """Where a transition of its own row fails and is repeated."""
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
        do + _again(facts.now, failed.again_at),
        failed.since,
        f"{failed.name} fails: {short(failed.failure, 60)}",
    )


def steps(facts: Facts) -> Iterator[Verdict]:
    """Where a step of another service fails, hangs, is taken by nobody, or has met a bug."""
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
    if not step.started and late(facts, step.due_at):
        seen, do = _nobody(facts, step.task_queue, step.due_at)
        yield Verdict(
            Cause.STEP_NOT_TAKEN,
            "waits",
            f"It waits for {service}: no worker takes {step.name} from the task queue {step.task_queue} ({seen})"
            f"{'; before, ' + failed if failed else ''}.",
            do,
            step.due_at,
            f"no worker takes {step.name}",
        )
    elif step.failure is not None and step.attempt > 1:
        if step.unavailable:
            blamed = _blamed(step.away, f"the {step.task_queue} database")
            do = f"See why {blamed} does not answer; the step is repeated {_again(facts.now, step.due_at)}"
        else:
            do = f"A bug, or a worker that died: see the log of the {step.task_queue} worker; the step is repeated "
            do += _again(facts.now, step.due_at)
        yield Verdict(
            Cause.STEP_FAILS,
            "waits" if step.unavailable else "wrong",
            f"It waits for {service}: {failed}.",
            do,
            step.scheduled_at,
            f"{step.name} fails: {short(step.failure, 60)}",
        )
    elif step.started and step.started_at is not None and facts.now - step.started_at > GRACE:
        yield Verdict(
            Cause.STEP_HANGS,
            "waits",
            f"It waits for {service}: a worker took {step.name} {age(facts.now, step.started_at)} ago and has not "
            "answered.",
            "What that worker calls is slow, or the worker died: the step is repeated by itself 15 s after it was "
            "taken.",
            step.started_at,
            f"{step.name} takes long",
        )


def _nobody(facts: Facts, name: str, since: datetime) -> tuple[str, str]:
    """What is known of a task queue's workers, and what to do about it."""
    queue = facts.queues.get(name, Queue(name))
    start = f"Start one: `orderflow worker {name}`; the order goes on by itself."
    if queue.polled_at is None:
        return f"nobody has polled it for {age(facts.now, since)} at least", start
    ago = f"a worker last polled {age(facts.now, queue.polled_at)} ago"
    if queue.polled_at < since:
        return ago, start
    busy = f"Its workers are busy: start more, or see what holds them; {queue.backlog} tasks wait."
    return ago, busy


def _blamed(away: str | None, otherwise: str) -> str:
    """Who does not answer; ``otherwise`` where the failure does not say."""
    if away is None:
        return otherwise
    return f"the {away} database" if away in SERVICES else f"the {away}"


def _again(now: datetime, moment: datetime) -> str:
    return f"by itself, next at {clock(moment)}." if moment > now else "by itself."
