"""`orderflow order explain`, `stuck`, `watch`, `replay` on a whole stack: what they say of whole orders and of outages.

A stack of its own, with a process for each task queue, as these tests take its parts away.
"""

import asyncio
import contextlib
import json
import shutil
import signal
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
import pytest_asyncio

from orderflow.settings import Settings
from orderflow.stack.stack import EmbeddedStack
from orderflow.store import outbox
from orderflow.store.database import Database
from orderflow.temporal import connect
from support.shop import Basket, Shop
from support.terminal import REPOSITORY, Said, Terminal
from support.waiting import until

pytestmark = pytest.mark.timeout(180)

#: Above GRACE, at which what is not taken is late, and Temporal's 10 s for a task that its worker lost.
LATE_SECONDS = 60.0
SERVICES = ("orders", "payments", "inventory")


@pytest_asyncio.fixture(scope="module")
async def operated(servers_folder: Path) -> AsyncIterator[EmbeddedStack]:
    settings = Settings(
        migrations_dir=REPOSITORY / "migrations", worker_graceful_shutdown_seconds=2, stack_split_workers=True
    )
    async with EmbeddedStack(settings, servers_folder / "operated-stack", ports="free", durable=False) as stack:
        yield stack


@pytest_asyncio.fixture
async def client(operated: EmbeddedStack) -> AsyncIterator[Shop]:
    async with Shop(operated.settings.api_url) as shop:
        yield shop


@pytest.fixture
def terminal(operated: EmbeddedStack, tmp_path: Path) -> Terminal:
    return Terminal(tmp_path, data_dir=str(operated.data_dir))


async def explained(terminal: Terminal, order_id: str) -> dict[str, Any]:
    said = await terminal.run("order", "explain", order_id, "--json")
    assert said.code == 0, said.err
    story: dict[str, Any] = json.loads(said.out)
    return story


async def explains(terminal: Terminal, order_id: str, cause: str) -> dict[str, Any]:
    """The story, once its verdict is ``cause``."""
    story: dict[str, Any] = {}

    async def there() -> bool:
        story.clear()
        story.update(await explained(terminal, order_id))
        return bool(story["verdict"]["cause"] == cause)

    try:
        await until(there, seconds=LATE_SECONDS, every=0.5)
    except TimeoutError:
        raise AssertionError(f"not {cause}: {json.dumps(story, indent=1)}") from None
    return story


async def stuck(terminal: Terminal, seconds: float = 1) -> tuple[Said, dict[str, dict[str, Any]]]:
    """What it said, and the groups by cause."""
    said = await terminal.run("stuck", "--older-than", str(seconds), "--json")
    document = json.loads(said.out)
    assert said.code == (1 if document["groups"] else 3 if document["unread"] else 0)
    return said, {group["cause"]: group for group in document["groups"]}


async def none_is_stuck(terminal: Terminal) -> None:
    async def none() -> bool:
        return (await stuck(terminal))[0].code == 0

    await until(none, seconds=LATE_SECONDS, every=0.5)


@contextlib.asynccontextmanager
async def without(stack: EmbeddedStack, *names: str) -> AsyncIterator[None]:
    """Stop processes, and start them again whatever happens."""
    try:
        for name in names:
            await stack.process(name).stop()
        yield
    finally:
        for name in reversed(names):
            await stack.process(name).start()


@contextlib.asynccontextmanager
async def faulty_gateway(stack: EmbeddedStack, **faults: object) -> AsyncIterator[None]:
    async with httpx.AsyncClient(base_url=stack.settings.gateway_url) as http:
        (await http.put("/v1/faults", json=faults)).raise_for_status()
        try:
            yield
        finally:
            (await http.put("/v1/faults", json={})).raise_for_status()


async def send(shop: Shop, order_id: str, command: str) -> None:
    """Hand a command in, and wait for nothing."""
    answer = await shop.http.post(f"/orders/{order_id}/{command}", json={}, headers={"Prefer": "respond-async"})
    assert answer.status_code in (200, 202)


def whats(story: dict[str, Any], source: str) -> list[str]:
    return [line["what"] for line in story["timeline"] if line["source"] == source]


