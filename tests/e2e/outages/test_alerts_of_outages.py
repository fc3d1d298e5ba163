"""After each outage the alerts name its cause: a real Prometheus with our rules beside a real stack.

The rules are in a hurry (``support/hurried_rules.py``): what takes an hour there takes three minutes here. A customer
keeps placing orders. The stack is one of its own, with a process for each task queue, as its parts are taken away.
"""

import asyncio
import contextlib
import itertools
import json
import shutil
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
import pytest_asyncio
import yaml
from aiokafka.admin import AIOKafkaAdminClient

from orderflow.stack.ports import free_port
from orderflow.stack.prometheus import Prometheus
from orderflow.stack.records import Record
from orderflow.stack.stack import RECORD, EmbeddedStack
from orderflow.stack.supervisor import Supervisor
from orderflow.stream.topic import ensure_topic
from support.explaining import without
from support.hurried_rules import hurried, without_durations
from support.named_metrics import SDK_AFTER_TROUBLE
from support.paths import ROOT
from support.shop import Basket, Shop
from support.terminal import Terminal
from support.waiting import until
from support.whole_stack import owner_url
from tools.grafana.dashboards import BOARDS

pytestmark = [
    pytest.mark.timeout(240),
    pytest.mark.stack(
        worker_graceful_shutdown_seconds=2,
        worker_max_cached_workflows=4,  # so that orders are forgotten, which the SDK counts
        stack_split_workers=True,
    ),
    pytest.mark.skipif(shutil.which("prometheus") is None, reason="prometheus (the Debian package) is not there"),
]

RULES: dict[str, Any] = yaml.safe_load((ROOT / "deploy" / "prometheus" / "rules.yml").read_text())
FACTOR = 20
#: Above the two seconds that a process gives its gauges.
SCRAPE_SECONDS = 2.5
PATIENCE_SECONDS = 100.0
BASKET: Basket = [("alerts-apples", 2, 199)]
SERVICES = ("orders", "payments", "inventory")
#: Labels that name a cause, the most telling first.
TELLING = ("service", "task_queue", "operation", "database", "group", "process", "status", "sample")
#: Alerts that say what is wrong with something, rather than how bad it is.
BLAMING = frozenset(
    {
        *("GatewayAway", "DatabaseAway", "TemporalAway", "WorkerMissing", "RelayWithoutLeader", "TopicTruncated"),
        *("OutboxOld", "ConsumerStopped", "TrackingMissing", "OrdersParked", "DeadLetters"),
        *("HandoversWait", "HandoverRefused"),
    }
)

#: What does not happen here.
NEVER_SEEN_HERE = {
    "stream: New dead letters an hour: {{group}}: {{kind}}",
    "stream: Findings of reconciliation an hour: {{kind}}: {{outcome}}",
    "stream: Parked orders: {{service}}, held back",
    "temporal: Payloads not opened: {{reason}}",
    "temporal: Answers of strangers: {{step}}",
    "orders: Near steps: {{step}}: {{outcome}}",  # each service has a process of its own
}


