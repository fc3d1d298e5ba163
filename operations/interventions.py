"""What an operator may do to an order's workflow, with a reason: nudge it, or reset it to an earlier point.

Each is recorded before it happens (``operations/audit.py``), and both are harmless when repeated. Every function raises
NotPossible when there is nothing to do it to, and Unavailable when Temporal or the orders database gives no answer.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal
from uuid import UUID

from operations.audit import NotPossible, Tell, recorded
from operations.explain.runs import asking
from orderflow.domain.orders import OrderStatus
from orderflow.postgres.databases import open_database
from orderflow.settings import Settings
from orderflow.store import reconciliation as reads
from orderflow.store.handovers import Handovers
from orderflow.temporal.resets import NothingToReset, OrderResets, ResetPoint
from orderflow.temporal.runs import RunFact

#: Is asked before a running workflow is ended; raises what ends the reset.
Confirm = Callable[[RunFact, ResetPoint], None]
#: Where a reset goes back to: its last or first finished workflow task, or the event that finished one.
Point = Literal["last", "first"] | int


class NoSuchPoint(Exception):
    """No workflow task was finished with that event. ``points``: the events with which one was, in order."""

    def __init__(self, points: Sequence[int]) -> None:
        super().__init__("no workflow task was finished with that event")
        self.points = points


@dataclass(frozen=True, slots=True)
class Reset:
    """A reset that was done: where the new run goes on from, and which run it replaces."""

    recorded_as: str
    event_id: int
    run_id: str
    ended_run_id: str


async def nudge(settings: Settings, order_id: UUID, reason: str, tell: Tell) -> str:
    """Have Temporal look at the order's row again; a run begins where none runs. The record's id.

    Temporal itself may be away: it is told when it is back.
    """
    async with open_database(settings, "orders", "operator", pool_size=1) as database:
        order = (await reads.these_orders(database, [order_id])).get(order_id)
        if order is None:
            raise NotPossible("it has no row: there is nothing to look at", missing=True)
        if order.status == OrderStatus.DRAFT:
            raise NotPossible("it is a DRAFT, which has no workflow: its workflow begins with the approve")
        async with recorded(database, order_id, "nudge", reason, tell) as record:
            await Handovers(database).look(order_id)
    return record.id


async def reset(
    settings: Settings, order_id: UUID, reason: str, to: Point, *, confirm: Confirm | None, tell: Tell
) -> Reset:
    """Run the order's workflow again from an earlier point: a new run, which is handed all signals since.

    ``confirm`` is called before a running workflow is ended; None: it need not be. Raises NoSuchPoint.
    """
    runs = asking(settings)
    resets = OrderResets(runs)
    run = await runs.look(order_id)
    async with open_database(settings, "orders", "operator", pool_size=1) as database:
        if run.state == "missing" or run.run_id is None:
            known = order_id in await reads.these_orders(database, [order_id])
            remedy = "`orderflow order nudge` has one begin, if its row needs one" if known else "nor has it a row"
            raise NotPossible(f"Temporal remembers no workflow of it: {remedy}", missing=not known)
        if run.ended == "COMPLETED":
            raise NotPossible("its workflow came to its end")
        point = _chosen(await resets.reset_points(order_id, run.run_id), to)
        running = run.state == "running"
        if running and confirm is not None:
            confirm(run, point)
        said = f"{reason}; run {run.run_id}, from event {point.event_id}"
        async with recorded(database, order_id, "reset", said, tell) as record:
            # A closed run is reset once, whoever asks for it: by its id. One that runs: whenever it is asked for.
            once = record.id if running else None
            try:
                new = await resets.go_back(order_id, run.run_id, point, reason, request_id=once)
            except NothingToReset as error:
                raise NotPossible(str(error)) from None
    return Reset(record.id, point.event_id, new, run.run_id)


def _chosen(points: Sequence[ResetPoint], to: Point) -> ResetPoint:
    if not points:
        raise NotPossible("its history has no workflow task that it could go back to")
    if to in ("first", "last"):
        return points[0 if to == "first" else -1]
    for point in points:
        if point.event_id == to:
            return point
    raise NoSuchPoint([point.event_id for point in points])
