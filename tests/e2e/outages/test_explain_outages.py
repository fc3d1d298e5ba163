"""What `orderflow order explain` and `stuck` say while something is away: every row of the table in docs/guarantees.md.

A stack of its own, with a process for each task queue, as these tests take its parts away.
"""

import contextlib
import json
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import PauseActivityRequest, UnpauseActivityRequest
from temporalio.service import RPCError

from orderflow.settings import Service
from orderflow.stack.stack import EmbeddedStack
from orderflow.store import outbox
from orderflow.store.statements import Statement
from orderflow.temporal.client import connect
from support.explaining import (
    a_worker,
    explains,
    faulty_gateway,
    frozen,
    is_listed,
    none_is_stuck,
    opened,
    reordered,
    send,
    stuck,
    whats,
    without,
)
from support.shop import Basket, Shop
from support.terminal import Terminal
from support.waiting import until

_REFUSED = Statement(
    "test.refused",
    "Marks a handover as Temporal's refusal does.",
    "UPDATE handovers SET refused = 'planted' WHERE order_id = $order_id RETURNING order_id",
)

pytestmark = [
    pytest.mark.timeout(180),
    pytest.mark.stack(worker_graceful_shutdown_seconds=2, stack_split_workers=True),
]


async def place_in_stock(shop: Shop, basket: Basket) -> str:
    await shop.stock_up([basket])
    return await shop.place(basket)


async def fulfilling(shop: Shop, basket: Basket) -> str:
    """An order that waits to be shipped."""
    order_id = await place_in_stock(shop, basket)
    await shop.ask(order_id, "approve")
    await shop.reaches(order_id, "FULFILLING")
    return order_id


@contextlib.asynccontextmanager
async def administrator(stack: EmbeddedStack, database: str) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    """A superuser's connection."""
    url = stack.settings.orders_admin_url
    assert url is not None
    connection = await asyncpg.connect(url.get_secret_value(), database=database)
    try:
        yield connection
    finally:
        await connection.close()


@contextlib.asynccontextmanager
async def closed(stack: EmbeddedStack, service: Service) -> AsyncIterator[None]:
    """One service's database lets nobody in; the others, on the same server, are well."""
    async with administrator(stack, "postgres") as admin:
        await admin.execute(f"ALTER DATABASE {service} CONNECTION LIMIT 0")
        try:
            await admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", service)
            yield
        finally:
            await admin.execute(f"ALTER DATABASE {service} CONNECTION LIMIT -1")


async def test_no_payment_worker(stack: EmbeddedStack, terminal: Terminal, shop: Shop, baskets: list[Basket]) -> None:
    order_id = await place_in_stock(shop, baskets[0])
    async with without(stack, "payments"):
        await shop.ask(order_id, "approve")
        story = await explains(terminal, order_id, "step_not_taken", typed=True)
        assert story["verdict"]["waits_for"].startswith(
            "It waits for the payment service: no worker takes authorize_payment from the task queue payments ("
        )
        assert "`orderflow worker payments`" in story["verdict"]["do"]
        _, groups = await stuck(terminal)
        assert [order["order_id"] for order in groups["step_not_taken"]["orders"]] == [order_id]
    await shop.reaches(order_id, "FULFILLING")
    await none_is_stuck(terminal)


async def test_the_gateway_is_down(stack: EmbeddedStack, terminal: Terminal, shop: Shop, baskets: list[Basket]) -> None:
    order_id = await place_in_stock(shop, baskets[0])
    async with faulty_gateway(stack, down=True):
        await shop.ask(order_id, "approve")
        story = await explains(terminal, order_id, "step_fails")
        assert "last: payment gateway: answered authorize with 503." in story["verdict"]["waits_for"]
        assert "why the payment gateway does not answer" in story["verdict"]["do"]
        assert any("authorize_payment has failed" in line for line in whats(story, "temporal"))
        await is_listed(terminal, "step_fails", order_id, typed=True)
    await shop.reaches(order_id, "FULFILLING")
    story = await explains(terminal, order_id, "customer")
    assert any(
        line["what"].startswith("authorize_payment taken, attempt") and line["trouble"] for line in story["timeline"]
    )


