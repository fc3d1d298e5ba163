"""Orders: what clients ask for, what the workflow does, the two statements of a ship, and the sweep of old drafts.

A client's command that Temporal must know of leaves a handover, in the statement that moves the row. A payment token is
in a row of its own, sealed, until the statement that ends the DRAFT or leaves APPROVED.
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

from orderflow.domain.access import Owner
from orderflow.domain.commands import Command, Outcome, not_found
from orderflow.domain.errors import Problem
from orderflow.domain.handovers import Handover
from orderflow.domain.orders import LIFECYCLE, Line, Order, OrderStatus, Reason
from orderflow.store.commands import CommandLog, Row
from orderflow.store.database import Database
from orderflow.store.measuring import count_transitions
from orderflow.store.order_views import OrderView
from orderflow.store.statements import Cte, Statement, chain
from orderflow.store.write_rule import SETTLED, AggregateStatements, Write, event, lock
from orderflow_events.models import OrderCreated, OrderLine, OrderStateChanged

# Reads the lines from the event's data: one copy of them travels, not two.
_LINES = Cte(
    "lines",
    """
    INSERT INTO order_lines (order_id, line, sku, quantity, unit_price)
    SELECT moved.order_id, l.line, l.value->>'sku', (l.value->>'quantity')::int, (l.value->>'unit_price')::bigint
    FROM moved, jsonb_array_elements(moved.data->'lines') WITH ORDINALITY AS l (value, line)""",
)

_TOKEN_KEPT = Cte(
    "token", "INSERT INTO payment_tokens (order_id, sealed) SELECT order_id, $sealed_token::text FROM moved"
)
_TOKEN_GONE = Cte("token", "DELETE FROM payment_tokens t USING moved WHERE t.order_id = moved.order_id")


def _handover(written: str, condition: str = "true") -> Cte:
    """Temporal must look at the order that ``written`` names. One row an order: a newer write raises its number."""
    return Cte(
        "handover",
        f"""
    INSERT INTO handovers AS h (order_id, name, authid)
    SELECT order_id, $name, $authid FROM {written} WHERE {condition}
    ON CONFLICT (order_id) DO UPDATE
        SET number = nextval('handover_numbers'), name = excluded.name, authid = coalesce(h.authid, excluded.authid),
            next_at = excluded.next_at, attempts = 0, refused = NULL
    RETURNING number""",
    )


_HANDOVER = _handover("moved")
#: A DRAFT has no workflow: nobody needs to be told that it is over.
_HANDOVER_UNLESS_DRAFT = _handover("moved", f"measures->>'from' <> '{OrderStatus.DRAFT}'")

#: What a document of the order needs, so that the answer asks for nothing more.
_SHOWN: Final = ("customer_id", "reference", "currency", "total", "reason", "updated_at")


def _shown(handover: str = "(SELECT number FROM handover)") -> str:
    return f"""
SELECT version, status, created_at, measures, {", ".join(_SHOWN)},
       {handover} AS handover,
       (SELECT jsonb_agg(jsonb_build_array(l.sku, l.quantity, l.unit_price) ORDER BY l.line)
        FROM order_lines l WHERE l.order_id = moved.order_id) AS lines
