"""From facts to a verdict: what an order waits for, in one sentence, and what to do, in another. Pure.

``verdicts_on`` gives every verdict that holds, the most urgent first; there is always one. Nothing younger than
``GRACE`` counts as late: an order in motion is moving.
"""

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Final

from operations.explain.causes import GRACE, Cause, Source, Verdict
from operations.explain.facts import Facts
from operations.explain.leftovers import leftovers
from operations.explain.stream import stream, tracking
from operations.explain.work import steps, transition, workflow_task
from operations.words import clock, short
from orderflow.domain.orders import LIFECYCLE, OrderStatus, allowed_actions
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
    if facts.unread.keys() & {"temporal", "orders"}:
        return
    if facts.order is None and facts.run is not None and facts.run.state == "missing":
        yield Verdict(
            Cause.UNKNOWN,
            "wrong",
            f"There is no order {facts.order_id}: it has no row and no workflow.",
            "Check the id and which stack the settings lead to (`orderflow status`); Temporal forgets a closed "
            "workflow after its retention.",
            group="no such order",
        )


def _temporal(facts: Facts) -> Iterator[Verdict]:
    error = facts.unread.get("temporal")
    if error is None:
        return
    final = facts.order is not None and LIFECYCLE.is_final(facts.order.status)
    said = "It is final; whether its workflow has ended is not known: " if final else "It waits for Temporal: "
    yield Verdict(
        Cause.TEMPORAL_AWAY,
        "waits",
        f"{said}Temporal does not answer ({error}).",
        "Start Temporal, or see the network between; nothing is lost, all workflows go on by themselves when it is "
        "back.",
        group="Temporal does not answer",
        unread="temporal",
    )


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
                f"It waits for the {service} database, which does not answer ({error}).",
                f"Start the Postgres of {service}, or see the network between; what was accepted goes on by itself.",
                group=f"the {service} database does not answer",
                unread=service,
            )
        else:
            yield _not_read(service, f"the {service} database", error)
    if "gateway" in facts.unread and not any(step.failure for step in (facts.run.steps if facts.run else ())):
        yield _not_read("gateway", "the payment gateway", facts.unread["gateway"])


def _not_read(source: Source, what: str, error: str) -> Verdict:
    return Verdict(
        Cause.NOT_READ,
        "moving",
        f"What {what} knows of it is missing here: it does not answer ({error}).",
        f"See why {what} does not answer; this order does not wait for it now.",
        group=f"{what} does not answer",
        unread=source,
    )


def _disagrees(facts: Facts) -> Iterator[Verdict]:
    if facts.unread.keys() & {"temporal", "orders", "payments", "inventory"}:
        return
    for finding, meaning, do in leftovers(facts, GRACE):
        yield Verdict(Cause.DISAGREES, "wrong", meaning, do, finding.since, f"{finding.kind}")


def _calm(facts: Facts, *, troubled: bool) -> Iterator[Verdict]:
    order, run = facts.order, facts.run
    if order is None:
        if run is not None and run.state == "closed" and run.ended == "COMPLETED" and "orders" not in facts.unread:
            refused = "Done: its placing was refused, so there is no row."
            yield Verdict(Cause.DONE, "done", refused, "Nothing is left to do; the problem stands below.", run.since)
        elif not troubled:
            yield _moving(facts, "it was accepted and is being placed", run.since if run else None)
        return
    if LIFECYCLE.is_final(order.status):
        if run is not None and run.state == "running" and not troubled:
            yield _moving(facts, f"it is {order.status}, and what follows is under way", order.updated_at)
        elif not troubled:
            why = f" ({facts.reason})" if facts.reason else ""
            yield Verdict(Cause.DONE, "done", f"Done: {order.status}{why}.", "Nothing is left to do.", order.updated_at)
        return
    if run is None:
        return  # without Temporal nobody can do anything
    busy = run.steps or run.task or run.transition or run.untaken
    actions = allowed_actions(order.status) if not order.pending else ()
    if order.status != OrderStatus.APPROVED and actions and not busy:
        until = f"; it expires at {clock(run.expires_at)}" if run.expires_at else ""
        until += f"; its last ship was refused: {short(facts.refused_ship)}" if facts.refused_ship else ""
        yield Verdict(
            Cause.CUSTOMER,
            "customer",
            f"It is {order.status} and waits for its customer: {' or '.join(actions)}{until}.",
            "Up to the customer, or to you: " + ", ".join(f"`orderflow order {name}`" for name in actions) + ".",
            order.updated_at,
        )
    elif not troubled:
        steps = ", ".join(step.name for step in run.steps)
        what = f"{steps or 'its next task'} {'are' if ', ' in steps else 'is'} under way"
        yield _moving(facts, f"it is {order.status}, and {what}", order.updated_at)


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
    workflow_task,
    transition,
    steps,
    _disagrees,
    stream,
    tracking,
)
