"""From facts to a verdict: what an order waits for, in one sentence, and what to do, in another. Pure.

``verdicts_on`` gives every verdict that holds, the most urgent first; there is always one. Nothing younger than
``GRACE`` counts as late: an order in motion is moving.
"""

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Final

from operations.explain.causes import GRACE, Cause, Source, Verdict
from operations.explain.facts import Facts, late
from operations.explain.leftovers import leftovers
from operations.explain.stream import stream, tracking
from operations.explain.telling import handover
from operations.explain.work import stands, steps, transition, waits_for_its_workflow, workflow_task
from operations.words import age, clock, short
from orderflow.domain.errors import AccessDenied, Failing
from orderflow.domain.inventory import ReservationStatus
from orderflow.domain.orders import GONE, LIFECYCLE, OrderStatus, allowed_actions
from orderflow.domain.payments import PaymentStatus
from orderflow.settings import SERVICES


def verdicts_on(facts: Facts) -> list[Verdict]:
    """Every verdict that holds, the most urgent first. Never empty."""
    found = [verdict for rule in _RULES for verdict in rule(facts)]
    # What stands beside trouble is still said: that its customer may act, that it is over.
    if not any(verdict.cause is Cause.UNKNOWN for verdict in found):
        found += _calm(facts, troubled=any(verdict.kind in ("wrong", "waits") for verdict in found))
    return sorted(found, key=lambda verdict: verdict.urgency)


# --- Rules: each looks at one thing that an order may wait for ---


def _unknown(facts: Facts) -> Iterator[Verdict]:
    if "orders" in facts.unread or facts.order is not None:
        return
    run = facts.run
    if run is None or run.state == "missing":
        remedy = "Check the id and which stack the settings lead to (`orderflow status`)."
        yield Verdict(
            Cause.UNKNOWN, "wrong", f"There is no order {facts.order_id}: it has no row.", remedy, group="no such order"
        )
    else:
        yield Verdict(
            Cause.UNKNOWN,
            "wrong",
            f"There is no order {facts.order_id}: it has no row, although Temporal has a workflow of that name.",
            "Somebody started that by hand, and it ends by itself; or the database has lost the order: compare with "
            "its records on the stream.",
            run.since,
            "a workflow without a row",
        )


def _temporal(facts: Facts) -> Iterator[Verdict]:
    error, order = facts.unread.get("temporal"), facts.order
    if error is None or (order is None and "orders" not in facts.unread):
        return
    if order is not None and not _needs_temporal(facts):
        yield _not_read(facts, "temporal", "Temporal")
        return
    what = f"{stands(facts)}, and " if order is not None else ""
    told = facts.handover
    untold = f"; it has not been told of {told.name}, written {age(facts.now, told.written_at)} ago" if told else ""
    yield Verdict(
        Cause.TEMPORAL_AWAY,
        "waits",
        f"It waits for Temporal: {what}Temporal {facts.complaint('temporal')} ({error}){untold}.",
        f"{_remedy(facts, 'temporal', 'Start Temporal')}; nothing is lost, all workflows go on by themselves when it "
        "is back.",
        told.written_at if told else None,
        group=f"Temporal {facts.complaint('temporal')}",
        unread="temporal",
    )


def _needs_temporal(facts: Facts) -> bool:
    """Whether the next move is the workflow's: also that it gives back, or books, what its end left behind."""
    if facts.handover is not None or waits_for_its_workflow(facts):
        return True
    if facts.order is None or facts.order.status not in (OrderStatus.CANCELLED, *GONE):
        return False
    payment, held = facts.payment, facts.reservation
    holds = payment is not None and payment.status in (PaymentStatus.AUTHORIZED, PaymentStatus.VOIDING)
    return holds or (held is not None and held.status == ReservationStatus.RESERVED)


def _databases(facts: Facts) -> Iterator[Verdict]:
    needed = {"orders"} | {step.task_queue for step in (facts.run.steps if facts.run else ())}
    for service in SERVICES:
        error = facts.unread.get(service)
        if error is None:
            continue
        if service in needed:
            yield Verdict(
                Cause.DATABASE_AWAY,
                "waits",
                f"It waits for the {service} database, which {facts.complaint(service)} ({error}).",
                f"{_remedy(facts, service, f'Start the Postgres of {service}')}; what was accepted goes on by itself.",
                group=f"the {service} database {facts.complaint(service)}",
                unread=service,
            )
        else:
            yield _not_read(facts, service, f"the {service} database")
    if "gateway" in facts.unread and not any(step.failure for step in (facts.run.steps if facts.run else ())):
        yield _not_read(facts, "gateway", "the payment gateway")


#: Where the key or password stands with which a source may be asked.
_CREDENTIALS: Final[dict[Source, str]] = {
    "temporal": "ORDERFLOW_TEMPORAL_API_KEY",
    **{service: f"ORDERFLOW_{service.upper()}_DATABASE_URL" for service in SERVICES},
}


def _remedy(facts: Facts, source: Source, start: str) -> str:
    """What to do about an unread source that is waited for."""
    complaint = facts.complaint(source)
    if complaint == AccessDenied.complaint:
        return f"Set {_CREDENTIALS[source]} right, here and where OrderFlow runs"
    if complaint == Failing.complaint:
        return "See to what the error says"
    return f"{start}, or see the network between"


