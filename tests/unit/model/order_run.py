"""What the workflow does inside a task: one turn of its main coroutine at a time, each with one statement at most."""

from orderflow.domain.orders import GONE, OrderStatus
from unit.model.orders_database import move, record_ship, refuse_ship
from unit.model.rules import ORDERS, Rules
from unit.model.state import Row, Run, Step


def turn(run: Run, row: Row, rules: Rules) -> tuple[str, Run, Row] | None:
    """The main coroutine's next turn: what it does, and what comes of it; None: it waits."""
    if run.finished:
        name, outcome = run.finished[0]
        return f"takes {name}: {outcome}", *take_outcome(run, row, rules)
    if run.looks:
        return f"looks at {row.status} v{row.version}", look(run, row, rules), row
    if run.cancel_due:
        return "tries the operator's cancel", *cancel(run, row, rules)
    return None


def look(run: Run, row: Row, rules: Rules) -> Run:
    """Read the row, adopt it, and do what follows from it."""
    run = run._replace(looks=False, cancel_due=run.cancel_stands)
    status, version = rules.sees(run, row)
    if version < run.version:
        return run
    run = adopt_newer(run, status, version, rules)
    if run.status == OrderStatus.APPROVED:
        run = _secure(run, row)
    return rules.takes_ship(run, row)


def take_outcome(run: Run, row: Row, rules: Rules) -> tuple[Run, Row]:
    """A step has ended. An APPROVED order is judged when all outcomes that are there are known."""
    (name, outcome), *rest = run.finished
    run = run._replace(finished=tuple(rest))
    if name == "authorize":
        run = run._replace(payment=outcome)
    elif name == "reserve":
        run = run._replace(inventory=outcome)
    elif name == "capture" and run.ship is not None:
        return _end_ship(run, row, run.ship, outcome, rules)
    if run.status == OrderStatus.APPROVED and not run.finished:
        return _judge(run, row, rules)
    return run, row


def cancel(run: Run, row: Row, rules: Rules) -> tuple[Run, Row]:
    """An operator cancelled the workflow. What is refused now is tried again when something has changed."""
    run = run._replace(cancel_due=False)
    if run.ship is None and ORDERS.allows("cancel", run.status):
        run, row = _record(run, row, "cancel", "operator", rules)
    if row.status != OrderStatus.CANCELLED:
        run = rules.after_a_refused_cancel(run)
    return run, row


def adopt_newer(run: Run, status: str | None, version: int, rules: Rules) -> Run:
    """Take over the row's status, and do what follows from it, whoever wrote it."""
    if not rules.is_newer(run, version):
        return run
    run = run._replace(status=status, version=version, cancel_due=run.cancel_stands)
    if status in GONE:
        return _commit_stock(run)
    if status == OrderStatus.CANCELLED and was_approved(version) and not run.shuts:
        return run._replace(shuts=True).begins(Step("void", "w:void")).begins(Step("release", "w:release"))
    return run


def was_approved(version: int) -> bool:
    """Of a CANCELLED order: a DRAFT has version 1, so what was cancelled as one has version 2."""
    return version > 2


def _secure(run: Run, row: Row) -> Run:
    if run.payment is None:
        run = run.begins(Step("authorize", "w:authorize", row.token))
    if run.inventory is None:
        run = run.begins(Step("reserve", "w:reserve"))
    return run


def _commit_stock(run: Run) -> Run:
    return run if run.commits else run._replace(commits=True).begins(Step("commit", "w:commit"))


def _judge(run: Run, row: Row, rules: Rules) -> tuple[Run, Row]:
    refusals = [outcome for outcome in (run.payment, run.inventory) if outcome not in (None, "ok")]
    if refusals:
        return _record(run, row, "fail", refusals[0], rules)
    if run.payment is not None and run.inventory is not None:
        return _record(run, row, "fulfil", None, rules)
    return run, row


def _record(run: Run, row: Row, name: str, reason: str | None, rules: Rules) -> tuple[Run, Row]:
    """A transition of the workflow's own."""
    command_id = f"w:{name}"
    row = move(row, name, command_id, reason)
    if command_id not in row.done:
        row = rules.row_once_refused(row, command_id)
        run = run._replace(looks=True)
    return adopt_newer(run, *rules.told_outcome(row, command_id), rules), row


def _end_ship(run: Run, row: Row, ship: str, capture: str, rules: Rules) -> tuple[Run, Row]:
    """The capture is known: from here a captured order only goes forward."""
    if capture == "ok":
        run = _commit_stock(run)
        row = record_ship(row, ship)
    else:
        row = refuse_ship(row, ship)
        run = run._replace(looks=True)  # another ship may have been accepted since
    run = run._replace(ship=None, cancel_due=run.cancel_stands)
    return adopt_newer(run, *rules.told_outcome(row, ship), rules), row
