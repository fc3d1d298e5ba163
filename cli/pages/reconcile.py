"""How a finding of reconciliation looks on a terminal. Nothing here asks anybody anything."""

from typing import Final

from rich.text import Text

from operations.reconciliation.findings import Handled

_COLOURS: Final = {"repaired": "green", "failed": "red", "reported": ""}


def finding(handled: Handled) -> Text:
    """What is wrong with what, since when; the evidence; and what was done about it."""
    found = handled.finding
    evidence = ", ".join(f"{name} {value}" for name, value in found.evidence.items() if value is not None)
    by = f" by {found.repair}" if found.repair and handled.outcome != "reported" else ""
    return Text.assemble(
        (found.kind, "bold"),
        f"  {found.subject}  since {found.since:%Y-%m-%d %H:%M:%SZ}\n  {evidence}\n  ",
        (handled.outcome, _COLOURS[handled.outcome]),
        by,
        f" ({handled.detail})" if handled.detail else "",
    )
