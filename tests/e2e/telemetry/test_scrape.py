"""One scrape of each process has all that operators ask for, and Prometheus takes it."""

import asyncio
import re
import shutil
import subprocess

import pytest
import pytest_asyncio

from orderflow.domain import inventory, orders, payments
from orderflow.settings import Settings
from orderflow.stack.ports import private_port
from orderflow.stack.stack import EmbeddedStack
from orderflow.telemetry.meters import DEFINITIONS
from support.named_metrics import EXPRESSIONS, known_metrics
from support.promql import named
from support.scrapes import Scrape, scrape
from support.shop import Shop
from support.traffic import a_little_of_everything

PROCESSES = ("api", "workers", "relay")
#: What stays without a series as long as nothing goes wrong.
QUIET = {
    "orderflow_key_set_fetches_total",
    "orderflow_limited_requests_total",
    "orderflow_payloads_not_opened_total",
    "orderflow_reconciliation_findings_total",
    "orderflow_relay_failures_total",
    "orderflow_step_no_answers_total",
    "orderflow_sample_failures_total",
    "orderflow_statement_failures_total",
}
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-", re.IGNORECASE)
#: Series of one family in one process: what a Prometheus can well keep of many processes.
MOST_SERIES = 1200


pytestmark = pytest.mark.stack()


@pytest_asyncio.fixture(scope="module", autouse=True)
async def traffic(stack: EmbeddedStack) -> None:
    async with Shop(stack.settings) as shop:
        await a_little_of_everything(stack, shop)


