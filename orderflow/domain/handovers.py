"""Handovers: "Temporal must look at this order". They carry nothing that a workflow would believe."""

from dataclasses import dataclass
from typing import Final
from uuid import UUID

#: The name of one that no command wrote: reconciliation, or an operator, wants the workflow to look.
LOOK: Final = "look"


@dataclass(frozen=True, slots=True)
class Handover:
    """One, as it was read. ``name``: of the command that wrote the row last, for people in the Web UI.

    ``number``: raised by each write of the row; only the handover with the number that was sent is done with.
    ``again``: a run is started although one came to its end. ``attempts``: how often it was sent before.
    """

    order_id: UUID
    number: int
    name: str
    again: bool = False
    attempts: int = 0
