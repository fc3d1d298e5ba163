"""One order's requests as traces: from what the processes exported, without a collector."""

import json
import re
from collections import Counter
from collections.abc import AsyncIterator
from uuid import UUID

import httpx
import pytest
import pytest_asyncio
from temporalio.client import Client as TemporalClient
from typer.testing import CliRunner

from cli.main import app
from operations.traces.otlp import Span, spans_of_order
from orderflow.stack.stack import EmbeddedStack
from orderflow.temporal.client import converter_of
from orderflow.temporal.names import workflow_id
from support.keys import bearer_of
from support.stream import Seen, read_topic
from support.waiting import until

TRACE = "0af7651916cd43dd8448eb211c80319c"
CLIENTS_SPAN = "b7ad6b7169203331"
#: OTLP's number for a span that serves a request.
SERVER = 2
#: What no log and no trace may hold: who bought, with what, and what they said.
CANARIES = ("tok_canary_9d1f", "canary-customer", "canary-reference", "canary-note", "canary-parcel")
ORDER = {
    "customer_id": "canary-customer",
    "reference": "canary-reference",
    "currency": "EUR",
    "payment_token": "tok_ok",
    "lines": [{"sku": "bread", "quantity": 2, "unit_price": 150}],
}


pytestmark = pytest.mark.stack(traces="file", log_level="debug")


class Client:
    """A client that traces, or says that it does not."""

    def __init__(self, http: httpx.AsyncClient, trace_id: str = TRACE, *, sampled: bool = True) -> None:
        self._http = http
        self._headers = {
            "traceparent": f"00-{trace_id}-{CLIENTS_SPAN}-{'01' if sampled else '00'}",
            "Prefer": "wait=20",
        }

    async def place(self, token: str = "tok_ok") -> str:
        body = ORDER | {"payment_token": token}
        return str((await self._http.post("/orders", json=body, headers=self._headers)).raise_for_status().json()["id"])

    async def ask(self, order_id: str, command: str, **body: str) -> None:
        asked = await self._http.post(f"/orders/{order_id}/{command}", json=body, headers=self._headers)
        assert asked.status_code == 200, asked.text

    async def reaches(self, order_id: str, status: str) -> None:
        async def there() -> bool:
            return bool((await self._http.get(f"/orders/{order_id}")).json()["status"] == status)

        await until(there, seconds=20, every=0.05)


@pytest_asyncio.fixture
async def http(stack: EmbeddedStack) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(
        base_url=stack.settings.api_url, timeout=30, headers=bearer_of(stack.settings)
    ) as http:
        await http.put("/inventory/bread", json={"on_hand": 1000})
        yield http


def exported(stack: EmbeddedStack, order_id: str) -> list[Span]:
    """What all processes have exported so far of the order's traces."""
    return spans_of_order(sorted((stack.data_dir / "traces").glob("*.jsonl")), UUID(order_id))


async def all_exported(stack: EmbeddedStack, order_id: str, processed: int) -> list[Span]:
    """Once so many of the order's events are tracked, and the last step's span is there too."""

    async def there() -> bool:
        spans = exported(stack, order_id)
        sent = {span.parent_id for span in spans if span.name.startswith("send ")}
        return (
            sum(span.name.startswith("process ") for span in spans) >= processed
            and sent <= {span.span_id for span in spans}
            and {span.parent_id for span in spans} <= {span.span_id for span in spans} | {CLIENTS_SPAN, ""}
        )

    await until(there, seconds=20, every=0.1)
    return exported(stack, order_id)


def ways(spans: list[Span]) -> set[tuple[str, ...]]:
    """Each span as the names from its request down to it. Fails where a parent is missing."""
    by_id = {span.span_id: span for span in spans}

    def way(span: Span) -> tuple[str, ...]:
        if span.parent_id in (CLIENTS_SPAN, ""):
            return (span.name,)
        return (*way(by_id[span.parent_id]), span.name)

    return {way(span) for span in spans}