@pytest.fixture(params=PROCESSES)
def process(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


async def test_every_metric_is_in_some_scrape(stack: EmbeddedStack) -> None:
    scrapes = [await scrape(private_port(stack.ports, name)) for name in PROCESSES]
    series = {sample.name for found in scrapes for sample in found.samples}
    suffix = {"histogram": "_count"}
    missing = {d.name for d in DEFINITIONS if d.name + suffix.get(d.kind, "") not in series}
    assert missing <= QUIET


async def test_labels_are_from_closed_lists(stack: EmbeddedStack, process: str) -> None:
    found = await scrape(private_port(stack.ports, process))
    lists = {definition.name: definition.labels for definition in DEFINITIONS}
    for sample in found.samples:
        family = re.sub(r"_(bucket|sum|count)$", "", sample.name)
        allowed = {*lists.get(sample.name, ()), *lists.get(family, ()), "le"}
        if sample.name.startswith("orderflow_"):
            assert sample.labels.keys() <= allowed
            assert not any(UUID.search(value) for value in sample.labels.values()), sample
    for name in found.types:
        assert sum(sample.name.startswith(name) for sample in found.samples) < MOST_SERIES


async def test_prometheus_takes_it(stack: EmbeddedStack, process: str, promtool: str) -> None:
    found = await scrape(private_port(stack.ports, process))
    said = await asyncio.to_thread(
        subprocess.run, [promtool, "check", "metrics"], input=found.text, capture_output=True, text=True
    )
    assert (said.returncode, said.stdout, said.stderr) == (0, "", "")


async def test_the_api_counts_requests_by_template_and_problems_by_slug(stack: EmbeddedStack) -> None:
    api = await scrape(private_port(stack.ports, "api"))
    assert api.total("orderflow_http_requests_total", method="POST", route="/orders", status="201") == 10
    ship = "/orders/{order_id}/ship"
    assert api.total("orderflow_http_requests_total", route=ship) == 7
    assert 0 < api.total("orderflow_http_request_duration_seconds_sum", route=ship) < 60
    assert api.total("orderflow_http_problems_total", route=ship, problem="illegal_transition", status="409") == 1
    assert api.total("orderflow_http_problems_total", route="unknown", problem="not_found") == 1
    assert api.total("orderflow_http_problems_total", route="/orders/{order_id}", problem="order_not_found") == 1
    assert not [s for s in api.of_name("orderflow_http_requests_total") if s.labels["route"].startswith("/health")]
    assert api.total("orderflow_statement_duration_seconds_count", statement="waits.ended") > 0


async def test_api_and_workers_count_what_happened_to_orders(stack: EmbeddedStack) -> None:
    api, workers = await scrape(private_port(stack.ports, "api")), await scrape(stack.ports["workers"])
    moves = "orderflow_transitions_total"
    assert api.total(moves, aggregate="order", to="DRAFT") == 10
    assert api.total(moves, aggregate="order", **{"from": "DRAFT", "to": "APPROVED"}) == 9
    assert workers.total(moves, aggregate="order", **{"from": "APPROVED", "to": "FULFILLING"}) == 6
    assert workers.total(moves, aggregate="order", **{"from": "APPROVED", "to": "CANCELLED"}) == 3
    assert workers.total(moves, aggregate="order", to="SHIPPED") == 6
    assert api.total(moves, aggregate="order", to="COMPLETED") == 6
    assert workers.total(moves, aggregate="payment", to="DECLINED") == 1
    assert workers.total(moves, aggregate="reservation", to="REJECTED") == 2
    known = {*orders.LIFECYCLE.statuses, *payments.LIFECYCLE.statuses, *inventory.LIFECYCLE.statuses, ""}
    counted = [*api.of_name(moves), *workers.of_name(moves)]
    assert {value for s in counted for value in (s.labels["from"], s.labels["to"])} <= known
    assert workers.total("orderflow_stock_rejections_total", reason="unknown_sku") == 1
    assert workers.total("orderflow_stock_rejections_total", reason="out_of_stock") == 1
    assert workers.total("orderflow_order_approve_to_fulfilling_seconds_count") == 6
    assert 0 < workers.total("orderflow_order_approve_to_fulfilling_seconds_sum") < 60


async def test_the_workers_count_steps_gateway_and_locks(stack: EmbeddedStack) -> None:
    workers = await scrape(stack.ports["workers"])
    steps = "orderflow_step_duration_seconds_count"
    assert workers.total(steps, step="authorize_payment", outcome="unavailable") == 4
    assert workers.total("orderflow_step_retries_total", step="authorize_payment") == 1
    assert workers.total(steps, step="reserve_inventory", outcome="refused") == 2
    calls = "orderflow_gateway_call_duration_seconds_count"
    assert workers.total(calls, operation="authorize", outcome="unavailable") == 4
    assert workers.total(calls, operation="authorize", outcome="refused") == 1
    assert workers.total(calls, operation="capture", outcome="ok") == 6
    assert workers.total("orderflow_inventory_lock_wait_seconds_count") == 9
    assert 0 < workers.total("orderflow_inventory_lock_wait_seconds_sum") < 10
    for database in ("orders", "payments", "inventory"):
        pool = "orderflow_pool_connections"
        assert workers.total(pool, database=database, state="max") == Settings().database_pool_size
        assert 0 < workers.total(pool, database=database, state="idle") <= Settings().database_pool_size
        assert workers.total("orderflow_pool_wait_seconds_count", database=database) > 0


async def test_relay_and_tracking_say_how_the_stream_stands(stack: EmbeddedStack) -> None:
    relay = await scrape(stack.ports["relay"])
    for service in ("orders", "payments", "inventory"):
        assert relay.total("orderflow_relay_leader", service=service) == 1
        assert relay.total("orderflow_outbox_entries", service=service) == 0
        assert relay.total("orderflow_outbox_oldest_age_seconds", service=service) == 0
        published = relay.total("orderflow_relay_published_records_total", service=service)
        assert published > 0
        assert relay.total("orderflow_relay_batch_records_sum", service=service) == published
        assert relay.total("orderflow_relay_publish_duration_seconds_sum", service=service) > 0
    published = relay.total("orderflow_relay_published_records_total")
    assert relay.total("orderflow_consumed_records_total") == published + 1
    lag = list(relay.of_name("orderflow_consumer_lag_records"))
    assert len(lag) == stack.settings.kafka_partitions
    assert relay.total("orderflow_dead_letters_total", kind="undecodable") == 1
    assert relay.total("orderflow_dead_letters_waiting", kind="undecodable") == 1
    assert relay.total("orderflow_orders", status="DRAFT") == 1
    assert 0 < relay.total("orderflow_order_oldest_age_seconds", status="DRAFT") < 600
    assert relay.total("orderflow_order_mean_age_seconds", status="DRAFT") > 0


async def test_the_temporal_sdk_is_in_the_same_scrape(stack: EmbeddedStack) -> None:
    workers = await scrape(stack.ports["workers"])
    waited = "temporal_activity_schedule_to_start_latency_seconds_count"
    assert workers.total(waited, task_queue="payments") > 0
    assert workers.total("temporal_worker_task_slots_available", worker_type="ActivityWorker") > 0
    assert list(workers.of_name("temporal_sticky_cache_size"))
    api = await scrape(private_port(stack.ports, "api"))
    assert api.total("temporal_request_latency_seconds_count", operation="StartWorkflowExecution") == 9


async def test_a_process_says_what_it_costs(stack: EmbeddedStack, process: str) -> None:
    found: Scrape = await scrape(private_port(stack.ports, process))
    assert found.total("process_resident_memory_bytes") > 10_000_000
    assert found.total("process_cpu_seconds_total") > 0


async def test_every_metric_that_a_rule_a_dashboard_or_a_page_names_is_in_a_scrape(stack: EmbeddedStack) -> None:
    known = await known_metrics(private_port(stack.ports, name) for name in (*PROCESSES, "gateway"))
    wrong = {
        where: [wrong for expression in expressions for wrong in known.wrong(expression)]
        for where, expressions in EXPRESSIONS.items()
    }
    assert {where: names for where, names in wrong.items() if names} == {}
    assert len(EXPRESSIONS) > 100

    # And that a misspelt name or label would be found, in each of them.
    for where, expressions in EXPRESSIONS.items():
        for expression in expressions:
            for name in named(expression).metrics:
                assert known.wrong(re.sub(rf"\b{name}\b", f"{name[:-1]}x", expression)), where
    assert known.wrong('sum by (staus) (orderflow_orders{status="DRAFT"})') == ["by (staus)"]
    assert known.wrong('orderflow_orders{staus="DRAFT"}') == ["orderflow_orders{staus}"]


async def test_prometheus_takes_the_gateway_simulators_scrape_too(stack: EmbeddedStack) -> None:
    gateway = await scrape(stack.ports["gateway"])
    calls = "gateway_simulator_requests_total"
    assert gateway.total(calls, operation="authorize", outcome="lost") == 4
    assert gateway.total(calls, operation="authorize", outcome="replayed") == 4
    assert gateway.total(calls, operation="authorize", outcome="refused") == 1
    assert gateway.total(calls, operation="capture", outcome="ok") == 6
    assert gateway.total("gateway_simulator_request_duration_seconds_count", operation="capture") == 6
    promtool = shutil.which("promtool")
    if promtool is not None:
        said = await asyncio.to_thread(
            subprocess.run, [promtool, "check", "metrics"], input=gateway.text, capture_output=True, text=True
        )
        assert (said.returncode, said.stdout, said.stderr) == (0, "", "")
