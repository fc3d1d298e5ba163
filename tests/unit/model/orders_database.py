"""The statements on the orders database, each atomic: row, event, command and handover move together or not at all."""

from typing import Final

from orderflow.domain.orders import OrderStatus
from unit.model.rules import ORDERS
from unit.model.state import Handover, Row

_KEEP_TOKEN: Final = (OrderStatus.DRAFT, OrderStatus.APPROVED)
#: The commands that Temporal is told of; a cancel only where the order was approved.
_HANDED_OVER: Final = ("approve", "ship", "cancel")


def move(row: Row, name: str, command_id: str, reason: str | None = None) -> Row:
    """``row`` after the command; the same where it is a replay or refused."""
    if command_id in row.done or row.pending is not None or not ORDERS.allows(name, row.status):
        return row
    return _moved(row, ORDERS.transition(name).to, command_id, reason)


def expire(row: Row) -> Row:
    """The sweep ends an order whose time is up; that it may, its rules have said."""
    return _moved(row, OrderStatus.CANCELLED, "w:expire", "draft_expired")


def accept_ship(row: Row, command_id: str) -> Row:
    """A ship is pending from now on, and nothing can cancel the order meanwhile."""
    if command_id in row.done + row.refused or row.pending is not None or not ORDERS.allows("ship", row.status):
        return row
    return row._replace(pending=command_id)


def record_ship(row: Row, command_id: str) -> Row:
    """The pending ship's money was taken: SHIPPED."""
    if row.pending != command_id or not ORDERS.allows("ship", row.status):
        return row
    return _moved(row._replace(pending=None), ORDERS.transition("ship").to, command_id, None)


def refuse_ship(row: Row, command_id: str) -> Row:
    """The pending ship's capture was refused: that stays its answer."""
    if row.pending != command_id:
        return row
    return row._replace(pending=None, refused=(*row.refused, command_id))


def carry_out(row: Row, name: str, command_id: str) -> Row:
    """A client's command with its handover, as one statement; the same row where it is a replay or refused."""
    moved = accept_ship(row, command_id) if name == "ship" else move(row, name, command_id, "customer")
    if name == "place" and moved is not row:
        return moved._replace(token=True)
    if moved is row or name not in _HANDED_OVER or (name == "cancel" and row.status == OrderStatus.DRAFT):
        return moved
    return hand_over(moved)


def hand_over(row: Row, *, again: bool = False) -> Row:
    """Temporal must look. A newer write raises the number of the handover that is there."""
    again = again or (row.handover is not None and row.handover.again)
    return row._replace(handover=Handover(row.last_number + 1, again), last_number=row.last_number + 1)


def _moved(row: Row, to: str, command_id: str, reason: str | None) -> Row:
    return row._replace(
        history=(*row.history, to),
        done=(*row.done, command_id),
        token=row.token and to in _KEEP_TOKEN,
        reason=reason if to == OrderStatus.CANCELLED else row.reason,
    )
