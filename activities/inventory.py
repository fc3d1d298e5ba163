"""What the inventory service does for an order."""

from temporalio import activity

from orderflow.domain.commands import Command
from orderflow.domain.inventory import ReservationStatus
from orderflow.domain.orders import Reason
from orderflow.store.reservations import Reservations
from workflows.steps import CloseDoor, InventorySteps, ReserveInventory, StepOutcome, Trace


class InventoryActivities(InventorySteps):
    """Sets stock aside, gives it back, or lets it go."""

    def __init__(self, reservations: Reservations) -> None:
        self._reservations = reservations

    @activity.defn
    async def reserve_inventory(self, request: ReserveInventory) -> StepOutcome:
        """All lines or none: ok, refused, or shut."""
        order_id = request.order_id
        outcome = await self._reservations.reserve(order_id, _command("reserve", request.trace), request.lines)
        if outcome.state == "refused":
            return StepOutcome(state="shut")
        if outcome.status == ReservationStatus.REJECTED:
            reason = await self._reservations.reason(order_id)
            return StepOutcome(state="refused", reason=Reason(reason or Reason.OUT_OF_STOCK))
        return StepOutcome(state="ok")

    @activity.defn
    async def commit_inventory(self, request: CloseDoor) -> StepOutcome:
        """The stock leaves: ok."""
        outcome = await self._reservations.commit(request.order_id, _command("commit", request.trace))
        if outcome.row_status == ReservationStatus.COMMITTED:
            return StepOutcome(state="ok")
        return StepOutcome(state="too_late", detail=f"the reservation is {outcome.row_status or 'not there'}")

    @activity.defn
    async def release_inventory(self, request: CloseDoor) -> StepOutcome:
        """Nothing stays reserved: ok, or too_late."""
        outcome = await self._reservations.release(request.order_id, _command("release", request.trace))
        if outcome.row_status == ReservationStatus.COMMITTED:
            return StepOutcome(state="too_late", detail="the stock has left the warehouse")
        return StepOutcome(state="ok")


def _command(name: str, trace: Trace) -> Command:
    return Command(name=name, id=f"w:{name}", correlation_id=trace.correlation_id, traceparent=trace.traceparent)