@dataclass(frozen=True)
class Pager:
    """Who is woken up."""

    url: str
    stack: EmbeddedStack

    async def ask(self, path: str, **parameters: str) -> Any:
        """Prometheus' API."""
        async with httpx.AsyncClient(base_url=self.url, trust_env=False) as client:
            return (await client.get(f"/api/v1/{path}", params=parameters)).raise_for_status().json()["data"]

    async def sees_all(self) -> bool:
        """Whether every process has been scraped, and its gauges were there."""
        found = (await self.ask("query", query="sum by (process) (up) == 1"))["result"]
        leaders = (await self.ask("query", query="orderflow_relay_leader == 1"))["result"]
        return (len(found), len(leaders)) == (6, len(SERVICES))

    async def firing(self) -> set[str]:
        """What fires, as ``OutboxOld orders``."""
        found = set()
        for alert in (await self.ask("alerts"))["alerts"]:
            if alert["state"] == "firing":
                told = next((alert["labels"][name] for name in TELLING if alert["labels"].get(name)), "")
                found.add(f"{alert['labels']['alertname'].removeprefix('OrderFlow')} {told}".strip())
        return found

    async def quiet(self) -> None:
        """Wait until nothing fires. What burns slowly looks back for longer than it is worth waiting."""
        left: set[str] = set()

        async def nothing() -> bool:
            left.clear()
            left.update(one for one in await self.firing() if not one.endswith("Slowly"))
            return not left

        try:
            await until(nothing, seconds=PATIENCE_SECONDS, every=0.5)
        except TimeoutError:
            raise AssertionError(f"still {left}") from None

    async def fires(self, *expected: str, may: str = "") -> None:
        """Wait until all of ``expected`` fire. Nothing else may be blamed, but what begins with a word of ``may``."""
        seen: set[str] = set()

        async def all_fire() -> bool:
            seen.update(await self.firing())
            return seen >= set(expected)

        try:
            await until(all_fire, seconds=PATIENCE_SECONDS, every=0.5)
        except TimeoutError:
            raise AssertionError(f"{set(expected) - seen} did not fire, but {seen}") from None
        blamed = {one for one in seen - set(expected) if one.partition(" ")[0] in BLAMING - set(may.split())}
        assert blamed == set()


@pytest_asyncio.fixture(scope="module")
async def pager(stack: EmbeddedStack) -> AsyncIterator[Pager]:
    home = stack.data_dir / "prometheus"
    home.mkdir()
    rules = home / "rules.yml"
    rules.write_text(json.dumps(hurried(RULES, FACTOR)))
    prometheus = Prometheus(home, free_port(), rules, scrape_seconds=SCRAPE_SECONDS, evaluate_seconds=0.5)
    prometheus.prepare(Record.read(stack.data_dir / RECORD))
    supervisor = Supervisor(home)
    customer = asyncio.create_task(_keep_ordering(stack))
    try:
        await supervisor.start(prometheus.spec())
        pager = Pager(prometheus.url, stack)
        await until(pager.sees_all, seconds=PATIENCE_SECONDS, every=0.5)
        yield pager
    finally:
        customer.cancel()
        await asyncio.gather(customer, return_exceptions=True)
        await supervisor.stop()


async def _keep_ordering(stack: EmbeddedStack) -> None:
    """Place and approve, whatever comes of it: most are paid and reserved, some declined, some not in stock."""
    async with Shop(stack.settings) as shop:
        await shop.stock_up([BASKET])
        for number in itertools.count():
            token = "tok_declined" if number % 5 == 1 else "tok_ok"
            sku = "alerts-unheard-of" if number % 5 == 3 else BASKET[0][0]
            order = {
                "customer_id": "household-515",
                "reference": "basket",
                "currency": "USD",
                "payment_token": token,
                "lines": [{"sku": sku, "quantity": 1, "unit_price": 199}],
            }
            with contextlib.suppress(httpx.HTTPError):
                placed = await shop.http.post("/orders", json=order)
                if placed.is_success:
                    await shop.http.post(f"{placed.headers['location'].partition('/commands')[0]}/approve")
            await asyncio.sleep(0.3)


@asynccontextmanager
async def gateway_down(stack: EmbeddedStack) -> AsyncIterator[None]:
    async with httpx.AsyncClient(base_url=stack.settings.gateway_url) as http:
        (await http.put("/v1/faults", json={"down": True})).raise_for_status()
        try:
            yield
        finally:
            (await http.put("/v1/faults", json={})).raise_for_status()


@asynccontextmanager
async def tracking_held_up(stack: EmbeddedStack) -> AsyncIterator[None]:
    """Somebody locks the table that only the tracking writes."""
    connection = await asyncpg.connect(owner_url(stack, "orders"))
    try:
        async with connection.transaction():
            await connection.execute("LOCK TABLE processed_messages IN SHARE MODE")
            yield
    finally:
        await connection.close()