FROM moved"""


_STATEMENTS = AggregateStatements(
    "orders",
    LIFECYCLE,
    {
        "place": Write(("customer_id", "reference", "currency", "total"), (_LINES, _TOKEN_KEPT)),
        "approve": Write((), (_HANDOVER,), _SHOWN, answer=_shown()),
        "complete": Write((), (), _SHOWN, answer=_shown(handover="NULL::bigint")),
        "cancel": Write(("reason",), (_HANDOVER_UNLESS_DRAFT, _TOKEN_GONE), _SHOWN, answer=_shown()),
        "fulfil": Write((), (_TOKEN_GONE,)),
        "fail": Write(("reason",), (_TOKEN_GONE,)),
    },
    types={"total": "bigint"},
    apart=("ship", "expire"),
    owned=True,
)

_ACCEPTED = Cte(
    "accepted",
    """
    INSERT INTO commands (order_id, command_id, name, request_hash, data, correlation_id, traceparent, authtype, authid)
    SELECT $order_id::uuid, $command_id, $name, $request_hash, $data::jsonb, $correlation_id, $traceparent,
           $authtype, $authid
    FROM locked
    RETURNING order_id""",
)

_ACCEPT_SHIP = Statement(
    "orders.accept_ship",
    "First half of a ship: leaves the command pending, if the order may be shipped, and the handover.",
    chain(
        [lock("orders", owned=True), _ACCEPTED, _handover("accepted")],
        """
        SELECT version, status, NULL::timestamptz AS created_at, (SELECT number FROM handover) AS handover
        FROM locked""",
    ),
)

# What the client said of its ship stands with the pending command.
_SHIPPED = Cte(
    "moved",
    """
    UPDATE orders t SET status = $to_status, version = t.version + 1, updated_at = clock_timestamp()
    FROM locked, commands c
    WHERE t.order_id = $order_id AND c.order_id = $order_id AND c.command_id = $command_id
    RETURNING t.order_id, t.version, t.status, t.created_at, $type::text AS type,
              jsonb_build_object('from', locked.status,
                                 'seconds', extract(epoch FROM t.updated_at - locked.updated_at)) AS measures,
              $data::jsonb || coalesce(c.data, '{}'::jsonb) || jsonb_build_object('from', locked.status) AS data,
              c.authtype, c.authid""",
)

# Who asked for the ship did it, not the workflow that records it.
_SHIPPED_EVENT = event(authtype="authtype", authid="authid")

_RECORD_SHIP = Statement(
    "orders.record_ship",
    "Second half of a ship: moves the order to SHIPPED and settles the pending command.",
    chain(
        [lock("orders", settling=True), _SHIPPED, _SHIPPED_EVENT, SETTLED],
        "SELECT version, status, created_at, measures FROM moved",
    ),
)

_LOOK = Statement(
    "orders.look",
    "Reads what the workflow follows: the row, its pending ship, and, while it is APPROVED, what its steps need.",
    f"""
    SELECT o.status, o.version, o.total, o.currency, e.correlation_id, e.traceparent, t.sealed AS sealed_token,
           CASE WHEN o.status = '{OrderStatus.APPROVED}' THEN (
               SELECT jsonb_agg(jsonb_build_array(l.sku, l.quantity, l.unit_price) ORDER BY l.line)
               FROM order_lines l WHERE l.order_id = o.order_id
           ) END AS lines,
           p.command_id AS ship_id, p.correlation_id AS ship_correlation_id, p.traceparent AS ship_traceparent
    FROM orders o
    JOIN events e ON e.order_id = o.order_id AND e.version = o.version
    LEFT JOIN payment_tokens t ON t.order_id = o.order_id
    LEFT JOIN commands p ON p.order_id = o.order_id AND p.version IS NULL AND p.refusal IS NULL
    WHERE o.order_id = $order_id""",
)

_EXPIRE = LIFECYCLE.transition("expire")
_DRAFTS = ", ".join(f"'{status}'" for status in _EXPIRE.moves_from)
# The statement's time, as an index is not searched for a volatile one: it would walk along all drafts.
_SWEEP = Statement(
    "orders.expire",
    "Cancels the oldest drafts that are past their time, those left out that somebody else has locked.",
    chain(
        [
            Cte(
                "due",
                f"""
                SELECT order_id, status, updated_at FROM orders
                WHERE status IN ({_DRAFTS}) AND created_at < statement_timestamp() - $ttl::interval
                ORDER BY created_at LIMIT $limit FOR UPDATE SKIP LOCKED""",
            ),
            Cte(
                "moved",
                """
                UPDATE orders o
                SET status = $to_status, version = o.version + 1, updated_at = clock_timestamp(), reason = $reason
                FROM due WHERE o.order_id = due.order_id
                RETURNING o.order_id, o.version, o.status, due.status AS came_from""",
            ),
            Cte(
                "event",
                """
                INSERT INTO events (order_id, version, type, status, data, command_id, correlation_id)
                SELECT order_id, version, $type, status, $data::jsonb || jsonb_build_object('from', came_from),
                       $command_id, ''
                FROM moved
                RETURNING order_id, version""",
            ),
            Cte(
                "command",
                """
                INSERT INTO commands (order_id, command_id, name, version)
                SELECT order_id, $command_id, $name, version FROM event""",
            ),
            _TOKEN_GONE,
        ],
        "SELECT status, jsonb_build_object('from', came_from) AS measures FROM moved",
    ),
)


@dataclass(frozen=True, slots=True)
class Accepted:
    """What a client's command came to. ``order``: as it left the row; None: ask, if it matters.

    ``handover``: what Temporal is to be told; None: nothing.
    """

    outcome: Outcome
    order: OrderView | None = None
    handover: Handover | None = None


@dataclass(frozen=True, slots=True)
class ShipSeen:
    """A ship whose capture is not recorded yet, and the request that asked for it."""

    command_id: str
    correlation_id: str
    traceparent: str | None


@dataclass(frozen=True, slots=True)
class OrderSeen:
    """An order's row as its workflow needs it. ``lines`` and ``sealed_token`` are there while it is APPROVED.

    ``total`` in minor units. ``correlation_id`` and ``traceparent``: of the command that wrote the row last.
    """

    status: str
    version: int
    total: int
    currency: str
    correlation_id: str
    traceparent: str | None
    lines: tuple[Line, ...] | None
    sealed_token: str | None
    ship: ShipSeen | None


class Orders:
    """The orders that there are, and what may be done to them. All methods raise Unavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._log = CommandLog(database, _STATEMENTS, keeps_refusals=False)

    # --- What clients ask for: each sees and moves what is its owner's, and nothing else is there ---

    async def place(self, order: Order, command: Command, sealed_token: str) -> Accepted:
        """Make the order's row and lines, as a DRAFT, and keep its sealed payment token."""
        created = OrderCreated(
            customer_id=order.customer_id,
            reference=order.reference,
            currency=order.currency,
            total=order.total,
            lines=tuple(OrderLine(**line.model_dump()) for line in order.lines),
        )
        columns = {
            "customer_id": order.customer_id,
            "reference": order.reference,
            "currency": order.currency,
            "total": order.total,
            "sealed_token": sealed_token,
        }
        outcome = await self._log.change(order.order_id, command, data=created.model_dump(mode="json"), columns=columns)
        if outcome.replayed or outcome.state != "done" or outcome.row_created_at is None:
            return Accepted(outcome)
        view = OrderView(
            order_id=order.order_id,
            status=OrderStatus.DRAFT,
            version=1,
            reason=None,
            customer_id=order.customer_id,
            reference=order.reference,
            currency=order.currency,
            total=order.total,
            created_at=outcome.row_created_at,
            updated_at=outcome.row_created_at,
            pending=False,
            lines=tuple((line.sku, line.quantity, line.unit_price) for line in order.lines),
        )
        return Accepted(outcome, view)

    async def carry_out(self, order_id: UUID, command: Command, owner: Owner) -> Accepted:
        """approve, complete or cancel, done with this statement."""
        outcome, row = await self._log.changed(order_id, command, owner=owner, **_written(command))
        if row is None:
            return Accepted(_if_there(order_id, outcome))
        shown = {name: row[name] for name in ("status", "version", "created_at", *_SHOWN)}
        lines = tuple((sku, quantity, unit_price) for sku, quantity, unit_price in row["lines"])
        view = OrderView(order_id=order_id, pending=False, lines=lines, **shown)
        return Accepted(outcome, view, _handover_of(order_id, command, row))

    async def accept_ship(self, order_id: UUID, command: Command, owner: Owner) -> Accepted:
        """First half of a ship: judged now, then pending while its payment is captured."""
        transition = LIFECYCLE.transition(command.name)
        parameters = self._log.parameters(order_id, command, transition, command.data, owner)

        async def attempt(_: str | None) -> Row:
            return await self._database.one(_ACCEPT_SHIP, parameters)

        outcome, row = await self._log.carried_out(order_id, command, attempt, state="pending", owner=owner)
        handover = _handover_of(order_id, command, row) if row is not None else None
        return Accepted(_if_there(order_id, outcome), handover=handover)

    async def foresee(self, order_id: UUID, command: Command, owner: Owner) -> Outcome | None:
        """What is known of ``command`` without carrying it out; None: go ahead. See CommandLog.foresee."""
        return await self._log.foresee(order_id, command, owner)

    # --- What the workflow does ---

    async def look(self, order_id: UUID) -> OrderSeen | None:
        """The row as it is now; None: there is no such order."""
        row = await self._database.one(_LOOK, {"order_id": order_id})
        if row is None:
            return None
        lines = row["lines"]
        ship = None
        if row["ship_id"] is not None:
            ship = ShipSeen(row["ship_id"], row["ship_correlation_id"] or "", row["ship_traceparent"])
        return OrderSeen(
            status=row["status"],
            version=row["version"],
            total=row["total"],
            currency=row["currency"],
            correlation_id=row["correlation_id"],
            traceparent=row["traceparent"],
            lines=lines and tuple(Line(sku=s, quantity=q, unit_price=p) for s, q, p in lines),
            sealed_token=row["sealed_token"] if lines else None,
            ship=ship,
        )

    async def move(self, order_id: UUID, command: Command) -> Outcome:
        """fulfil, fail, or any other transition but a ship. ``command.data`` goes into the event."""
        return await self._log.change(order_id, command, **_written(command))

    async def record_ship(
        self, order_id: UUID, command_id: str, *, correlation_id: str = "", traceparent: str | None = None
    ) -> Outcome:
        """Second half, after the capture: SHIPPED. Nothing is judged again, money has moved."""
        command = Command(name="ship", id=command_id, correlation_id=correlation_id, traceparent=traceparent)
        transition = LIFECYCLE.transition("ship")
        parameters = self._log.parameters(order_id, command, transition, _state_changed(command, transition.to))

        async def attempt(_: str | None) -> Row:
            return await self._database.one(_RECORD_SHIP, parameters)

        return (await self._log.carried_out(order_id, command, attempt, same_request=True))[0]

    async def refuse_ship(self, order_id: UUID, command_id: str, problem: Problem) -> Outcome:
        """Second half, after a refused capture: the order stays FULFILLING."""
        return await self._log.settle_refused(order_id, Command(name="ship", id=command_id), problem)

    # --- What nobody asked for ---

    async def expire(self, ttl: timedelta, limit: int) -> int:
        """Cancel up to ``limit`` DRAFTs that were made longer than ``ttl`` ago; how many."""
        command = Command(name="expire", id="w:expire", data={"reason": Reason.DRAFT_EXPIRED})
        values = {
            "ttl": ttl,
            "limit": limit,
            "to_status": str(_EXPIRE.to),
            "reason": Reason.DRAFT_EXPIRED,
            "type": _EXPIRE.event.type,
            "data": _state_changed(command, _EXPIRE.to),
            "command_id": command.id,
            "name": command.name,
        }
        rows = await self._database.all(_SWEEP, values)
        if rows:
            self._database.wrote()
            count_transitions(LIFECYCLE.aggregate, command.name, rows)
        return len(rows)

    async def note(self, order_id: UUID, command: Command, problem: Problem) -> Outcome:
        """Record something that changed nothing: what an operator or reconciliation did, and why."""
        return await self._log.refuse(order_id, command, problem)


def _if_there(order_id: UUID, outcome: Outcome) -> Outcome:
    """What is refused for want of a row is told so."""
    if outcome.refusal is None or outcome.row_status is not None:
        return outcome
    return outcome.model_copy(update={"refusal": not_found(order_id)})


def _written(command: Command) -> dict[str, Any]:
    """What a transition writes beside status and version: its event's data, and columns of the row."""
    transition = LIFECYCLE.transition(command.name)
    if transition.event is not OrderStateChanged:
        return {}
    columns = {"reason": command.data["reason"]} if transition.to == OrderStatus.CANCELLED else {}
    return {"data": _state_changed(command, transition.to), "columns": columns}


def _handover_of(order_id: UUID, command: Command, row: Any) -> Handover | None:
    number = row["handover"]
    return None if number is None else Handover(order_id, number, command.name)


def _state_changed(command: Command, to: str) -> dict[str, Any]:
    """The event's data; its ``from`` is filled in by the statement, which has the row."""
    event = OrderStateChanged.model_validate({**command.data, "from": "", "to": to})
    return event.model_dump(mode="json", exclude_none=True)