async def test_all_workers_are_away(
    stack: EmbeddedStack, terminal: Terminal, shop: Shop, baskets: list[Basket]
) -> None:
    waiting = await fulfilling(shop, baskets[0])
    async with without(stack, "orders", "payments", "inventory"):
        order_id = await shop.place(baskets[0])
        await explains(terminal, order_id, "customer")  # a DRAFT needs nobody
        await shop.ask(order_id, "approve")
        story = await explains(terminal, order_id, "no_orders_worker", typed=True)
        assert story["status"] == "APPROVED"
        assert "it is APPROVED, and the next task of its workflow is not taken" in story["verdict"]["waits_for"]
        assert "`orderflow worker orders`" in story["verdict"]["do"]
        await send(shop, waiting, "ship")
        story = await explains(terminal, waiting, "no_orders_worker")
        assert "it is FULFILLING with a ship that was accepted" in story["verdict"]["waits_for"]
        _, groups = await stuck(terminal)
        assert {order["order_id"] for order in groups["no_orders_worker"]["orders"]} == {order_id, waiting}
    await shop.reaches(order_id, "FULFILLING")
    await shop.reaches(waiting, "SHIPPED")


async def test_kafka_is_away(stack: EmbeddedStack, terminal: Terminal, shop: Shop, baskets: list[Basket]) -> None:
    async with without(stack, "kafka"):
        order_id = await shop.place(baskets[0])
        story = await explains(terminal, order_id, "kafka_away", typed=True)
        assert "1 of its events waits since" in story["verdict"]["waits_for"]
        assert [verdict["cause"] for verdict in story["also"]] == ["customer"]
        assert whats(story, "kafka")[0].startswith("orders version 1 is not on Kafka yet, after ")
        _, groups = await stuck(terminal)
        assert order_id in [order["order_id"] for order in groups["kafka_away"]["orders"]]
    story = await explains(terminal, order_id, "customer")


async def test_temporal_is_away_and_then_nobody_tells_it(
    stack: EmbeddedStack, terminal: Terminal, shop: Shop, baskets: list[Basket]
) -> None:
    draft, ready = await shop.place(baskets[0]), await fulfilling(shop, baskets[0])
    order_id = await place_in_stock(shop, baskets[0])
    async with without(stack, "orders"):
        async with without(stack, "temporal"):
            await shop.ask(order_id, "approve")
            story = await explains(terminal, order_id, "temporal_away", typed=True)
            assert "it has not been told of approve, written " in story["verdict"]["waits_for"]
            assert "temporal" in story["unread"]
            assert "ORDER_APPROVED: APPROVED, version 2" in whats(story, "orders")
            assert story["handover"]["name"] == "approve"
            _, groups = await stuck(terminal)
            assert [order["order_id"] for order in groups["temporal_away"]["orders"]] == [order_id]
            for waiting in (draft, ready):  # their customers may act all the same
                story = await explains(terminal, waiting, "customer")
                assert [verdict["cause"] for verdict in story["also"]] == ["not_read"]
        story = await explains(terminal, order_id, "handover_waits", typed=True)
        assert "no dispatcher has taken it" in story["verdict"]["waits_for"]
        assert "`orderflow worker orders`" in story["verdict"]["do"]
        await is_listed(terminal, "handover_waits", order_id, typed=True)
        async with opened(stack, "orders") as orders:
            values = {"order_id": UUID(order_id)}
            await orders.one(_REFUSED, values)
        story = await explains(terminal, order_id, "handover_refused")
        assert "Temporal refuses the message (planted)" in story["verdict"]["waits_for"]
        assert any("it refuses it (planted)" in line for line in whats(story, "orders"))
        await is_listed(terminal, "handover_refused", order_id)
    await shop.reaches(order_id, "FULFILLING")
    await explains(terminal, order_id, "customer")


async def test_the_databases_are_away(
    stack: EmbeddedStack, terminal: Terminal, shop: Shop, baskets: list[Basket]
) -> None:
    order_id = await fulfilling(shop, baskets[0])
    async with without(stack, "postgres"):
        temporal = await connect(stack.settings)
        await temporal.get_workflow_handle(f"order-{order_id}").signal("look")
        story = await explains(terminal, order_id, "database_away", typed=True)
        assert story["status"] == "FULFILLING"  # as the workflow knew it
        assert {"orders", "payments", "inventory"} <= story["unread"].keys()
        assert "signal look" in whats(story, "temporal")
        said, groups = await stuck(terminal)
        assert order_id in [order["order_id"] for order in groups["database_away"]["orders"]]
        assert said.code == 1
    await explains(terminal, order_id, "customer")


