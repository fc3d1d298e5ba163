"""From facts to findings. Pure: ``reconciler`` says what is read when, ``repairs`` what is done about it.

Only what has stood for ``Limits.older_than`` counts: every row and run that a finding rests on must be that old, so
that nothing in motion is reported.
"""

from collections.abc import Callable, Iterator
from typing import Final

from operations.reconciliation.cases import Case, cases
from operations.reconciliation.facts import Facts, Limits
from operations.reconciliation.findings import Finding, Kind, Repair
from orderflow.domain.orders import GONE, LIFECYCLE, OrderStatus
from orderflow.domain.payments import PaymentStatus

_AT_IT: Final = "the order's workflow runs and repeats it by itself"
_NO_ROW: Final = "there is no order's row that says CANCELLED"


def findings_in(facts: Facts, limits: Limits) -> list[Finding]:
    """Everything that is wrong, in the order of the kinds, of each the oldest first."""
    found = [
        finding
        for case in cases(facts, limits)
        for rule in _RULES
        for finding in rule(case)
        if not (finding.repair is Repair.LOOK and case.handover is not None)  # it will be looked at
    ]
    found += _of_stock(facts)
    found += _of_events(facts)
    found += _of_forgotten(facts, limits)
    found += _of_false(facts)
    order = list(Kind)
    return sorted(found, key=lambda finding: (order.index(finding.kind), finding.since, finding.subject))


# --- Rules: each looks at one order ---


def _workflow(case: Case) -> Iterator[Finding]:
    order, run = case.order, case.run
    if order is None or order.status == OrderStatus.DRAFT or case.handover is not None:
        return  # a DRAFT has no workflow; what Temporal has not been told yet is HANDOVER_WAITS
    if not case.stands(order.updated_at, run.since):
        return
    if not case.orchestrated:
        if case.runs:
            idle = run.busy == () or run.status != order.status
            yield case.finding(
                Kind.WORKFLOW_LEFT_OPEN,
                order.updated_at,
                repair=Repair.LOOK if idle else None,
                why_not=f"under way: {', '.join(run.busy)}" if run.busy else "no worker answers for it",
            )
    elif run.ended == "COMPLETED" and run.status is not None and _leads(order.status, run.status):
        yield case.finding(Kind.ROW_BEHIND_WORKFLOW, order.updated_at, why_not="its workflow has ended")
    elif not case.runs:
        yield case.finding(
            Kind.WORKFLOW_GONE, order.updated_at, run.since, repair=Repair.LOOK, pending_ship=order.pending_ship
        )
    elif run.status not in (None, order.status) and run.version != order.version:
        behind = run.version > order.version if run.version is not None else _leads(order.status, str(run.status))
        yield case.finding(
            Kind.ROW_BEHIND_WORKFLOW if behind else Kind.ROW_AHEAD_OF_WORKFLOW,
            order.updated_at,
            repair=None if behind else Repair.LOOK,
            why_not="what the database lost cannot be made up",
        )


def _handover(case: Case) -> Iterator[Finding]:
    waiting = case.handover
    if waiting is None:
        return
    # What Temporal refuses does not go away by waiting.
    longer_than = case.limits.stuck if waiting.refused is None else None
    if case.stands(waiting.written_at, longer_than=longer_than):
        why_not = f"Temporal refuses it: {waiting.refused}" if waiting.refused else "Temporal is told again by itself"
        yield case.finding(Kind.HANDOVER_WAITS, waiting.written_at, why_not=why_not, attempts=waiting.attempts)