async def test_a_completed_order_is_told_line_by_line(terminal: Terminal, client: Shop, baskets: list[Basket]) -> None:
    await client.stock_up(baskets[:1])
    order_id = await client.place(baskets[0])
    await client.ask(order_id, "approve")
    await client.reaches(order_id, "FULFILLING")
    await client.ask(order_id, "ship", carrier="UPS")
    await client.ask(order_id, "complete")

    story = await explains(terminal, order_id, "done")
    assert (story["status"], story["version"], story["also"], story["unread"]) == ("COMPLETED", 5, [], {})
    assert story["verdict"]["waits_for"] == "Done: COMPLETED."
    assert whats(story, "orders") == [
        "ORDER_CREATED: DRAFT, version 1",
        "ORDER_APPROVED: APPROVED, version 2",
        "ORDER_STATE_CHANGED: FULFILLING, version 3",
        "ORDER_STATE_CHANGED: SHIPPED, version 4",
        "ORDER_STATE_CHANGED: COMPLETED, version 5",
    ]
    assert whats(story, "payments") == [
        "PAYMENT_AUTHORIZED: AUTHORIZED, version 1",
        "PAYMENT_CAPTURED: CAPTURED, version 2",
    ]
    assert whats(story, "inventory") == [
        "INVENTORY_RESERVED: RESERVED, version 1",
        "INVENTORY_COMMITTED: COMMITTED, version 2",
    ]
    assert whats(story, "gateway") == ["authorize: 200, answered", "capture: 200, answered"]
    kafka = whats(story, "kafka")
    assert len(kafka) == 9
    assert all(" at partition " in line and "; tracked " in line for line in kafka)
    temporal = [line.partition(" (")[0] for line in whats(story, "temporal")]
    expected = {
        *("workflow started", "place: DRAFT", "timer: draft expires, in 1 d", "signal approve", "approve: APPROVED"),
        *("authorize_payment handed to the task queue payments", "authorize_payment: ok"),
        *("reserve_inventory handed to the task queue inventory", "reserve_inventory: ok", "fulfil: FULFILLING"),
        *("signal ship", "ship: accepted, its capture is to come", "capture_payment: ok", "ship: SHIPPED"),
        *("capture_payment handed to the task queue payments", "commit_inventory: ok", "signal complete"),
        *("commit_inventory handed to the task queue inventory", "complete: COMPLETED", "workflow ended: COMPLETED"),
    }
    assert {line for line in temporal if " taken" not in line} == expected
    assert [line["at"] for line in story["timeline"]] == sorted(line["at"] for line in story["timeline"])

    page = await terminal.run("order", "explain", order_id)
    assert "Done: COMPLETED." in page.out
    assert "tok_ok" not in page.out + json.dumps(story)


async def test_a_cancelled_order_tells_why_and_what_was_undone(
    terminal: Terminal, client: Shop, baskets: list[Basket]
) -> None:
    await client.stock_up(baskets[:1])
    order_id = await client.place(baskets[0])
    await client.ask(order_id, "approve")
    await client.reaches(order_id, "FULFILLING")
    await client.ask(order_id, "cancel")

    story = await explains(terminal, order_id, "done")
    assert story["verdict"]["waits_for"] == "Done: CANCELLED (customer)."
    assert whats(story, "orders")[-1] == "ORDER_STATE_CHANGED: CANCELLED (customer), version 4"
    assert whats(story, "payments")[-1] == "PAYMENT_VOIDED: VOIDED, version 3"
    assert whats(story, "inventory")[-1] == "INVENTORY_RELEASED: RELEASED, version 2"
    assert whats(story, "gateway")[-1] == "void: 200, answered"


async def test_a_declined_order_tells_who_said_no(terminal: Terminal, client: Shop, baskets: list[Basket]) -> None:
    await client.stock_up(baskets[:1])
    order_id = await client.place(baskets[0], token="tok_declined")
    await client.ask(order_id, "approve")
    await client.reaches(order_id, "CANCELLED")
    story = await explains(terminal, order_id, "done")
    assert story["verdict"]["waits_for"] == "Done: CANCELLED (payment_declined)."
    assert "authorize_payment: refused (payment_declined)" in whats(story, "temporal")
    assert "PAYMENT_FAILED: DECLINED (payment_declined), version 1" in whats(story, "payments")
    assert "authorize: 402, answered" in whats(story, "gateway")