async def test_a_terminated_workflow_is_named_with_its_repair(
    stack: EmbeddedStack, terminal: Terminal, shop: Shop, baskets: list[Basket]
) -> None:
    order_id = await fulfilling(shop, baskets[0])
    temporal = await connect(stack.settings)
    await temporal.get_workflow_handle(f"order-{order_id}").terminate(reason="by hand")
    story = await explains(terminal, order_id, "disagrees")
    assert "no workflow runs it" in story["verdict"]["waits_for"]
    assert f"`orderflow order nudge {order_id} --reason" in story["verdict"]["do"]
    assert "workflow terminated: by hand" in whats(story, "temporal")
    _, groups = await stuck(terminal)
    assert order_id in [order["order_id"] for order in groups["disagrees"]["orders"]]
    assert (await terminal.run("reconcile", "--repair", "--older-than", "0")).code == 0
    story = await explains(terminal, order_id, "customer")
    assert "look: FULFILLING (version 3)" in whats(story, "temporal")
    assert any(line.startswith("look by reconciliation (r:look:workflow_gone:") for line in whats(story, "orders"))


async def test_a_step_that_somebody_paused_is_named_with_who_and_why(
    stack: EmbeddedStack, terminal: Terminal, shop: Shop, baskets: list[Basket]
) -> None:
    order_id = await place_in_stock(shop, baskets[0])
    temporal = await connect(stack.settings)
    about: dict[str, Any] = {
        "namespace": temporal.namespace,
        "execution": WorkflowExecution(workflow_id=f"order-{order_id}"),
    }
    async with without(stack, "payments"):
        await shop.ask(order_id, "approve")
        await explains(terminal, order_id, "step_not_taken")
        paused = PauseActivityRequest(type="authorize_payment", identity="ops@example", reason="a look at it", **about)
        await temporal.workflow_service.pause_activity(paused)
        story = await explains(terminal, order_id, "paused")
        assert "authorize_payment was paused in Temporal" in story["verdict"]["waits_for"]
        assert "(ops@example: a look at it)" in story["verdict"]["waits_for"]
        assert f"unpause --workflow-id order-{order_id} --activity-id" in story["verdict"]["do"]
        await is_listed(terminal, "paused", order_id)
    await temporal.workflow_service.unpause_activity(UnpauseActivityRequest(type="authorize_payment", **about))
    await shop.reaches(order_id, "FULFILLING")


async def test_a_cancel_of_the_workflow_itself_stands_while_a_ship_is_under_way(
    stack: EmbeddedStack, terminal: Terminal, shop: Shop, baskets: list[Basket]
) -> None:
    order_id = await fulfilling(shop, baskets[0])
    temporal = await connect(stack.settings)
    async with without(stack, "payments"):
        await send(shop, order_id, "ship")
        await explains(terminal, order_id, "step_not_taken")
        await temporal.get_workflow_handle(f"order-{order_id}").cancel()
        story = await explains(terminal, order_id, "step_not_taken")
        assert "its ship was accepted" in story["verdict"]["waits_for"]
        [also] = story["also"]
        assert also["cause"] == "cancel_stands"
        assert "the order is to be cancelled, as soon as its ship has ended" in also["waits_for"]
    await shop.reaches(order_id, "SHIPPED")
    story = await explains(terminal, order_id, "customer")
    assert story["also"] == []
    await shop.ask(order_id, "complete")
    await explains(terminal, order_id, "done")


async def test_a_parked_order_is_named_with_kafkas_error(
    stack: EmbeddedStack, terminal: Terminal, shop: Shop, baskets: list[Basket]
) -> None:
    order_id = await shop.place(baskets[0])
    await explains(terminal, order_id, "customer")
    async with opened(stack, "orders") as orders:
        entry = outbox.Entry(0, UUID(order_id), 2, "", "", {}, "", None, "unknown", None, datetime.now(UTC))
        await outbox.park(orders, entry, "MessageSizeTooLargeError")
        try:
            await shop.ask(order_id, "cancel")
            story = await explains(terminal, order_id, "parked")
            assert "Kafka refuses version 2 (MessageSizeTooLargeError)" in story["verdict"]["waits_for"]
            await is_listed(terminal, "parked", order_id)
        finally:
            await outbox.unpark(orders, UUID(order_id))
    await explains(terminal, order_id, "done")


