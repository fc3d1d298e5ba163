"""A lifecycle is data: one table of transitions an aggregate.

The store, the API's ``allowed_actions``, the docs' state diagram and the property tests all read it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from orderflow_events.models import Event

#: "No row yet", as a place to come from.
NOTHING: Final = None


@dataclass(frozen=True, slots=True)
class Transition:
    """``command`` moves a row from one of ``from_`` to ``to`` and appends ``event``."""

    command: str
    from_: tuple[str | None, ...]
    to: str
    event: type[Event]

    @property
    def starts(self) -> bool:
        """Whether it may make the row."""
        return NOTHING in self.from_

    @property
    def moves_from(self) -> tuple[str, ...]:
        """The statuses of an existing row that it may leave."""
        return tuple(status for status in self.from_ if status is not None)


class Lifecycle:
    """The transitions of one aggregate, and the questions that others ask about them."""

    def __init__(self, aggregate: str, *transitions: Transition) -> None:
        self.aggregate = aggregate
        self.transitions = transitions

    def transition(self, command: str, to: str | None = None) -> Transition:
        """The transition of ``command`` (to ``to``, where it has several). Raises KeyError for an unknown one."""
        for transition in self.transitions:
            if transition.command == command and to in (None, transition.to):
                return transition
        raise KeyError(f"{self.aggregate} has no command {command!r}" + (f" to {to}" if to else ""))

    def allows(self, command: str, status: str | None) -> bool:
        """Whether ``command`` may happen in ``status``."""
        return any(t.command == command and status in t.from_ for t in self.transitions)

    def allowed(self, status: str | None) -> tuple[str, ...]:
        """The commands that may happen in ``status``, in the table's order."""
        return tuple(dict.fromkeys(t.command for t in self.transitions if status in t.from_))

    def is_final(self, status: str | None) -> bool:
        """Whether nothing can happen any more."""
        return not self.allowed(status)

    @property
    def statuses(self) -> tuple[str, ...]:
        """Every status, in the table's order."""
        return tuple(dict.fromkeys(t.to for t in self.transitions))

    @cached_property
    def steps(self) -> Mapping[int, frozenset[tuple[str, str]]]:
        """What a row's n-th event can be, as (type, status), by its version n. No lifecycle has a way back."""
        steps: dict[int, frozenset[tuple[str, str]]] = {}
        reached: set[str | None] = {NOTHING}
        while taken := [t for t in self.transitions if reached & set(t.from_)]:
            steps[len(steps) + 1] = frozenset((t.event.type, t.to) for t in taken)
            reached = {t.to for t in taken}
        return steps

    @property
    def moves(self) -> frozenset[tuple[str | None, str]]:
        """From where to where a row may go, whatever the command; None: it is made. The database has the same table."""
        return frozenset((status, t.to) for t in self.transitions for status in t.from_)
