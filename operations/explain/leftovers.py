"""What disagrees about one order: reconciliation's own rules, asked about a single order. Pure."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Final

from operations.explain.facts import Facts, Run
from operations.reconciliation import facts as reconciled
from operations.reconciliation.findings import ABOUT, Finding, Kind, Repair
from operations.reconciliation.rules import findings_in
from orderflow.gateways.protocol import MoneyFact
from orderflow.temporal.runs import RunFact

_FOREVER: Final = timedelta(days=36_500)
#: Said better by the other rules, or said by them when the workflow is at it.
_ELSEWHERE: Final = frozenset({Kind.HANDOVER_WAITS, Kind.WAITS_LONG, Kind.OUTBOX_WAITS, Kind.ORDER_PARKED})
#: The workflow is about to put these right while it has something under way.
_AT_IT: Final = frozenset(
    {
        Kind.WORKFLOW_LEFT_OPEN,
        Kind.ROW_AHEAD_OF_WORKFLOW,
        Kind.VOIDING_LONG,
        Kind.CAPTURED_NOT_SHIPPED,
        Kind.SHIPPED_NOT_COMMITTED,
        Kind.MONEY_WITHOUT_PAYMENT,
        Kind.MONEY_AGAINST_PAYMENT,
    }
)


def leftovers(facts: Facts, older_than: timedelta) -> Iterator[tuple[Finding, str, str]]:
    """What reconciliation would find about this order alone: the finding, what it means, what to do."""
    run = facts.run
    if run is None:
        return
    busy = run.state == "running" and run.is_at_work
    for finding in findings_in(_as_reconciliation_sees_it(facts, run), _limits(older_than)):
        if finding.kind in _ELSEWHERE or (busy and finding.kind in _AT_IT):
            continue
        about = ABOUT[finding.kind]
        if finding.repair is Repair.LOOK:
            do = (
                f"`orderflow order nudge {facts.order_id} --reason …` has its workflow look now, or begin; "
                "`orderflow reconcile --repair` does it (look), once it has stood for a minute."
            )
        elif finding.repair is not None:
            do = f"`orderflow reconcile --repair` repairs it ({finding.repair}), once it has stood for a minute."
        else:
            why = f"{finding.why_not}: " if finding.why_not else ""
            do = f"No safe repair: {why}{about.remedy}"
        yield finding, about.meaning, do


def _as_reconciliation_sees_it(facts: Facts, run: Run) -> reconciled.Facts:
    order_id, held = facts.order_id, facts.reservation
    seen = RunFact(run.state, run.since, run.status, run.ended, run.run_id)
    money = facts.money
    return reconciled.Facts(
        now=facts.now,
        orders={order_id: facts.order} if facts.order else {},
        payments={order_id: facts.payment} if facts.payment else {},
        reservations={order_id: held} if held and held.status == "RESERVED" else {},
        runs={} if run.state == "missing" else {order_id: seen},
        money=None
        if "gateway" in facts.unread
        else {
            order_id: MoneyFact(
                order_id, "authorized" if money.held else "captured", money.amount, money.currency, money.since
            )
        }
        if money
        else {},
        handovers={order_id: facts.handover} if facts.handover else {},
    )


def _limits(older_than: timedelta) -> reconciled.Limits:
    return reconciled.Limits(
        older_than=older_than,
        stuck=_FOREVER,
        waiting=_FOREVER,
        authorization_age=timedelta(days=6),
        outbox=_FOREVER,
        window=_FOREVER,
    )