async def test_code_that_no_longer_fits_is_the_verdict(
    stack: EmbeddedStack, terminal: Terminal, shop: Shop, baskets: list[Basket], tmp_path: Path
) -> None:
    order_id = await place_in_stock(shop, baskets[0])
    async with without(stack, "payments"):
        await shop.ask(order_id, "approve")
        await explains(terminal, order_id, "step_not_taken")
        code = reordered(tmp_path / "code")
        async with (
            without(stack, "orders"),
            a_worker(stack, tmp_path / "worker.log", "orders", code=code),
        ):
            await send(shop, order_id, "cancel")
            story = await explains(terminal, order_id, "workflow_task_fails")
            assert "no longer fits this order's history" in story["verdict"]["waits_for"]
            assert "Activity type of scheduled event 'authorize_payment'" in story["verdict"]["waits_for"]
            assert f"orderflow replay {order_id}" in story["verdict"]["do"]
    await shop.reaches(order_id, "CANCELLED")


async def test_each_is_told_apart(stack: EmbeddedStack, terminal: Terminal, shop: Shop, baskets: list[Basket]) -> None:
    """Several outages at once: a group for each, the most urgent first."""
    await shop.stock_up(baskets[:1])
    orders = [await shop.place(baskets[0]) for _ in range(2)]
    async with faulty_gateway(stack, down=True), without(stack, "inventory"):
        for order_id in orders:
            await shop.ask(order_id, "approve")
        for order_id in orders:
            story = await explains(terminal, order_id, "step_not_taken")
            assert "step_fails" in [verdict["cause"] for verdict in story["also"]]
        said = await terminal.run("stuck", "--older-than", "1")
        assert said.code == 1
        assert "2 orders: no worker takes reserve_inventory" in said.out
        said = await terminal.run("stuck", "--older-than", "3600")
        assert (said.code, said.out.splitlines()[-1].endswith(" wait for less than 3600 s")) == (0, True)
    for order_id in orders:
        await shop.reaches(order_id, "FULFILLING")


async def test_the_gateway_is_slow(stack: EmbeddedStack, terminal: Terminal, shop: Shop, baskets: list[Basket]) -> None:
    order_id = await place_in_stock(shop, baskets[0])
    async with faulty_gateway(stack, delay_seconds=stack.settings.gateway_timeout_seconds + 2):
        await shop.ask(order_id, "approve")
        story = await explains(terminal, order_id, "step_fails")
        assert "last: payment gateway: no answer to authorize" in story["verdict"]["waits_for"]
        assert "why the payment gateway does not answer" in story["verdict"]["do"]
        await is_listed(terminal, "step_fails", order_id)
    await shop.reaches(order_id, "FULFILLING")


@pytest.mark.parametrize(("name", "cause"), [("postgres", "database_away"), ("temporal", "temporal_away")])
async def test_what_hangs_costs_seconds_and_its_lines_only(
    stack: EmbeddedStack, terminal: Terminal, shop: Shop, baskets: list[Basket], name: str, cause: str
) -> None:
    order_id = await place_in_stock(shop, baskets[0])
    if name == "postgres":
        await shop.ask(order_id, "approve")
        await shop.reaches(order_id, "FULFILLING")
    async with frozen(stack, name):
        if name == "temporal":
            await shop.ask(order_id, "approve")
            began = time.monotonic()
            looked = json.loads((await terminal.run("stuck", "--json")).out)
            assert time.monotonic() - began < 10
            assert looked["unread"].keys() == {"temporal"}
        story = await explains(terminal, order_id, cause, typed=True)
    if name == "postgres":
        assert "look: APPROVED (version 2)" in whats(story, "temporal")
    else:
        assert "ORDER_APPROVED: APPROVED, version 2" in whats(story, "orders")
    await shop.reaches(order_id, "FULFILLING")


