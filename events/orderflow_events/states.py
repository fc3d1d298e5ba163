"""How a consumer stands: what ``on_state`` is told."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class StateKind(StrEnum):
    """What a consumer does at the moment. Only OK is ready."""

    OK = "ok"
    #: The group has not given it partitions yet.
    STARTING = "starting"
    #: Kafka or the database is away, or an event fails: it tries again by itself.
    FAILING = "failing"
    #: It holds at an event, a gap or the limit of dead letters, until a person mends something.
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class ConsumerState:
    """``detail`` says in a sentence what is wrong, for people; empty where nothing is."""

    kind: StateKind
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.kind}: {self.detail}" if self.detail else self.kind.value


OK: Final = ConsumerState(StateKind.OK)
STARTING: Final = ConsumerState(StateKind.STARTING, "waiting for an assignment")