def of_temporal(spans: list[Span]) -> Counter[str]:
    """How often each of Temporal's spans is there."""
    return Counter(span.name for span in spans if ":" in span.name)


async def live(client: Client) -> str:
    """An order's whole life."""
    order_id = await client.place()
    await client.ask(order_id, "approve")
    await client.reaches(order_id, "FULFILLING")
    await client.ask(order_id, "ship", carrier="UPS", tracking_number="canary-parcel")
    await client.ask(order_id, "complete")
    return order_id


@pytest_asyncio.fixture(scope="module")
async def traced(stack: EmbeddedStack) -> tuple[str, list[Span]]:
    """An order whose client sent one trace with all its requests, and the spans of that trace."""
    async with httpx.AsyncClient(
        base_url=stack.settings.api_url, timeout=30, headers=bearer_of(stack.settings)
    ) as http:
        await http.put("/inventory/bread", json={"on_hand": 1000})
        order_id = await live(Client(http))
    return order_id, await all_exported(stack, order_id, 9)


async def test_one_trace_runs_through_all_processes(traced: tuple[str, list[Span]]) -> None:
    _, spans = traced
    assert {span.trace_id for span in spans} == {TRACE}
    assert {span.process for span in spans} == {"api", "workers", "relay"}
    place, approve, ship, complete = (
        "POST /orders",
        *(f"POST /orders/{{order_id}}/{n}" for n in ("approve", "ship", "complete")),
    )
    assert [span.name for span in spans if span.parent_id == CLIENTS_SPAN] == [place, approve, ship, complete]
    authorize = (approve, "StartActivity:authorize_payment", "RunActivity:authorize_payment")
    capture = (ship, "StartActivity:capture_payment", "RunActivity:capture_payment")
    assert ways(spans) >= {
        (place, "orders.place"),
        (place, "send order.events", "process order.events"),
        (approve, "orders.approve"),
        (approve, "StartWorkflow:OrderWorkflow"),
        (*authorize, "POST /v1/payments/{id}/authorize"),
        (*authorize, "payments.authorize"),
        (*authorize, "send order.events", "process order.events"),
        (approve, "StartActivity:move_order", "RunActivity:move_order", "orders.fulfil"),
        (ship, "orders.accept_ship"),
        (ship, "SignalWithStartWorkflow:OrderWorkflow", "HandleSignal:ship"),
        (*capture, "POST /v1/payments/{id}/capture"),
        (*capture, "send order.events", "process order.events"),
        (ship, "StartActivity:end_ship", "RunActivity:end_ship", "orders.record_ship"),
        (ship, "StartActivity:commit_inventory", "RunActivity:commit_inventory", "reservations.commit"),
        (complete, "orders.complete"),
    }
    assert [span.name for span in spans if span.error] == []


async def test_a_record_names_its_sending_and_its_event_the_request_or_step_that_made_it(
    stack: EmbeddedStack, traced: tuple[str, list[Span]]
) -> None:
    order_id, spans = traced
    by_id = {span.span_id: span for span in spans}
    records = [
        record
        for record in await read_topic(stack.settings.kafka_bootstrap_servers, stack.settings.kafka_topic)
        if record.key == order_id.encode()
    ]
    assert len(records) == 9
    for record in records:
        sent, made = (by_id[record.headers[name].split("-")[2]] for name in ("traceparent", "ce_traceparent"))
        assert sent.name == "send order.events"
        assert sent.attributes["messaging.kafka.offset"] == str(record.offset)
        assert made.name.startswith(("RunActivity:", "POST /orders"))
        assert sent.parent_id == made.span_id
    processed = [span for span in spans if span.name.startswith("process ")]
    assert [span.linked for span in processed] == [(by_id[span.parent_id].parent_id,) for span in processed]


