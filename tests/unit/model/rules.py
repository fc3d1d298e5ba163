"""The rules that a hurried change could break, one a method. A planted bug overrides one of them (``planted.py``).

Where the product has each of them stands in its docstring; what may move where, the LIFECYCLEs say.
"""

from typing import Final

from orderflow.domain import inventory, orders, payments
from orderflow.domain.inventory import ReservationStatus
from orderflow.domain.lifecycle import Lifecycle
from orderflow.domain.orders import GONE, OrderStatus
from orderflow.domain.payments import PaymentStatus
from unit.model.state import COMPLETED, NONE, TERMINATED, Handover, Inbox, Row, Run, Step, World

ORDERS: Final = orders.LIFECYCLE
PAYMENTS: Final = payments.LIFECYCLE
RESERVATIONS: Final = inventory.LIFECYCLE


class Rules:
    """The rule set of the product."""

    # --- Handovers: orderflow/store/handovers.py, orderflow/temporal/runs.py ---

    def is_told(self, handover: Handover, sent: int) -> bool:
        """Whether a handover is done with, now that Temporal has acknowledged the one with the number ``sent``."""
        return handover.number == sent

    def row_once_told(self, row: Row) -> Row:
        """What else the statement that deletes a handover does: nothing."""
        return row

    def may_start(self, state: str, *, again: bool) -> bool:
        """Whether a message starts a run where the latest is in ``state`` (Temporal's reuse policy)."""
        return state in (NONE, TERMINATED) or (state == COMPLETED and again)

    def wants_a_look(self, world: World) -> bool:
        """Whether reconciliation writes a handover: judged by rows, whatever Temporal remembers."""
        row = world.row
        if row.status == OrderStatus.APPROVED or row.pending is not None:
            return True
        return self.has_unfinished_business(world)

    def has_unfinished_business(self, world: World) -> bool:
        """Money or stock that a final order leaves behind; of a SHIPPED one, which is not final, its stock."""
        payment, stock = world.payments.status, world.inventory.status
        if world.row.status in GONE and stock != ReservationStatus.COMMITTED:
            return True
        if not ORDERS.is_final(world.row.status):
            return False
        if payment in (PaymentStatus.AUTHORIZED, PaymentStatus.VOIDING) or stock == ReservationStatus.RESERVED:
            return True
        return bool(world.gateway.status == "held" and payment is None)

    # --- The orders database: orderflow/store/commands.py, the sweep ---

    def may_expire(self, status: str | None) -> bool:
        """Whether the sweep may end an order in ``status``."""
        return ORDERS.allows("expire", status)

    def told_outcome(self, row: Row, command_id: str) -> tuple[str | None, int]:
        """Status and version that the answer to a command names: the row's, also where the command is a replay."""
        return row.status, row.version

    def row_once_refused(self, row: Row, command_id: str) -> Row:
        """What a refused command of the workflow's own leaves behind: nothing."""
        return row

    # --- The workflow: workflows/order_workflow.py ---

    def signal(self, status: str, version: int) -> Inbox:
        """What a signal with this content comes to: a look."""
        return Inbox(looks=True)

    def sees(self, run: Run, row: Row) -> tuple[str | None, int]:
        """Status and version that a look adopts: the row's."""
        return row.status, row.version

    def is_newer(self, run: Run, version: int) -> bool:
        """Whether a run adopts what has this version."""
        return version > run.version

    def takes_ship(self, run: Run, row: Row) -> Run:
        """Capture for a pending ship, known by its command id; one at a time."""
        if row.pending is None or run.ship is not None:
            return run
        return run._replace(ship=row.pending).begins(Step("capture", f"w:capture:{row.pending}"))

    def after_a_refused_cancel(self, run: Run) -> Run:
        """An operator's cancel stands until it is accepted, or the run is over."""
        return run

    def has_nothing_to_run(self, run: Run) -> bool:
        """Whether a run fails, so that the approve starts another: somebody started it before its time."""
        return run.status in (None, OrderStatus.DRAFT)

    def may_end(self, run: Run) -> bool:
        """Whether a run comes to its end."""
        return run.is_idle and run.status not in (None, OrderStatus.DRAFT, *orders.ORCHESTRATED)

    def may_continue_as_new(self, run: Run) -> bool:
        """Whether a run may forget everything and look again: nothing that it knows alone would be lost."""
        return run.is_idle and not run.cancel_due

    def far(self, step: Step) -> Step:
        """The ordinary activity after a near attempt without an answer: the same command id, so they are one."""
        return step

    # --- The services: activities/payments.py, activities/inventory.py ---

    def may_shut(self, lifecycle: Lifecycle, command: str, status: str | None) -> bool:
        """Whether void or release moves a row: also from nothing."""
        return lifecycle.allows(command, status)

    def remembers_refusals(self) -> bool:
        """Whether the gateway keeps a refused capture under its key: what else a late attempt may do."""
        return True