@pytest.mark.parametrize("services", [("orders",), ("payments", "inventory")], ids=" and ".join)
async def test_databases_of_some_services_are_away(
    stack: EmbeddedStack, terminal: Terminal, shop: Shop, baskets: list[Basket], services: tuple[Service, ...]
) -> None:
    order_id = await (fulfilling if services == ("orders",) else place_in_stock)(shop, baskets[0])
    async with contextlib.AsyncExitStack() as outage:
        for service in services:
            await outage.enter_async_context(closed(stack, service))
        if services == ("orders",):
            temporal = await connect(stack.settings)
            await temporal.get_workflow_handle(f"order-{order_id}").signal("look")
        else:
            await shop.ask(order_id, "approve")
        story = await explains(terminal, order_id, "database_away")
        verdicts = {verdict["waits_for"]: verdict["do"] for verdict in (story["verdict"], *story["also"])}
        for service in services:
            error = f'too many connections for database "{service}"'
            do = verdicts[f"It waits for the {service} database, which answers with an error ({error})."]
            assert "See to what the error says" in do
        assert story["unread"].keys() == set(services)
        await is_listed(terminal, "database_away", order_id)
    await shop.reaches(order_id, "FULFILLING")


async def test_the_api_is_away(stack: EmbeddedStack, terminal: Terminal, shop: Shop, baskets: list[Basket]) -> None:
    """No order waits for it, and nobody needs it to find that out."""
    order_id = await shop.place(baskets[0])
    async with without(stack, "api"):
        await explains(terminal, order_id, "customer")
        await none_is_stuck(terminal)
        assert "API" in (await terminal.run("doctor")).out


async def test_a_frozen_relay_loses_its_lead(
    stack: EmbeddedStack, terminal: Terminal, shop: Shop, baskets: list[Basket]
) -> None:
    async with frozen(stack, "relay"):
        order_id = await shop.place(baskets[0])
        story = await explains(terminal, order_id, "relay_away")
        assert "no relay leads for orders" in story["verdict"]["waits_for"]
        await is_listed(terminal, "relay_away", order_id)


async def test_relay_and_tracking_are_away_then_only_the_tracking(
    stack: EmbeddedStack, terminal: Terminal, shop: Shop, baskets: list[Basket], tmp_path: Path
) -> None:
    async with without(stack, "relay"):
        order_id = await fulfilling(shop, baskets[0])
        # Each database's lease ends at its own time.
        await explains(terminal, order_id, "relay_away", says="no relay leads for orders and payments and inventory")
        async with a_worker(stack, tmp_path / "relay.log", "relay"):
            story = await explains(terminal, order_id, "tracking_behind")
            assert "5 published events are not applied" in story["verdict"]["waits_for"]
            assert "`orderflow worker tracking`" in story["verdict"]["do"]
            assert whats(story, "kafka")[0].endswith("; not tracked")
            await is_listed(terminal, "tracking_behind", order_id, typed=True)


async def test_a_dead_letter_is_named_with_its_reason(
    stack: EmbeddedStack, terminal: Terminal, shop: Shop, baskets: list[Basket]
) -> None:
    order_id = await shop.place(baskets[0])
    await explains(terminal, order_id, "customer")
    async with administrator(stack, "orders") as admin:
        await admin.execute(
            f"ALTER TABLE tracked_events ADD CONSTRAINT planted CHECK (order_id <> '{order_id}') NOT VALID"
        )
        try:
            await shop.ask(order_id, "cancel")
            story = await explains(terminal, order_id, "tracking_behind")
            assert story["verdict"]["kind"] == "wrong"
            assert 'violates check constraint "planted"' in story["verdict"]["waits_for"]
            assert f"`orderflow dlq redrive --order {order_id}`" in story["verdict"]["do"]
            await is_listed(terminal, "tracking_behind", order_id)
        finally:
            await admin.execute("ALTER TABLE tracked_events DROP CONSTRAINT planted")
    assert (await terminal.run("dlq", "redrive", "--order", order_id)).code == 0
    await explains(terminal, order_id, "done")