async def test_a_replay_makes_no_spans(
    stack: EmbeddedStack, http: httpx.AsyncClient, traced: tuple[str, list[Span]]
) -> None:
    client = Client(http, "1" * 32)
    order_id = await client.place()
    await client.ask(order_id, "approve")
    await client.reaches(order_id, "FULFILLING")

    async def fulfilled() -> bool:
        return of_temporal(exported(stack, order_id))["RunActivity:move_order"] == 1

    await until(fulfilled, seconds=20, every=0.1)
    await stack.process("workers").kill()
    await client.ask(order_id, "ship", carrier="UPS", tracking_number="1Z")
    await client.ask(order_id, "complete")
    spans = await all_exported(stack, order_id, 9)
    assert of_temporal(spans) == of_temporal(traced[1])
    assert len({span.span_id for span in spans}) == len(spans)


async def test_only_requests_begin_traces(stack: EmbeddedStack, http: httpx.AsyncClient) -> None:
    """What relay, tracking and gauges ask all day long is in none, nor what other clients ask of Temporal."""
    order_id = (await http.post("/orders", json=ORDER)).json()["id"]
    await http.post(f"/orders/{order_id}/approve", json={})
    await Client(http).reaches(order_id, "FULFILLING")
    temporal = await TemporalClient.connect(
        stack.settings.temporal_address, data_converter=converter_of(stack.settings)
    )
    workflow = temporal.get_workflow_handle(workflow_id(UUID(order_id)))
    await workflow.query("order")
    await workflow.signal("look")
    await http.get("/inventory/health-bar")
    await http.get("/health/ready")
    await all_exported(stack, await live(Client(http, "6" * 32)), 9)  # what came before is exported too
    found = []
    for file in (stack.data_dir / "traces").glob("*.jsonl"):
        for line in file.read_text().splitlines():
            for resource in json.loads(line)["resourceSpans"]:
                found += [span for scope in resource["scopeSpans"] for span in scope["spans"]]
    begun = [span for span in found if not span.get("parentSpanId")]
    assert begun
    assert {span["kind"] for span in begun} == {SERVER}
    assert {span["name"].split()[0] for span in begun} == {"GET", "PUT", "POST"}
    asked = {
        item["value"]["stringValue"] for span in begun for item in span["attributes"] if item["key"] == "http.target"
    }
    assert "/inventory/health-bar" in asked
    assert "/health/ready" not in asked


async def test_a_stop_in_order_leaves_no_errors_and_no_span_twice(
    stack: EmbeddedStack, http: httpx.AsyncClient
) -> None:
    client = Client(http, "7" * 32)
    order_id = await client.place()
    await client.ask(order_id, "approve")
    await client.reaches(order_id, "FULFILLING")
    workers = stack.process("workers")
    await workers.stop()
    before_the_stop = exported(stack, order_id)
    await workers.start()
    await client.ask(order_id, "ship", carrier="UPS", tracking_number="1Z")
    spans = await all_exported(stack, order_id, 7)
    assert {span.span_id for span in before_the_stop} < {span.span_id for span in spans}
    assert "RunActivity:reserve_inventory" in of_temporal(before_the_stop)
    assert len({span.span_id for span in spans}) == len(spans)
    log = (stack.data_dir / "logs" / "workers.log").read_text(errors="replace")
    assert "detach" not in log


async def test_a_client_that_does_not_sample_is_not_traced(stack: EmbeddedStack, http: httpx.AsyncClient) -> None:
    trace_id = "2" * 32
    order_id = await live(Client(http, trace_id, sampled=False))
    records: list[Seen] = []

    async def all_sent() -> bool:
        topic = await read_topic(stack.settings.kafka_bootstrap_servers, stack.settings.kafka_topic)
        records[:] = [record for record in topic if record.key == order_id.encode()]
        return len(records) == 9

    await until(all_sent, seconds=20, every=0.2)
    for record in records:
        for header in ("traceparent", "ce_traceparent"):
            assert re.fullmatch(f"00-{trace_id}-[0-9a-f]{{16}}-00", record.headers[header])
    # Exports are in order within a process: what comes later is there, so this order is not to come.
    marker = await live(Client(http, "3" * 32))
    await all_exported(stack, marker, 9)
    assert exported(stack, order_id) == []


