"""One line of the check: what was compared, its numbers in words, and what differs."""

from dataclasses import dataclass
from typing import Final

from operations.demo.evidence import EventId

#: So many differences are named; the rest is counted.
SHOWN: Final = 3


@dataclass(frozen=True, slots=True)
class Comparison:
    """One comparison. ``said``: its numbers in words; ``wrong``: what differs, the first few."""

    what: str
    said: str
    wrong: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing differs."""
        return not self.wrong


def compared(what: str, said: str, wrong: list[str]) -> Comparison:
    """A line; of what is ``wrong`` the first few are kept."""
    more = len(wrong) - SHOWN
    return Comparison(what, said, tuple(wrong[:SHOWN]) + ((f"and {more} more",) if more > 0 else ()))


def name(event: EventId) -> str:
    """An event's id, as its CloudEvent has it."""
    service, order_id, version = event
    return f"{service}/{order_id}/{version}"
