"""Reservations, and the stock they hold.

Stock rows are locked in one statement, sorted by SKU: unsorted, ten hot SKUs give 5 orders/s instead of 708.
Commit and release lock the reservation first, then the stock.
"""

from collections.abc import Sequence
from uuid import UUID

from orderflow.domain.commands import Command, Outcome
from orderflow.domain.inventory import LIFECYCLE, ReservationStatus
from orderflow.domain.orders import Line
from orderflow.store.commands import CommandLog, Row
from orderflow.store.database import Database
from orderflow.store.statements import Cte, Statement, chain
from orderflow.store.write_rule import ANSWER, COMMAND, EVENT, AggregateStatements, Write
from orderflow_events.models import InventoryCommitted, InventoryFailed, InventoryReleased, InventoryReserved

#: Nothing, where the order has a reservation or the command was asked before.
_WANTED = Cte(
    "wanted",
    """
    SELECT sku, quantity FROM unnest($skus::text[], $quantities::int[]) AS w (sku, quantity)
    WHERE NOT EXISTS (SELECT FROM reservations WHERE order_id = $order_id)
      AND NOT EXISTS (SELECT FROM commands WHERE order_id = $order_id AND command_id = $command_id)""",
)
_LOCKED = Cte(
    "locked",
    """
    SELECT s.sku, s.on_hand - s.reserved AS available
    FROM stock s WHERE s.sku IN (SELECT sku FROM wanted)
    ORDER BY s.sku FOR UPDATE""",
)
_JUDGED = Cte(
    "judged",
    """
    SELECT w.sku, w.quantity, l.available, coalesce(l.available >= w.quantity, false) AS enough
    FROM wanted w LEFT JOIN locked l USING (sku)""",
)
_VERDICT = Cte(
    "verdict",
    """
    SELECT CASE WHEN bool_and(enough) THEN 'RESERVED' ELSE 'REJECTED' END AS status,
           CASE WHEN bool_and(enough) THEN NULL
                WHEN bool_or(available IS NULL) THEN 'unknown_sku' ELSE 'out_of_stock' END AS reason,
           jsonb_agg(jsonb_build_object('sku', sku, 'requested', quantity, 'available', available) ORDER BY sku)
               FILTER (WHERE NOT enough) AS shortages,
           jsonb_agg(jsonb_build_object('sku', sku, 'quantity', quantity) ORDER BY sku) AS lines,
           -- Computed when all of `locked` is here, so every row lock is held.
           clock_timestamp() - statement_timestamp() AS lock_wait
    FROM judged HAVING count(*) > 0""",
)
_RESERVATION = Cte(
    "reservation",
    """
    INSERT INTO reservations (order_id, status, version, reason)
    SELECT $order_id::uuid, status, 1, reason FROM verdict
    RETURNING order_id, version, status, created_at""",
)
_MOVED = Cte(
    "moved",
    """
    SELECT r.order_id, r.version, r.status, r.created_at,
           CASE r.status WHEN 'RESERVED' THEN $reserved_type::text ELSE $failed_type::text END AS type,
           CASE r.status WHEN 'RESERVED' THEN jsonb_build_object('lines', v.lines)
                ELSE jsonb_build_object('reason', v.reason, 'shortages', v.shortages) END AS data,
           jsonb_build_object('lock_wait', extract(epoch FROM v.lock_wait), 'reason', v.reason) AS measures
    FROM reservation r, verdict v""",
)
_KEPT = Cte(
    "held",
    """
    INSERT INTO reservation_lines (order_id, sku, quantity)
    SELECT m.order_id, w.sku, w.quantity FROM moved m, wanted w WHERE m.status = 'RESERVED'""",
)
_TAKEN = Cte(
    "taken",
    """
    UPDATE stock s
    SET reserved = s.reserved + j.quantity, version = s.version + 1, updated_at = clock_timestamp()
    FROM judged j, moved m WHERE m.status = 'RESERVED' AND s.sku = j.sku""",
)

_RESERVE = Statement(
    "reservations.reserve",
    "Makes the reservation, RESERVED with all lines held or REJECTED with the shortages, where there is none.",
    chain(
        [_WANTED, _LOCKED, _JUDGED, _VERDICT, _RESERVATION, _MOVED, _KEPT, _TAKEN, EVENT, COMMAND],
        ANSWER,
    ),
)

_HELD = Cte(
    "held",
    """
    SELECT s.sku, l.quantity FROM moved m
    JOIN reservation_lines l ON l.order_id = m.order_id JOIN stock s ON s.sku = l.sku
    ORDER BY s.sku FOR UPDATE OF s""",
)
_FREED = Cte(
    "freed",
    """
    UPDATE stock s SET reserved = s.reserved - h.quantity, version = s.version + 1, updated_at = clock_timestamp()
    FROM held h WHERE s.sku = h.sku""",
)
_GONE = Cte(
    "gone",
    """
    UPDATE stock s SET on_hand = s.on_hand - h.quantity, reserved = s.reserved - h.quantity,
                       version = s.version + 1, updated_at = clock_timestamp()
    FROM held h WHERE s.sku = h.sku
    RETURNING s.sku, h.quantity, s.on_hand, s.reserved, s.version""",
)
_MOVEMENT = Cte(
    "movement",
    """
    INSERT INTO stock_movements (sku, kind, delta, order_id, on_hand, reserved, version)
    SELECT g.sku, 'commit', -g.quantity, m.order_id, g.on_hand, g.reserved, g.version FROM gone g, moved m""",
)

_STATEMENTS = AggregateStatements(
    "reservations",
    LIFECYCLE,
    {
        ReservationStatus.COMMITTED: Write(effects=(_HELD, _GONE, _MOVEMENT)),
        ReservationStatus.RELEASED: Write(effects=(_HELD, _FREED)),
    },
    apart=("reserve",),
)

_REASON = Statement(
    "reservations.reason",
    "Reads why a reservation was rejected.",
    "SELECT reason FROM reservations WHERE order_id = $order_id",
)


class Reservations:
    """What is set aside for orders."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._log = CommandLog(database, _STATEMENTS)

    async def reserve(self, order_id: UUID, command: Command, lines: Sequence[Line]) -> Outcome:
        """All lines or none: RESERVED, or REJECTED (see ``reason``). Refused when the door was shut before."""
        transition = LIFECYCLE.transition(command.name, ReservationStatus.RESERVED)
        parameters = {
            **self._log.parameters(order_id, command, transition, {}),
            "skus": [line.sku for line in lines],
            "quantities": [line.quantity for line in lines],
            "reserved_type": InventoryReserved.type,
            "failed_type": InventoryFailed.type,
        }

        async def attempt(_: str | None) -> Row:
            return await self._database.one(_RESERVE, parameters)

        return await self._log.carry_out(order_id, command, attempt)

    async def reason(self, order_id: UUID) -> str | None:
        """Why the reservation was REJECTED; None if it was not."""
        row = await self._database.one(_REASON, {"order_id": order_id})
        return row["reason"] if row else None

    async def commit(self, order_id: UUID, command: Command) -> Outcome:
        """The reserved stock leaves the warehouse."""
        return await self._log.change(order_id, command, data=InventoryCommitted().model_dump(mode="json"))

    async def release(self, order_id: UUID, command: Command) -> Outcome:
        """Give back what is reserved, and shut the door."""
        return await self._log.change(order_id, command, data=InventoryReleased().model_dump(mode="json"))