def _payment(case: Case) -> Iterator[Finding]:
    payment, order = case.payment, case.order
    since = (case.payment_at, case.order_at)
    if payment is None or not case.stands(*since):
        return
    match payment.status:
        case PaymentStatus.VOIDING:
            repair = Repair.LOOK if case.can_begin else None
            why_not = _AT_IT if case.runs else _NO_ROW
            yield case.finding(Kind.VOIDING_LONG, *since, repair=repair, why_not=why_not)
        case PaymentStatus.CAPTURED if order is None or order.status not in GONE:
            repair = Repair.LOOK if case.live and case.can_begin else None
            why_not = _AT_IT if case.live else "whether to refund it is for people to say"
            yield case.finding(Kind.CAPTURED_NOT_SHIPPED, *since, repair=repair, why_not=why_not)
        case PaymentStatus.AUTHORIZED if order is not None and order.status in GONE:
            yield case.finding(Kind.SHIPPED_NOT_CAPTURED, *since, why_not="nobody asked for this capture")
        case PaymentStatus.AUTHORIZED if case.live:
            if case.stands(payment.created_at, longer_than=case.limits.authorization_age):
                yield case.finding(
                    Kind.AUTHORIZATION_LAPSING,
                    payment.created_at,
                    why_not="a new authorization needs the customer",
                    authorized_at=payment.created_at.isoformat(),
                )
        case PaymentStatus.AUTHORIZED if not case.runs and case.stands(case.run.since):
            repair = Repair.LOOK if case.cancelled else None
            yield case.finding(Kind.AUTHORIZATION_WITHOUT_ORDER, *since, case.run.since, repair=repair, why_not=_NO_ROW)


def _money(case: Case) -> Iterator[Finding]:
    payment, money, order = case.payment, case.money, case.order
    if not case.money_is_known:
        return
    moments = (money.since if money else None, case.payment_at, case.order_at)
    if not case.stands(*moments):
        return
    if money is None:
        if payment is not None and payment.status == PaymentStatus.AUTHORIZED:
            yield case.finding(Kind.HOLD_MISSING, *moments, why_not="a new authorization needs the customer")
        return
    if payment is None:
        if case.runs and not case.live:
            return  # its workflow shuts the doors; WORKFLOW_LEFT_OPEN says if that takes long
        ours = order is not None or case.run.state != "missing"
        yield case.finding(
            Kind.MONEY_WITHOUT_PAYMENT,
            *moments,
            repair=Repair.LOOK if case.cancelled else None,
            why_not="the order's workflow records it when it repeats the call" if ours else "no order of ours",
        )
    elif payment.status in (PaymentStatus.VOIDED, PaymentStatus.DECLINED):
        yield case.finding(Kind.MONEY_AGAINST_PAYMENT, *moments, repair=Repair.VOID_AT_GATEWAY)
    elif (payment.status, money.status) in (
        (PaymentStatus.AUTHORIZED, "captured"),
        (PaymentStatus.CAPTURED, "authorized"),
    ):
        why_not = _AT_IT if case.runs else "the two must be compared by people"
        yield case.finding(Kind.MONEY_AGAINST_PAYMENT, *moments, why_not=why_not)


def _reservation(case: Case) -> Iterator[Finding]:
    held, order = case.reservation, case.order
    if held is None or not case.stands(held.updated_at, case.order_at):
        return
    since = (held.updated_at, case.order_at)
    if order is not None and order.status in GONE:
        repair = None if case.runs else Repair.LOOK
        yield case.finding(Kind.SHIPPED_NOT_COMMITTED, *since, repair=repair, why_not=_AT_IT)
    elif not case.live and not case.runs and case.stands(case.run.since):
        repair = Repair.LOOK if case.cancelled else None
        yield case.finding(Kind.RESERVATION_WITHOUT_ORDER, *since, case.run.since, repair=repair, why_not=_NO_ROW)