async def test_a_draft_waits_for_its_customer_and_is_not_stuck(
    terminal: Terminal, client: Shop, baskets: list[Basket]
) -> None:
    order_id = await client.place(baskets[0])
    story = await explains(terminal, order_id, "customer")
    assert "approve or cancel; it expires at" in story["verdict"]["waits_for"]
    await none_is_stuck(terminal)


async def test_an_order_that_is_not_there(terminal: Terminal, operated: EmbeddedStack) -> None:
    said = await terminal.run("order", "explain", "00000000-0000-4000-8000-000000000000")
    assert said.code == 4
    assert "There is no order" in said.out


async def test_no_payment_worker(
    operated: EmbeddedStack, terminal: Terminal, client: Shop, baskets: list[Basket]
) -> None:
    await client.stock_up(baskets[:1])
    order_id = await client.place(baskets[0])
    async with without(operated, "payments"):
        await client.ask(order_id, "approve")
        story = await explains(terminal, order_id, "step_not_taken")
        assert story["verdict"]["waits_for"].startswith(
            "It waits for the payment service: no worker takes authorize_payment from the task queue payments ("
        )
        assert "`orderflow worker payments`" in story["verdict"]["do"]
        _, groups = await stuck(terminal)
        assert [order["order_id"] for order in groups["step_not_taken"]["orders"]] == [order_id]
    await client.reaches(order_id, "FULFILLING")
    await none_is_stuck(terminal)


async def test_the_gateway_is_down(
    operated: EmbeddedStack, terminal: Terminal, client: Shop, baskets: list[Basket]
) -> None:
    await client.stock_up(baskets[:1])
    order_id = await client.place(baskets[0])
    async with faulty_gateway(operated, down=True):
        await client.ask(order_id, "approve")
        story = await explains(terminal, order_id, "step_fails")
        assert "last: payment gateway: answered authorize with 503." in story["verdict"]["waits_for"]
        assert "why the payment gateway does not answer" in story["verdict"]["do"]
        assert any("authorize_payment has failed" in line for line in whats(story, "temporal"))

        async def listed() -> bool:
            _, groups = await stuck(terminal)
            found = groups.get("step_fails", {"orders": []})
            return [order["order_id"] for order in found["orders"]] == [order_id]

        await until(listed, seconds=LATE_SECONDS, every=0.5)
    await client.reaches(order_id, "FULFILLING")
    story = await explains(terminal, order_id, "customer")
    assert any(
        line["what"].startswith("authorize_payment taken, attempt") and line["trouble"] for line in story["timeline"]
    )


async def test_all_workers_are_away(
    operated: EmbeddedStack, terminal: Terminal, client: Shop, baskets: list[Basket]
) -> None:
    waiting = await client.place(baskets[0])
    async with without(operated, "orders", "payments", "inventory"):
        order_id = await client.place(baskets[0])
        story = await explains(terminal, order_id, "no_orders_worker")
        assert story["status"] == "PLACING"
        assert "it is PLACING, and its first task is not taken" in story["verdict"]["waits_for"]
        assert "`orderflow worker orders`" in story["verdict"]["do"]
        await send(client, waiting, "cancel")
        story = await explains(terminal, waiting, "no_orders_worker")
        assert "cancel, sent" in story["verdict"]["waits_for"]
        _, groups = await stuck(terminal)
        assert {order["order_id"] for order in groups["no_orders_worker"]["orders"]} == {order_id, waiting}
    await client.reaches(order_id, "DRAFT")
    await client.reaches(waiting, "CANCELLED")


