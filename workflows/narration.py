"""What people read in the Temporal Web UI: where the order stands and what it waits for."""

from collections.abc import Iterator, Mapping

from orderflow.domain.orders import OrderStatus, allowed_actions
from workflows.steps import StepOutcome

_RUNNING = {
    "authorize": "the payment service to authorize the payment",
    "reserve": "the inventory service to reserve the stock",
    "capture": "the payment service to capture the payment",
    "commit": "the inventory service to commit the stock",
    "void": "the payment service to void the payment",
    "release": "the inventory service to release the stock",
}


def waits_for(status: str | None, steps: Mapping[str, StepOutcome | None]) -> Iterator[str]:
    """One phrase for each thing the order waits for; none when it is over."""
    if status is None:
        yield "the orders database to tell its row"
        return
    for name, outcome in steps.items():
        if outcome is None:
            # A step that nobody has put into words is told by its name.
            yield _RUNNING.get(name, f"the step {name}")
    # While its capture is under way nobody can ship or cancel it.
    if status == OrderStatus.FULFILLING and "capture" not in steps:
        yield f"somebody to {' or '.join(allowed_actions(status))} it"


def details(status: str | None, version: int, total: str | None, steps: Mapping[str, StepOutcome | None]) -> str:
    """Markdown for the workflow's page. ``total``: such as ``1.98 USD``, where it is known."""
    lines = [f"**{status or 'not looked yet'}** (version {version}){f', {total}' if total else ''}"]
    waiting = list(waits_for(status, steps))
    lines.append("Waits for " + ", and for ".join(waiting) + "." if waiting else "Nothing is left to do here.")
    for name, outcome in steps.items():
        if outcome is not None:
            why = f": {outcome.reason}" if outcome.reason else ""
            lines.append(f"- {name}: {outcome.state}{why}")
    return "\n\n".join(lines[:2]) + ("\n\n" + "\n".join(lines[2:]) if lines[2:] else "")