async def test_what_a_step_says_names_order_workflow_and_trace(stack: EmbeddedStack, http: httpx.AsyncClient) -> None:
    trace_id = "4" * 32
    client = Client(http, trace_id)
    order_id = await client.place()
    gateway = stack.process("gateway")
    await gateway.stop()
    await client.ask(order_id, "approve")
    lines: list[dict[str, str]] = []

    async def said() -> bool:
        text = (stack.data_dir / "logs" / "workers.log").read_text(errors="replace")
        lines[:] = [json.loads(line) for line in text.splitlines() if line.startswith("{") and order_id in line]
        return any("activity" in line["event"] and line["level"] == "warning" for line in lines)

    try:
        await until(said, seconds=20, every=0.1)
    finally:
        await gateway.start()
    await client.reaches(order_id, "FULFILLING")
    for line in lines:
        if line["level"] == "debug":
            continue  # of libraries, about their own work
        assert (line["order_id"], line["workflow_id"]) == (order_id, f"order-{order_id}"), line
        assert line["trace_id"] == trace_id, line
        assert line["run_id"], line
        assert line["correlation_id"], line


async def test_nobody_is_in_a_log_or_a_trace(stack: EmbeddedStack, http: httpx.AsyncClient) -> None:
    client = Client(http, "5" * 32)
    shipped = await live(client)
    declined = await client.place(token="tok_canary_9d1f")
    await client.ask(declined, "approve")  # the simulator declines what it does not know
    await client.reaches(declined, "CANCELLED")
    waiting = await client.place()
    await client.ask(waiting, "approve")
    cancelled = await client.place()
    await client.ask(cancelled, "cancel", note="canary-note")
    await _tell_past_the_api(stack, waiting)
    await http.get("/orders", params={"customer_id": "canary-customer"})
    await http.post("/orders", json={"customer_id": "canary-customer", "payment_token": "tok_canary_9d1f"})
    for order_id, processed in ((shipped, 9), (cancelled, 2)):
        await all_exported(stack, order_id, processed)
    texts = {
        path.name: path.read_text(errors="replace")
        for folder in ("logs", "traces")
        for path in (stack.data_dir / folder).iterdir()
    }
    assert {"api.log", "workers.log", "relay.log", "gateway.log"} <= texts.keys()
    assert {(name, canary) for name, text in texts.items() for canary in CANARIES if canary in text} == set()


async def _tell_past_the_api(stack: EmbeddedStack, order_id: str) -> None:
    """Somebody sends the workflow what it does not read."""
    temporal = await TemporalClient.connect(
        stack.settings.temporal_address, data_converter=converter_of(stack.settings)
    )
    said = {"order": ORDER, "payment_token": "tok_canary_9d1f", "note": "canary-note"}
    await temporal.get_workflow_handle(workflow_id(UUID(order_id))).signal("cancel", said)


async def test_the_command_draws_it(
    stack: EmbeddedStack, traced: tuple[str, list[Span]], monkeypatch: pytest.MonkeyPatch
) -> None:
    order_id, spans = traced
    monkeypatch.setenv("ORDERFLOW_DATA_DIR", str(stack.data_dir))
    drawn = CliRunner().invoke(app, ["order", "trace", order_id])
    assert drawn.exit_code == 0, drawn.output
    first, *rows = drawn.output.splitlines()
    assert re.fullmatch(rf"trace {TRACE}  \S+ \S+Z  \d+\.\d ms  {len(spans)} spans", first)
    assert len(rows) == len(spans)
    assert re.fullmatch(r"  api +POST /orders +0\.0 ms │─+ *│ \d+\.\d ms", rows[0])
    for row in rows:
        assert re.search(r"│ *─+→? *│ \d+\.\d m?s$", row), row
    told = json.loads(CliRunner().invoke(app, ["order", "trace", order_id, "--json"]).output)
    assert [span["name"] for span in told[0]["spans"]].count("send order.events") == 9
    unknown = CliRunner().invoke(app, ["order", "trace", "00000000-0000-4000-8000-000000000000"])
    assert unknown.exit_code == 4
    assert "no trace of order" in unknown.output + unknown.stderr