def _waiting(case: Case) -> Iterator[Finding]:
    order, limits = case.order, case.limits
    if order is None or (case.orchestrated and not case.runs):
        return  # WORKFLOW_GONE says that
    if order.pending_since is not None:
        since, limit, waits_for, why_not = order.pending_since, limits.stuck, "its capture", _AT_IT
    else:
        since = order.updated_at
        match order.status:
            case OrderStatus.APPROVED:
                limit, waits_for, why_not = limits.stuck, "payment and stock", _AT_IT
            case OrderStatus.FULFILLING:
                limit, waits_for, why_not = limits.waiting, "its ship", "it is for people to ship it"
            case OrderStatus.SHIPPED:
                limit, waits_for, why_not = limits.waiting, "its complete", "it is for people to complete it"
            case _:
                return
    if since is not None and case.stands(since, longer_than=limit):
        yield case.finding(Kind.WAITS_LONG, since, why_not=why_not, waits_for=waits_for)


_RULES: Final[tuple[Callable[[Case], Iterator[Finding]], ...]] = (
    _workflow,
    _handover,
    _payment,
    _money,
    _reservation,
    _waiting,
)


def _leads(earlier: str, later: str) -> bool:
    """Whether an order can come from one status to the other."""
    seen, reached = set(), {earlier}
    while reached:
        status = reached.pop()
        seen.add(status)
        reached |= {t.to for t in LIFECYCLE.transitions if status in t.from_} - seen
    return later in seen - {earlier}


# --- Rules about stock and events: each database was read in one snapshot ---


def _of_stock(facts: Facts) -> Iterator[Finding]:
    for stock in facts.stock:
        about = {"subject": stock.sku, "since": stock.updated_at}
        if stock.on_hand != stock.moved:
            evidence = {"on_hand": stock.on_hand, "movements": stock.moved}
            why_not = "only a count in the warehouse tells which is right"
            yield Finding(kind=Kind.STOCK_DIFFERS, evidence=evidence, why_not=why_not, **about)
        if stock.reserved != stock.held:
            evidence = {"reserved": stock.reserved, "reservations": stock.held}
            why_not = "somebody wrote around the write rule: find out who first"
            yield Finding(kind=Kind.RESERVED_DIFFERS, evidence=evidence, why_not=why_not, **about)


def _of_events(facts: Facts) -> Iterator[Finding]:
    for waiting in facts.outbox:
        yield Finding(
            kind=Kind.OUTBOX_WAITS,
            subject=waiting.database,
            since=waiting.oldest_at,
            evidence={"entries": waiting.entries},
            why_not="the relay catches up by itself",
        )
    for parked in facts.parked:
        yield Finding(
            kind=Kind.ORDER_PARKED,
            subject=f"{parked.database}/{parked.order_id}",
            order_id=parked.order_id,
            since=parked.parked_at,
            evidence={"version": parked.version, "error": parked.error},
            why_not="somebody must see why Kafka refuses it",
        )
    for stopped in facts.stopped:
        stop = stopped.stop
        yield Finding(
            kind=Kind.PARTITION_STOPPED,
            subject=f"{stopped.database}/partition {stop.partition}",
            since=stop.stopped_at,
            evidence={"cause": stop.cause, "offset": stop.offset, "found": stop.found},
            why_not="a topic that was deleted by mistake is not filled again by itself",
        )


def _of_forgotten(facts: Facts, limits: Limits) -> Iterator[Finding]:
    for forgotten in facts.forgotten:
        events = forgotten.events
        if facts.now - events.since > limits.older_than:
            yield Finding(
                kind=Kind.EVENTS_FORGOTTEN,
                subject=f"{forgotten.database}/{events.order_id}",
                order_id=events.order_id,
                since=events.since,
                evidence={"database": forgotten.database, "versions": list(events.versions)},
                repair=Repair.PUT_BACK,
            )


def _of_false(facts: Facts) -> Iterator[Finding]:
    """However young: an event is in its database before it can be tracked."""
    for false in facts.false:
        yield Finding(
            kind=Kind.TRACKED_FALSELY,
            subject=f"{false.service}/{false.order_id}",
            order_id=false.order_id,
            since=false.since,
            evidence={
                "source": false.source,
                "versions": list(false.said),
                "said": ", ".join(f"{status} v{version}" for version, status in false.said.items()),
            },
            repair=Repair.HEAL_TRACKING,
        )
