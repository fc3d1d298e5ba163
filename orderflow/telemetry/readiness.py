"""Whether a part of a process is ready: the type that parts report and that ``/health/ready`` answers with."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class PartKind(StrEnum):
    """What a part does at the moment. Only OK is ready."""

    OK = "ok"
    #: It has begun and has not reached what it needs.
    STARTING = "starting"
    #: Something that it needs is away or wrong; it tries again by itself.
    WAITING = "waiting"
    #: It holds part of its work until a person mends something. The rest of it goes on.
    STOPPED = "stopped"
    #: It was told to stop, and finishes what it has begun.
    STOPPING = "stopping"


@dataclass(frozen=True, slots=True)
class PartState:
    """``detail`` says in a sentence what is wrong, for people; empty where nothing is."""

    kind: PartKind
    detail: str = ""

    def document(self) -> dict[str, str]:
        """As JSON: ``{"state": "waiting", "detail": "..."}``, as the API has it of its dependencies."""
        return {"state": self.kind.value, "detail": self.detail}


OK: Final = PartState(PartKind.OK)
STARTING: Final = PartState(PartKind.STARTING)
STOPPING: Final = PartState(PartKind.STOPPING)
