"""Bugs that a hurried change could bring, each one rule wrong, with the invariant that it breaks and where."""

from dataclasses import dataclass
from typing import Final

from orderflow.domain.lifecycle import Lifecycle
from unit.model.rules import ORDERS, Rules
from unit.model.state import Handover, Inbox, Row, Run, Step, World


class DeletesWithoutTheNumber(Rules):
    """A handover is deleted though a newer one was written since it was sent."""

    def is_told(self, handover: Handover, sent: int) -> bool:
        return True


class BelievesSignals(Rules):
    """What a signal says is adopted."""

    def signal(self, status: str, version: int) -> Inbox:
        return Inbox(looks=True, content=(status, version))

    def sees(self, run: Run, row: Row) -> tuple[str | None, int]:
        return run.note or (row.status, row.version)


class LeavesFinalOrdersAlone(Rules):
    """Reconciliation starts nothing for a final order, whatever it holds."""

    def has_unfinished_business(self, world: World) -> bool:
        return False


class DeletesTheTokenWithTheHandover(Rules):
    """Once Temporal was told, the token is deleted."""

    def row_once_told(self, row: Row) -> Row:
        return row._replace(token=False)


class KnowsShipsByVersion(Rules):
    """A pending ship is new where the row's version is: a refused one, and the next, leave it as it is."""

    def takes_ship(self, run: Run, row: Row) -> Run:
        if run.note == ("ship", row.version):
            return run
        taken = super().takes_ship(run, row)
        return run if taken is run else taken._replace(note=("ship", row.version))


class AdoptsOlderVersions(Rules):
    """A run adopts what its command came to, though it holds a later version."""

    def told_outcome(self, row: Row, command_id: str) -> tuple[str | None, int]:
        if command_id not in row.done:
            return row.status, row.version
        version = row.done.index(command_id) + 1
        return row.history[version - 1], version

    def is_newer(self, run: Run, version: int) -> bool:
        return version != run.version


class ForgetsARefusedCancel(Rules):
    """An operator's cancel that was refused once is not tried again."""

    def after_a_refused_cancel(self, run: Run) -> Run:
        return run._replace(cancel_stands=False)


class RecordsRefusedCancels(Rules):
    """The refusal of an operator's cancel is recorded, and stays the answer."""

    def row_once_refused(self, row: Row, command_id: str) -> Row:
        return row._replace(refused=(*row.refused, command_id))


class ContinuesWhileACancelIsDue(Rules):
    """A run that continues as new forgets the operator's cancel."""

    def may_continue_as_new(self, run: Run) -> bool:
        return run.is_idle


class ExpiresWhateverItIs(Rules):
    """The sweep ends what is old and not final, and does not ask the LIFECYCLE."""

    def may_expire(self, status: str | None) -> bool:
        return status is not None and not ORDERS.is_final(status)


class ShutsOnlyWhatIsKnown(Rules):
    """Void and release do nothing where nothing is there, and leave the door open."""

    def may_shut(self, lifecycle: Lifecycle, command: str, status: str | None) -> bool:
        return status is not None and super().may_shut(lifecycle, command, status)


class FarUnderAnotherId(Rules):
    """The ordinary activity has a command id of its own."""

    def far(self, step: Step) -> Step:
        return step._replace(command_id=f"{step.command_id}:far")


class WaitsForADraft(Rules):
    """A run that finds a DRAFT waits for it, and nobody tells it when the DRAFT ends."""

    def has_nothing_to_run(self, run: Run) -> bool:
        return run.status is None


class CompletesWhereThereIsNoOrder(Rules):
    """A run that finds no row comes to its end, and no approve starts another."""

    def may_end(self, run: Run) -> bool:
        return super().may_end(run) or (run.is_idle and run.status is None)


class EndsWhileAStepRuns(Rules):
    """A run ends as soon as its order is final."""

    def may_end(self, run: Run) -> bool:
        return ORDERS.is_final(run.status) and not run.looks


class RejectsEveryOtherStart(Rules):
    """A message starts nothing where a run was terminated (Temporal's REJECT_DUPLICATE)."""

    def may_start(self, state: str, *, again: bool) -> bool:
        return state == "none"


class GatewayForgetsRefusals(Rules):
    """A refused capture is tried as a new one when it is repeated under its key."""

    def remembers_refusals(self) -> bool:
        return False


@dataclass(frozen=True)
class Planted:
    """``breaks``: the invariant; ``scenario``: where it is found."""

    rules: type[Rules]
    breaks: str
    scenario: str


PLANTED: Final = (
    Planted(DeletesWithoutTheNumber, "nothing is held or captured for a cancelled order", "messages"),
    Planted(BelievesSignals, "a run holds what its row has said", "forged"),
    Planted(LeavesFinalOrdersAlone, "nothing is held or captured for a cancelled order", "terminated"),
    Planted(DeletesTheTokenWithTheHandover, "no payable order is cancelled for its token", "terminated"),
    Planted(KnowsShipsByVersion, "no ship stays pending", "two ships"),
    Planted(AdoptsOlderVersions, "the version that a run holds never falls", "reset far ship"),
    Planted(
        ForgetsARefusedCancel, "an operator's cancel is done, or the order cannot be cancelled", "operator and ship"
    ),
    Planted(RecordsRefusedCancels, "a refusal writes nothing, but a ship's", "operator and ship"),
    Planted(
        ContinuesWhileACancelIsDue,
        "an operator's cancel is done, or the order cannot be cancelled",
        "operator and ship",
    ),
    Planted(ExpiresWhateverItIs, "an order that was approved does not expire", "drafts"),
    Planted(ShutsOnlyWhatIsKnown, "nothing is held or captured for a cancelled order", "no faults"),
    Planted(FarUnderAnotherId, "what was captured is shipped", "ship"),
    Planted(WaitsForADraft, "no run is open for an order that needs none", "drafts"),
    Planted(CompletesWhereThereIsNoOrder, "an order is not APPROVED for ever", "drafts"),
    Planted(EndsWhileAStepRuns, "a payment is not VOIDING for ever", "steps"),
    Planted(RejectsEveryOtherStart, "reconciliation comes to an end", "terminated ship"),
    Planted(GatewayForgetsRefusals, "what was captured is shipped", "ship"),
)
