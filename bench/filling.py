"""Orders in bulk, by SQL, as if they had been placed and approved long ago: for benches and tests of large tables.

Everything that the database demands holds: each version has its event, each event its outbox entry (so the relay
publishes them all), amounts add up, stock is reserved for what is reserved. There is no workflow behind them: one that
waits costs Temporal a row, and no worker anything.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID, uuid4

import asyncpg

from orderflow.domain.orders import Line

#: Orders of one transaction.
BATCH: Final = 5_000
CUSTOMER: Final = "somebody-in-bulk"
CURRENCY: Final = "USD"

_ORDERS: Final = """
INSERT INTO orders (order_id, status, version, customer_id, currency, total)
SELECT order_id, 'DRAFT', 1, $2, $3, $4 FROM unnest($1::uuid[]) AS n (order_id)
"""
_LINES: Final = """
INSERT INTO order_lines (order_id, line, sku, quantity, unit_price)
SELECT order_id, line, value->>'sku', (value->>'quantity')::int, (value->>'unit_price')::bigint
FROM unnest($1::uuid[]) AS n (order_id), jsonb_array_elements($2::jsonb) WITH ORDINALITY AS l (value, line)
"""
_TOKENS: Final = """
INSERT INTO payment_tokens (order_id, sealed) SELECT order_id, repeat('0', 100) FROM unnest($1::uuid[]) AS n (order_id)
"""
_MOVE: Final = "UPDATE orders SET status = $2, version = version + 1 WHERE order_id = ANY ($1::uuid[])"
# An order's events stand together, as they do when the relay finds them after an outage.
_EVENTS: Final = """
INSERT INTO events (order_id, version, type, status, data, command_id, correlation_id)
SELECT order_id, version, type, status, data, command_id, order_id::text
FROM unnest($1::uuid[]) WITH ORDINALITY AS n (order_id, number),
     jsonb_to_recordset($2::jsonb) AS e (version int, type text, status text, data jsonb, command_id text)
ORDER BY number, version
"""
_COMMANDS: Final = """
INSERT INTO commands (order_id, command_id, name, version)
SELECT order_id, command_id, name, version
FROM unnest($1::uuid[]) AS n (order_id),
     jsonb_to_recordset($2::jsonb) AS e (version int, command_id text, name text)
"""
_PAYMENTS: Final = """
INSERT INTO payments (order_id, status, version, amount, currency, authorization_id)
SELECT order_id, 'AUTHORIZED', 1, $2, $3, 'auth_' || order_id FROM unnest($1::uuid[]) AS n (order_id)
"""
_RESERVATIONS: Final = """
INSERT INTO reservations (order_id, status, version) SELECT order_id, 'RESERVED', 1 FROM unnest($1::uuid[]) n (order_id)
"""
_RESERVED_LINES: Final = """
INSERT INTO reservation_lines (order_id, sku, quantity)
SELECT order_id, sku, quantity
FROM unnest($1::uuid[]) AS n (order_id), jsonb_to_recordset($2::jsonb) AS l (sku text, quantity int)
"""
_STOCK: Final = """
UPDATE stock SET reserved = reserved + l.quantity * $2, version = version + 1
FROM jsonb_to_recordset($1::jsonb) AS l (sku text, quantity int) WHERE stock.sku = l.sku
"""


class Filler:
    """Fills a stack's databases. ``lines``: of every order. The connections are an admin's."""

    def __init__(
        self,
        orders: asyncpg.Connection[Any],
        payments: asyncpg.Connection[Any] | None,
        inventory: asyncpg.Connection[Any] | None,
        lines: Sequence[Line],
    ) -> None:
        """Without ``payments`` and ``inventory`` only the orders database is filled."""
        self._orders = orders
        self._payments = payments
        self._inventory = inventory
        self._lines = [line.model_dump() for line in lines]
        self._total = sum(line.total for line in lines)

    async def drafts(self, count: int) -> None:
        """``count`` orders that wait to be approved. The stock of ``lines`` must be there."""
        await self._fill(count, fulfilling=False)

    async def fulfilling(self, count: int) -> None:
        """``count`` orders that wait to be shipped: paid for, and reserved."""
        await self._fill(count, fulfilling=True)

    async def _fill(self, count: int, *, fulfilling: bool) -> None:
        for first in range(0, count, BATCH):
            order_ids = [uuid4() for _ in range(min(BATCH, count - first))]
            await self._place(order_ids, fulfilling=fulfilling)
            if fulfilling and self._payments is not None and self._inventory is not None:
                await self._pay(self._payments, order_ids)
                await self._reserve(self._inventory, order_ids)

    async def _place(self, order_ids: list[UUID], *, fulfilling: bool) -> None:
        created: dict[str, Any] = {"customer_id": CUSTOMER, "reference": None, "currency": CURRENCY}
        created |= {"total": self._total, "lines": self._lines}
        events = [_event(1, "ORDER_CREATED", "DRAFT", created, "w:place")]
        if fulfilling:
            changed = {"from": "APPROVED", "to": "FULFILLING"}
            events.append(_event(2, "ORDER_APPROVED", "APPROVED", {}, "c:bulk-approve"))
            events.append(_event(3, "ORDER_STATE_CHANGED", "FULFILLING", changed, "w:fulfil"))
        orders = self._orders
        async with orders.transaction():
            await orders.execute(_ORDERS, order_ids, CUSTOMER, CURRENCY, self._total)
            await orders.execute(_LINES, order_ids, json.dumps(self._lines))
            if fulfilling:
                await orders.execute(_MOVE, order_ids, "APPROVED")
                await orders.execute(_MOVE, order_ids, "FULFILLING")
            else:
                await orders.execute(_TOKENS, order_ids)
            await _append(orders, order_ids, events)

    async def _pay(self, payments: asyncpg.Connection[Any], order_ids: list[UUID]) -> None:
        data = {"amount": self._total, "currency": CURRENCY, "authorization_id": "auth_bulk"}
        async with payments.transaction():
            await payments.execute(_PAYMENTS, order_ids, self._total, CURRENCY)
            await _append(payments, order_ids, [_event(1, "PAYMENT_AUTHORIZED", "AUTHORIZED", data, "w:authorize")])

    async def _reserve(self, inventory: asyncpg.Connection[Any], order_ids: list[UUID]) -> None:
        lines = [{"sku": line["sku"], "quantity": line["quantity"]} for line in self._lines]
        async with inventory.transaction():
            await inventory.execute(_STOCK, json.dumps(lines), len(order_ids))
            await inventory.execute(_RESERVATIONS, order_ids)
            await inventory.execute(_RESERVED_LINES, order_ids, json.dumps(lines))
            await _append(
                inventory, order_ids, [_event(1, "INVENTORY_RESERVED", "RESERVED", {"lines": lines}, "w:reserve")]
            )


def _event(version: int, type: str, status: str, data: dict[str, Any], command_id: str) -> dict[str, Any]:
    name = command_id.rpartition("-")[2].removeprefix("w:")
    return {
        "version": version,
        "type": type,
        "status": status,
        "data": data,
        "command_id": command_id,
        "name": name,
    }


async def _append(connection: asyncpg.Connection[Any], order_ids: list[UUID], events: list[dict[str, Any]]) -> None:
    written = json.dumps(events)
    await connection.execute(_EVENTS, order_ids, written)
    await connection.execute(_COMMANDS, order_ids, written)
