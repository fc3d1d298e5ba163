"""How a replay that failed looks: on a terminal, and as JSON. Nothing here asks anybody anything."""

from collections.abc import Iterator
from typing import Any, Final

from rich.text import Text

from operations.replaying.replayer import Failed, Replayed

#: Of a message, which can have a stack behind it.
_LINES: Final = 12


def failure(failed: Failed) -> Iterator[Text]:
    """Which history, the first difference, and the message as Temporal's core gave it."""
    found = failed.difference
    yield Text(f"{failed.workflow_id} (run {failed.run_id})", style="bold")
    if not found.nondeterministic:
        at = f" at the workflow task of event {found.event_id}" if found.event_id is not None else ""
        yield Text(f"  the code failed{at}:", style="red")
    elif found.recorded is not None:
        where = f"event {found.event_id}, " if found.event_id is not None else ""
        yield Text(f"  first difference: {where}{found.recorded}", style="red")
        yield Text(f"  the code wanted: {found.wanted}")
    for line in found.message.strip().splitlines()[:_LINES]:
        yield Text(f"  {line}", style="dim")


def document(done: Replayed) -> dict[str, Any]:
    """The whole replay for programs."""
    return {
        "replayed": done.count,
        "failed": done.failed,
        "events": done.events,
        "seconds": round(done.seconds, 3),
        "per_second": round(done.rate, 1),
        "failures": [
            {
                "workflow_id": failed.workflow_id,
                "run_id": failed.run_id,
                "nondeterministic": failed.difference.nondeterministic,
                "event_id": failed.difference.event_id,
                "recorded": failed.difference.recorded,
                "wanted": failed.difference.wanted,
                "message": failed.difference.message,
            }
            for failed in done.failures
        ],
    }