async def test_an_order_behind_lost_records_is_told_apart_from_a_relay_that_is_away(
    stack: EmbeddedStack, terminal: Terminal, shop: Shop, baskets: list[Basket]
) -> None:
    order_id = await shop.place(baskets[0])
    await explains(terminal, order_id, "customer")
    async with without(stack, "relay"), administrator(stack, "orders") as admin:
        # What a broker that lost records looks like from here: nothing stands where it was acknowledged.
        # (test_killed_broker.py kills one.)
        await admin.execute('UPDATE publications SET "offset" = "offset" + 1000000 WHERE order_id = $1', UUID(order_id))
    await shop.ask(order_id, "cancel")
    story = await explains(terminal, order_id, "partition_stopped")
    assert "Kafka lost records of partition" in story["verdict"]["waits_for"]
    command = story["verdict"]["do"].split("`")[1]
    await is_listed(terminal, "partition_stopped", order_id, typed=True)
    assert (await terminal.run(*command.split()[1:])).code == 0
    await explains(terminal, order_id, "done")


async def test_an_event_that_somebody_deleted_from_the_outbox_is_named_and_put_back(
    stack: EmbeddedStack, terminal: Terminal, shop: Shop, baskets: list[Basket]
) -> None:
    async with without(stack, "relay"), administrator(stack, "orders") as admin:
        order_id = await shop.place(baskets[0])
        await admin.execute("DELETE FROM outbox WHERE order_id = $1", UUID(order_id))
        story = await explains(terminal, order_id, "events_forgotten")
        assert "Nobody publishes its orders event 1" in story["verdict"]["waits_for"]
        command = story["verdict"]["do"].split("`")[1]
        await is_listed(terminal, "events_forgotten", order_id)
        assert (await terminal.run(*command.split()[1:], "--older-than", "0")).code == 0
    await explains(terminal, order_id, "customer")


async def test_a_step_that_hangs(stack: EmbeddedStack, terminal: Terminal, shop: Shop, baskets: list[Basket]) -> None:
    order_id = await place_in_stock(shop, baskets[0])
    handle = (await connect(stack.settings)).get_workflow_handle(f"order-{order_id}")

    async def is_at_it() -> bool:
        try:
            pending = (await handle.describe()).raw_description.pending_activities
        except RPCError:
            return False  # the API tells Temporal when it has answered
        return any(
            step.activity_type.name == "authorize_payment" and step.HasField("last_started_time") for step in pending
        )

    async with faulty_gateway(stack, delay_seconds=3):
        await shop.ask(order_id, "approve")
        await until(is_at_it, seconds=20)
        async with frozen(stack, "payments"):
            story = await explains(terminal, order_id, "step_hangs")
            assert "a worker took authorize_payment" in story["verdict"]["waits_for"]
            assert "authorize_payment taken, attempt 1" in whats(story, "temporal")
            await is_listed(terminal, "step_hangs", order_id)
    await shop.reaches(order_id, "FULFILLING")


@pytest.mark.parametrize(
    ("bug", "cause", "said"),
    [
        # An error that is none of ours is repeated; what a database refuses for its data is not.
        (
            "CREATE FUNCTION planted() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'a planted bug'; END $$;"
            "CREATE TRIGGER planted BEFORE INSERT ON payments FOR EACH ROW EXECUTE FUNCTION planted()",
            "step_fails",
            "authorize_payment has failed",
        ),
        (
            "ALTER TABLE payments ADD CONSTRAINT planted CHECK (amount < 0) NOT VALID",
            "step_bug",
            "a step that ended in an error which is not repeated: authorize_payment: The database refuses this",
        ),
    ],
    ids=["repeated", "not repeated"],
)
async def test_a_step_with_a_bug(
    stack: EmbeddedStack,
    terminal: Terminal,
    shop: Shop,
    baskets: list[Basket],
    bug: str,
    cause: str,
    said: str,
) -> None:
    order_id = await place_in_stock(shop, baskets[0])
    async with administrator(stack, "payments") as admin:
        await admin.execute(bug)
        try:
            await shop.ask(order_id, "approve")
            story = await explains(terminal, order_id, cause)
            assert said in story["verdict"]["waits_for"]
            assert "planted" in story["verdict"]["waits_for"]
            assert story["verdict"]["kind"] == "wrong"
            assert "a bug" in story["verdict"]["do"].lower()
            await is_listed(terminal, cause, order_id)
        finally:
            await admin.execute("ALTER TABLE payments DROP CONSTRAINT IF EXISTS planted")
            await admin.execute("DROP FUNCTION IF EXISTS planted CASCADE")
    if cause == "step_fails":  # the other is started again after 30 s
        await shop.reaches(order_id, "FULFILLING")