def test_a_hurry_changes_durations_and_nothing_else() -> None:
    fast = hurried(RULES, FACTOR)
    assert fast != RULES
    assert without_durations(fast) == without_durations(RULES)
    text = json.dumps(fast)
    assert '> 15"' in text, "five minutes of age"
    assert "[180000ms]" in text, "an hour's window"
    assert "offset 45000ms" in text


async def test_kafka_and_temporal_are_away(pager: Pager) -> None:
    await pager.quiet()
    async with Shop(pager.stack.settings) as shop, without(pager.stack, "kafka"):
        await shop.reaches(await shop.place(BASKET), "DRAFT")
        async with without(pager.stack, "temporal"):
            expected = ("OutboxOld orders", "TemporalAway", "HandoversWait orders")
            await pager.fires(*expected, may="OutboxOld TrackingMissing")


async def test_the_gateway_is_down_and_the_tracking_stands_still(pager: Pager) -> None:
    await pager.quiet()
    async with gateway_down(pager.stack), tracking_held_up(pager.stack):
        expected = ("GatewayAway authorize", "OrdersStuck APPROVED", "ConsumerStopped order-tracking")
        await pager.fires(*expected, may="GatewayAway")


async def test_the_databases_are_away(pager: Pager) -> None:
    await pager.quiet()
    async with without(pager.stack, "postgres"):
        await pager.fires(
            *(f"DatabaseAway relay-{service}" for service in SERVICES), may="RelayWithoutLeader DatabaseAway"
        )


async def test_a_worker_the_relay_and_the_api_are_killed_and_meanwhile_kafka_loses_the_topic(
    pager: Pager, tmp_path: Path
) -> None:
    await pager.quiet()
    settings = pager.stack.settings
    async with AsyncExitStack() as ended:
        for name in ("payments", "relay", "api"):
            await pager.stack.process(name).kill(restart=False)
            ended.push_async_callback(pager.stack.process(name).start)
        leaderless = [f"RelayWithoutLeader {service}" for service in SERVICES]
        gone = ("WorkerMissing payments", "ProcessDown payments", "ProcessDown relay", "ProcessDown api")
        await pager.fires(*gone, *leaderless, may="TrackingMissing")
        admin = AIOKafkaAdminClient(bootstrap_servers=settings.kafka_bootstrap_servers)
        await admin.start()
        try:
            await admin.delete_topics([settings.kafka_topic])
        finally:
            await admin.close()
        await ensure_topic(settings)

    truncated = [f"TopicTruncated {service}" for service in SERVICES]
    await pager.fires(*truncated, may="OutboxOld RelayWithoutLeader WorkerMissing TrackingMissing")
    terminal = Terminal(tmp_path, data_dir=str(pager.stack.data_dir))
    said = await terminal.run("outbox", "republish", "--stopped", "--yes")
    assert said.code == 0, said.err
    await pager.quiet()


async def test_what_the_temporal_sdk_counts_only_in_trouble_has_been_seen(pager: Pager) -> None:
    seen = await pager.ask("label/__name__/values")
    assert set(SDK_AFTER_TROUBLE) <= set(seen)


async def test_every_panel_of_the_dashboards_has_something_to_show(pager: Pager) -> None:
    empty = []
    for board in BOARDS:
        for panel in board.panels:
            for query in panel.queries:
                asked = query.expr.replace("$__rate_interval", "5m").replace("$instance", ".*")
                # Now, or at some time since the first outage: of the alerts none may fire any more.
                if not (await pager.ask("query", query=f"last_over_time(({asked})[15m:5s])"))["result"]:
                    empty.append(f"{board.name}: {panel.title}: {query.legend}")
    assert set(empty) == NEVER_SEEN_HERE