async def test_kafka_is_away(operated: EmbeddedStack, terminal: Terminal, client: Shop, baskets: list[Basket]) -> None:
    async with without(operated, "kafka"):
        order_id = await client.place(baskets[0])
        story = await explains(terminal, order_id, "kafka_away")
        assert "1 of its events waits since" in story["verdict"]["waits_for"]
        assert [verdict["cause"] for verdict in story["also"]] == ["customer"]
        assert whats(story, "kafka")[0].startswith("orders version 1 is not on Kafka yet, after ")
        _, groups = await stuck(terminal)
        assert order_id in [order["order_id"] for order in groups["kafka_away"]["orders"]]
    story = await explains(terminal, order_id, "customer")
    await none_is_stuck(terminal)


async def test_the_relay_is_away(
    operated: EmbeddedStack, terminal: Terminal, client: Shop, baskets: list[Basket]
) -> None:
    async with without(operated, "relay"):
        order_id = await client.place(baskets[0])
        story = await explains(terminal, order_id, "relay_away")
        assert "no relay leads for orders" in story["verdict"]["waits_for"]
    await none_is_stuck(terminal)


async def test_temporal_is_away(
    operated: EmbeddedStack, terminal: Terminal, client: Shop, baskets: list[Basket]
) -> None:
    order_id = await client.place(baskets[0])
    async with without(operated, "temporal"):
        story = await explains(terminal, order_id, "temporal_away")
        assert "temporal" in story["unread"]
        assert "ORDER_CREATED: DRAFT, version 1" in whats(story, "orders")
        _, groups = await stuck(terminal)
        assert order_id in [order["order_id"] for order in groups["temporal_away"]["orders"]]
    await explains(terminal, order_id, "customer")


async def test_the_databases_are_away(
    operated: EmbeddedStack, terminal: Terminal, client: Shop, baskets: list[Basket]
) -> None:
    order_id = await client.place(baskets[0])
    async with without(operated, "postgres"):
        await send_signal(operated, order_id)
        story = await explains(terminal, order_id, "database_away")
        assert story["status"] == "DRAFT"  # as the workflow knew it
        assert {"orders", "payments", "inventory"} <= story["unread"].keys()
        assert "signal cancel" in whats(story, "temporal")
        said, groups = await stuck(terminal)
        assert order_id in [order["order_id"] for order in groups["database_away"]["orders"]]
        assert said.code == 1
    await client.reaches(order_id, "CANCELLED")


async def test_a_frozen_database_costs_seconds_and_its_lines_only(
    operated: EmbeddedStack, terminal: Terminal, client: Shop, baskets: list[Basket]
) -> None:
    order_id = await client.place(baskets[0])
    operated.process("postgres").freeze()
    try:
        story = await explained(terminal, order_id)
    finally:
        operated.process("postgres").thaw()
    assert story["verdict"]["cause"] == "database_away"
    assert "place: DRAFT (version 1)" in whats(story, "temporal")


async def test_a_terminated_workflow_is_named_with_its_repair(
    operated: EmbeddedStack, terminal: Terminal, client: Shop, baskets: list[Basket]
) -> None:
    order_id = await client.place(baskets[0])
    temporal = await connect(operated.settings)
    await temporal.get_workflow_handle(f"order-{order_id}").terminate(reason="by hand")
    story = await explains(terminal, order_id, "disagrees")
    assert "no workflow runs it" in story["verdict"]["waits_for"]
    assert "`orderflow reconcile --repair` repairs it (restart)" in story["verdict"]["do"]
    assert "workflow terminated: by hand" in whats(story, "temporal")
    _, groups = await stuck(terminal)
    assert order_id in [order["order_id"] for order in groups["disagrees"]["orders"]]
    assert (await terminal.run("reconcile", "--repair", "--older-than", "0")).code == 0
    story = await explains(terminal, order_id, "customer")
    assert any("workflow reset" in line for line in whats(story, "temporal"))
    await client.ask(order_id, "cancel")


