"""``orderflow doctor`` on the whole stack and beside what is down, and a stack whose broker lost records."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from orderflow.settings import Settings
from orderflow.stack.stack import EmbeddedStack
from support.paths import ROOT
from support.shop import Basket, Shop
from support.stream import assert_in_order, read_topic
from support.terminal import Terminal
from support.waiting import until


def terminal(stack: EmbeddedStack) -> Terminal:
    return Terminal(ROOT, data_dir=str(stack.data_dir), migrations_dir=str(ROOT / "migrations"))


async def place_and_approve(shop: Shop, basket: Basket) -> None:
    await shop.ask(await shop.place(basket), "approve")


async def examined(stack: EmbeddedStack) -> tuple[int, dict[str, dict[str, Any]]]:
    said = await terminal(stack).run("doctor", "--json")
    document = json.loads(said.out)
    assert document["ok"] == (said.code == 0)
    return said.code, {check["about"]: check for check in document["checks"]}


def wrong(checks: dict[str, dict[str, Any]]) -> list[str]:
    return [about for about, check in checks.items() if not check["ok"]]


async def test_the_doctor_finds_nothing_wrong_with_a_stack_that_runs(stack: EmbeddedStack) -> None:
    code, checks = await examined(stack)
    assert wrong(checks) == []
    assert code == 0
    assert {
        *("orders database", "payments migrations", "clock of the inventory database", "orders relay", "orders outbox"),
        *("Temporal", "search attributes", "task queue orders", "task queue payments", "task queue reconciliation"),
        *("Kafka", "topic order.events", "consumer group order-tracking", "dead letters"),
        *("API", "clock of the API", "payment gateway", "clock of the payment gateway"),
    } <= checks.keys()
    people = await terminal(stack).run("doctor")
    assert (people.code, "all fine" in people.out, "FAIL" in people.out) == (0, True, False)


async def test_the_doctor_names_what_is_down_and_what_to_do(stack: EmbeddedStack) -> None:
    gateway, relay = stack.processes["gateway"], stack.processes["relay"]
    await gateway.stop()
    await relay.stop()
    try:
        code, checks = await examined(stack)
        assert code == 1
        assert {"payment gateway", "orders relay", "payments relay", "inventory relay"} <= set(wrong(checks))
        assert checks["orders relay"]["fix"] == "start one: `orderflow worker relay`"
        assert checks["orders database"]["ok"]
        people = await terminal(stack).run("doctor")
        assert (people.code, "fix: start it, or set ORDERFLOW_GATEWAY_URL" in people.out) == (1, True)
    finally:
        await gateway.start()
        await relay.start()


@pytest.mark.timeout(240)
async def test_a_stack_whose_broker_was_killed_starts_and_is_mended_by_what_the_doctor_says(
    servers_folder: Path, baskets: list[Basket]
) -> None:
    home = servers_folder / "killed-broker"
    settings = Settings(migrations_dir=ROOT / "migrations", worker_graceful_shutdown_seconds=5)
    async with EmbeddedStack(settings, home, ports="free", durable=False) as stack:
        async with Shop(stack.settings.api_url) as shop:
            await shop.stock_up(baskets[:60])
            await asyncio.gather(*(place_and_approve(shop, basket) for basket in baskets[:60]))
            await stack.processes["kafka"].kill(restart=False)
        await stack.processes["relay"].stop()
    async with EmbeddedStack(settings, home, ports="free", durable=False) as stack:
        code, checks = await examined(stack)
        stopped = {about.split()[-1] for about in wrong(checks) if " partition " in about}
        assert stopped, "what was acknowledged in the last second is gone"
        assert code == 1
        one, *others = sorted(stopped)
        said = await terminal(stack).run("outbox", "republish", "--partition", one)
        assert said.code == 0, said.err
        if others:
            said = await terminal(stack).run("outbox", "republish", "--stopped")
            assert said.code == 0, said.err

        async def nothing_waits() -> bool:
            statuses = json.loads((await terminal(stack).run("outbox", "status", "--json")).out)
            return not any(one["entries"] or one["stopped_partitions"] for one in statuses)

        await until(nothing_waits, seconds=60, every=0.3)
        seen = await read_topic(stack.settings.kafka_bootstrap_servers, stack.settings.kafka_topic)
        assert assert_in_order([one for one in seen if one.envelope.source == "/orderflow/orders"])
