"""Orders that are filled in by SQL are orders: every constraint and trigger was on, and the product reads them."""

from datetime import timedelta

import asyncpg

from bench.filling import Filler
from orderflow.domain.access import EVERYONE
from orderflow.domain.orders import Line
from orderflow.store import outbox
from orderflow.store.database import Database
from orderflow.store.order_views import Filters, OrderViews
from orderflow.store.orders import Orders
from support.stack import Databases

LINES = [Line(sku="a", quantity=2, unit_price=150), Line(sku="b", quantity=1, unit_price=99)]


async def test_what_is_filled_in_looks_as_if_it_had_been_placed_and_approved(databases: Databases) -> None:
    connections = [await asyncpg.connect(databases.as_admin(name)) for name in ("orders", "payments", "inventory")]
    orders, payments, inventory = connections
    await inventory.execute("INSERT INTO stock (sku, on_hand, version) VALUES ('a', 100, 1), ('b', 100, 1)")
    filler = Filler(orders, payments, inventory, LINES)

    await filler.drafts(3)
    await filler.fulfilling(4)

    async with Database("orders", databases.orders) as database:
        views = OrderViews(database)
        found = await views.page(Filters(), EVERYONE, None, 10)
        order = await views.read(found[0].order_id, EVERYONE)
        events = await views.events(found[0].order_id, EVERYONE)
        depth = await outbox.depth(database)
        expired = await Orders(database).expire(timedelta(), 10)
    assert [each.status for each in found] == 4 * ["FULFILLING"] + 3 * ["DRAFT"]
    assert order is not None
    assert (order.total, order.lines) == (399, (("a", 2, 150), ("b", 1, 99)))
    assert [event.status for event in events] == ["DRAFT", "APPROVED", "FULFILLING"]
    assert depth.entries == 3 + 4 * 3
    assert expired == 3, "the drafts can be cancelled, as any other"
    assert await payments.fetchval("SELECT count(*) FROM payments WHERE status = 'AUTHORIZED' AND amount = 399") == 4
    reserved = await inventory.fetch("SELECT sku, reserved, version FROM stock ORDER BY sku")
    assert [tuple(row) for row in reserved] == [("a", 8, 2), ("b", 4, 2)]
    assert await inventory.fetchval("SELECT sum(quantity) FROM reservation_lines") == 12
    for connection in connections:
        await connection.close()