async def test_a_parked_order_is_named_with_kafkas_error(
    operated: EmbeddedStack, terminal: Terminal, client: Shop, baskets: list[Basket]
) -> None:
    order_id = await client.place(baskets[0])
    await explains(terminal, order_id, "customer")
    url = operated.settings.orders_database_url.get_secret_value()
    async with Database("orders", url) as orders:
        entry = outbox.Entry(0, UUID(order_id), 2, "", "", {}, "", None, datetime.now(UTC))
        await outbox.park(orders, entry, "MessageSizeTooLargeError")
        try:
            await client.ask(order_id, "cancel")
            story = await explains(terminal, order_id, "parked")
            assert "Kafka refuses version 2 (MessageSizeTooLargeError)" in story["verdict"]["waits_for"]
            _, groups = await stuck(terminal)
            assert [order["order_id"] for order in groups["parked"]["orders"]] == [order_id]
        finally:
            await outbox.unpark(orders, UUID(order_id))
    await explains(terminal, order_id, "done")


async def send_signal(stack: EmbeddedStack, order_id: str) -> None:
    """As an operator does with Temporal's own command."""
    client = await connect(stack.settings)
    await client.get_workflow_handle(f"order-{order_id}").signal("cancel")


async def test_nothing_at_all_answers(tmp_path: Path) -> None:
    nowhere = {
        "temporal_address": "127.0.0.1:9",
        "gateway_url": "http://127.0.0.1:9",
        "kafka_bootstrap_servers": "127.0.0.1:9",
        **{f"{service}_database_url": f"postgresql://{service}@127.0.0.1:9/{service}" for service in SERVICES},
    }
    terminal = Terminal(tmp_path, **nowhere)
    said = await terminal.run("order", "explain", "00000000-0000-4000-8000-000000000000")
    assert said.code == 3
    assert "neither Temporal nor the orders database answers" in said.err
    assert (await terminal.run("stuck")).code == 3
    assert (await terminal.run("replay", "--since", "1h")).code == 3


async def test_watch_tells_each_line_once_and_ends_with_the_order(
    terminal: Terminal, client: Shop, baskets: list[Basket]
) -> None:
    await client.stock_up(baskets[:1])
    order_id = await client.place(baskets[0])
    watching = await terminal.start("order", "watch", order_id, "--json")
    await client.ask(order_id, "approve")
    await client.reaches(order_id, "FULFILLING")
    await client.ask(order_id, "cancel")
    out, errors = await asyncio.wait_for(watching.communicate(), 60)
    assert (watching.returncode, errors) == (0, b"")
    told = [json.loads(line) for line in out.decode().splitlines()]
    assert told[-1]["verdict"]["waits_for"] == "Done: CANCELLED (customer)."
    story = await explained(terminal, order_id)
    lines = [(line["source"], line["what"].partition("; ")[0]) for line in told if "what" in line]
    settled = [(line["source"], line["what"].partition("; ")[0]) for line in story["timeline"]]
    assert set(settled) <= set(lines)
    assert len(lines) == len(set(lines))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_an_interrupted_watch_ends_quietly(
    terminal: Terminal, client: Shop, baskets: list[Basket], number: signal.Signals
) -> None:
    order_id = await client.place(baskets[0])
    watching = await terminal.start("order", "watch", order_id)
    assert watching.stdout is not None
    await asyncio.wait_for(watching.stdout.readline(), 30)
    watching.send_signal(number)
    _, errors = await asyncio.wait_for(watching.communicate(), 30)
    assert (watching.returncode, errors) == (0, b"")


def reordered(folder: Path) -> Path:
    """A copy of the workflows in which stock is reserved before the payment is authorized."""
    shutil.copytree(REPOSITORY / "workflows", folder / "workflows", ignore=shutil.ignore_patterns("__pycache__"))
    file = folder / "workflows" / "order_workflow.py"
    source = file.read_text()
    start = source.index("        if self._payment is None:\n            self._run_step(")
    middle = source.index("        if self._inventory is None:\n", start)
    end = source.index("\n\n", middle)
    swapped = source[middle:end] + "\n" + source[start:middle].rstrip("\n")
    file.write_text(source[:start] + swapped + source[end:])
    return folder


def with_code(terminal: Terminal, folder: Path) -> Terminal:
    terminal.env["PYTHONPATH"] = f"{folder}:{terminal.env['PYTHONPATH']}"
    # Otherwise the working directory's packages would come first: `python -m` puts it there.
    terminal.env["PYTHONSAFEPATH"] = "1"
    return terminal