def _not_read(facts: Facts, source: Source, what: str) -> Verdict:
    complaint, error = facts.complaint(source), facts.unread[source]
    return Verdict(
        Cause.NOT_READ,
        "moving",
        f"What {what} knows of it is missing here: it {complaint} ({error}).",
        f"See why {what} {complaint}; this order does not wait for it now.",
        group=f"{what} {complaint}",
        unread=source,
    )


def _disagrees(facts: Facts) -> Iterator[Verdict]:
    if facts.unread.keys() & {"temporal", "orders", "payments", "inventory"}:
        return
    for finding, meaning, do in leftovers(facts, GRACE):
        yield Verdict(Cause.DISAGREES, "wrong", meaning, do, finding.since, f"{finding.kind}")


def _nothing_under_way(facts: Facts) -> Iterator[Verdict]:
    run, order = facts.run, facts.order
    if run is None or order is None or run.state != "running" or run.is_at_work or run.paused or facts.handover:
        return
    since = order.pending_since or order.updated_at
    if waits_for_its_workflow(facts) and run.status == order.status and late(facts, since):
        yield Verdict(
            Cause.NOTHING_UNDER_WAY,
            "wrong",
            f"It waits for its workflow: {stands(facts)}, its workflow runs, and nothing is under way in it.",
            f"`orderflow order nudge {facts.order_id} --reason …` has it look at its row; if that does not help, "
            "`orderflow order reset` has it begin again.",
            since,
            "its workflow does nothing",
        )


def _cancel_stands(facts: Facts) -> Iterator[Verdict]:
    run, order = facts.run, facts.order
    if run is None or run.cancelled_at is None or order is None or LIFECYCLE.is_final(order.status):
        return
    said = f"Somebody cancelled its workflow in Temporal {age(facts.now, run.cancelled_at)} ago"
    if LIFECYCLE.allows("cancel", order.status):
        when = "as soon as its ship has ended" if order.pending else "with the next task of its workflow"
        what, do = f"{said}: the order is to be cancelled, {when}.", "Nothing: the cancel stands, and is tried again."
    else:
        what, do = f"{said}: that came too late, the order is {order.status}.", "Nothing: it goes on as before."
    yield Verdict(Cause.CANCEL_STANDS, "moving", what, do, run.cancelled_at)


def _calm(facts: Facts, *, troubled: bool) -> Iterator[Verdict]:
    order, run = facts.order, facts.run
    if order is None:
        return  # its row cannot be read, which is said
    at_work = facts.handover is not None or (run is not None and run.state == "running" and run.is_at_work)
    if LIFECYCLE.is_final(order.status):
        if troubled:
            return
        if at_work or (run is not None and run.state == "running"):
            yield _moving(facts, f"it is {order.status}, and what follows is under way", order.updated_at)
        else:
            why = f" ({facts.reason})" if facts.reason else ""
            yield Verdict(Cause.DONE, "done", f"Done: {order.status}{why}.", "Nothing is left to do.", order.updated_at)
    elif actions := () if at_work or waits_for_its_workflow(facts) else allowed_actions(order.status):
        yield Verdict(
            Cause.CUSTOMER,
            "customer",
            f"It is {order.status} and waits for its customer: {' or '.join(actions)}{_until(facts)}.",
            "Up to the customer, or to you: " + ", ".join(f"`orderflow order {name}`" for name in actions) + ".",
            order.updated_at,
        )
    elif not troubled:
        yield _moving(facts, f"{stands(facts)}, and {_under_way(facts)}", order.pending_since or order.updated_at)


def _until(facts: Facts) -> str:
    until = ""
    if facts.expires_at is not None:
        over = facts.expires_at < facts.now
        until = f"; it {'was to expire' if over else 'expires'} at {clock(facts.expires_at)}"
        until += ", and the next sweep of an orders worker cancels it" if over else ""
    return f"{until}; its last ship was refused: {short(facts.refused_ship)}" if facts.refused_ship else until


def _under_way(facts: Facts) -> str:
    if facts.handover is not None:
        return f"Temporal is about to be told of {facts.handover.name}"
    run = facts.run
    if run is not None and run.steps:
        steps = ", ".join(step.name for step in run.steps)
        return f"{steps} {'are' if len(run.steps) > 1 else 'is'} under way"
    if run is not None and run.task is not None and run.task.started_at is not None:
        return "an orders worker is at it"
    return "its next task is under way"


def _moving(facts: Facts, what: str, since: datetime | None) -> Verdict:
    return Verdict(
        Cause.MOVING,
        "moving",
        f"Nothing is late: {what}.",
        "Look again in a few seconds (`orderflow order watch`).",
        since,
    )


_RULES: Final[tuple[Callable[[Facts], Iterator[Verdict]], ...]] = (
    _unknown,
    _temporal,
    _databases,
    handover,
    workflow_task,
    transition,
    steps,
    _disagrees,
    _nothing_under_way,
    _cancel_stands,
    stream,
    tracking,
)