async def test_replay_repeats_closed_and_open_orders(
    operated: EmbeddedStack, terminal: Terminal, client: Shop, baskets: list[Basket]
) -> None:
    await client.stock_up(baskets[:1])
    closed, opened = await client.place(baskets[0]), await client.place(baskets[0])
    for order_id in (closed, opened):
        await client.ask(order_id, "approve")
        await client.reaches(order_id, "FULFILLING")
    await client.ask(closed, "cancel")
    await explains(terminal, closed, "done")
    for which in (("--since", "1h"), ("--query", "WorkflowType = 'OrderWorkflow'")):

        async def all_replayed(which: tuple[str, str] = which) -> bool:  # visibility comes a moment later
            said = await terminal.run("replay", *which, "--json")
            document = json.loads(said.out)
            assert (said.code, document["failed"]) == (0, 0)
            return bool(document["replayed"] >= 2 and document["per_second"] > 0)

        await until(all_replayed, seconds=20, every=0.5)
    for order_id in (closed, opened):
        assert "1 history" in (await terminal.run("replay", order_id)).out
        assert "replayed" in (await terminal.run("debug", order_id)).out
    assert (await terminal.run("replay", "--since", "0s")).code == 1
    assert (await terminal.run("replay", "--query", "nonsense")).code == 1
    assert (await terminal.run("replay", "--since", "soon")).code == 2
    assert (await terminal.run("replay")).code == 2

    said = await with_code(terminal, reordered(terminal.home / "code")).run("replay", closed, "--json")
    [failure] = json.loads(said.out)["failures"]
    assert said.code == 1
    assert failure["recorded"] == "ACTIVITY_TASK_SCHEDULED authorize_payment"
    assert failure["wanted"] == "activity command reserve_inventory"
    assert isinstance(failure["event_id"], int)
    assert failure["workflow_id"] == f"order-{closed}"


async def test_code_that_no_longer_fits_is_the_verdict(
    operated: EmbeddedStack, terminal: Terminal, client: Shop, baskets: list[Basket], tmp_path: Path
) -> None:
    await client.stock_up(baskets[:1])
    order_id = await client.place(baskets[0])
    async with without(operated, "payments"):
        await client.ask(order_id, "approve")
        async with without(operated, "orders"):
            env = dict(operated.env) | {"PYTHONPATH": f"{reordered(tmp_path / 'code')}:{operated.env['PYTHONPATH']}"}
            arguments = (sys.executable, "-P", "-m", "cli.main", "worker", "orders")
            with (tmp_path / "worker.log").open("wb") as log:
                broken = await asyncio.create_subprocess_exec(
                    *arguments, cwd=tmp_path, env=env, stdout=log, stderr=log, stdin=asyncio.subprocess.DEVNULL
                )
            try:
                await send(client, order_id, "cancel")
                story = await explains(terminal, order_id, "workflow_task_fails")
            finally:
                broken.terminate()
                await broken.wait()
            assert "no longer fits this order's history" in story["verdict"]["waits_for"]
            assert "Activity type of scheduled event 'authorize_payment'" in story["verdict"]["waits_for"]
            assert f"orderflow replay {order_id}" in story["verdict"]["do"]
    await client.reaches(order_id, "CANCELLED")


async def test_each_is_told_apart(
    operated: EmbeddedStack, terminal: Terminal, client: Shop, baskets: list[Basket]
) -> None:
    """Several outages at once: a group for each, the most urgent first."""
    await client.stock_up(baskets[:1])
    orders = [await client.place(baskets[0]) for _ in range(2)]
    async with faulty_gateway(operated, down=True), without(operated, "inventory"):
        for order_id in orders:
            await client.ask(order_id, "approve")
        for order_id in orders:
            story = await explains(terminal, order_id, "step_not_taken")
            assert "step_fails" in [verdict["cause"] for verdict in story["also"]]
        said = await terminal.run("stuck", "--older-than", "1")
        assert said.code == 1
        assert "2 orders: no worker takes reserve_inventory" in said.out
    for order_id in orders:
        await client.reaches(order_id, "FULFILLING")
