"""HEAD wherever there is a GET, OPTIONS and 405 with every method of the path (RFC 9110 9.1, 9.3.2, 9.3.7, 15.5.6)."""

import asyncio
import contextlib
from typing import Any

import httpx
import pytest
import pytest_asyncio

from api.app import create_app
from api.http.measuring import RequestMetrics
from orderflow.settings import Settings
from orderflow.stack.ports import free_port
from orderflow.telemetry.health import Health, serve_health
from orderflow.telemetry.metrics import HTTP_REQUESTS
from support.api import an_api, placed
from support.keys import MERCHANT
from support.terminal import served
from support.waiting import until

METHODS = {"get", "put", "post", "delete", "patch"}


@pytest_asyncio.fixture(scope="module")
async def paths(quiet_api: httpx.AsyncClient) -> dict[str, set[str]]:
    """Each path of the API, filled in with what is there, and the methods that ``Allow`` must name."""
    order_id = await placed(quiet_api)
    await quiet_api.put("/inventory/SKU-1", json={"on_hand": 1})
    filled = {"{order_id}": order_id, "{command_id}": "w:place", "{sku}": "SKU-1", "{slug}": "invalid"}
    schema: dict[str, dict[str, Any]] = (await quiet_api.get("/openapi.json")).json()["paths"]
    found: dict[str, set[str]] = {"/docs": {"GET"}, "/openapi.json": {"GET"}}
    for path, operations in schema.items():
        for name, value in filled.items():
            path = path.replace(name, value)
        found[path] = {name.upper() for name in METHODS & set(operations)}
    return {path: names | {"OPTIONS"} | ({"HEAD"} & {"HEAD" for _ in names & {"GET"}}) for path, names in found.items()}


def allowed(answer: httpx.Response) -> set[str]:
    return {name.strip() for name in answer.headers["allow"].split(",")}


def lasting(answer: httpx.Response) -> dict[str, str]:
    """The headers that are the same whenever one asks."""
    return {name: value for name, value in answer.headers.items() if name not in ("x-correlation-id", "content-length")}


async def test_head_is_answered_as_get_is(quiet_api: httpx.AsyncClient, paths: dict[str, set[str]]) -> None:
    readable = [path for path, names in paths.items() if "GET" in names]
    assert {"/health/live", "/health/ready", "/orders", "/inventory/SKU-1", "/problems"} <= set(readable)
    for path in [*readable, "/nothing", "/orders/42", "/inventory/none"]:
        got, head = await quiet_api.get(path), await quiet_api.head(path)
        assert (head.status_code, head.content) == (got.status_code, b""), path
        assert lasting(head) == lasting(got), path
        assert "content-length" in head.headers


async def test_options_and_405_name_every_method(quiet_api: httpx.AsyncClient, paths: dict[str, set[str]]) -> None:
    assert paths["/inventory/SKU-1"] == {"GET", "HEAD", "OPTIONS", "PUT"}
    assert paths["/orders"] == {"GET", "HEAD", "OPTIONS", "POST"}
    for path, names in paths.items():
        options = await quiet_api.options(path)
        assert (options.status_code, options.content, allowed(options)) == (204, b"", names), path
        for method in {"GET", "HEAD", "PUT", "POST", "PATCH", "DELETE", "TRACE", "PURGE"} - names:
            answer = await quiet_api.request(method, path)
            assert (answer.status_code, allowed(answer)) == (405, names), (method, path)
            assert answer.headers["content-type"] == "application/problem+json"
            assert (answer.content == b"") == (method == "HEAD")


@pytest.mark.parametrize("method", ["OPTIONS", "HEAD", "DELETE"])
async def test_where_nothing_is_every_method_is_404(quiet_api: httpx.AsyncClient, method: str) -> None:
    answer = await quiet_api.request(method, "/orders/")
    assert (answer.status_code, "allow" in answer.headers) == (404, False)


async def test_a_head_has_preconditions_as_a_get_has(quiet_api: httpx.AsyncClient) -> None:
    here = f"/orders/{await placed(quiet_api)}"
    assert (await quiet_api.head(here)).headers["etag"] == '"1"'
    unchanged = await quiet_api.head(here, headers={"If-None-Match": '"1"', "Prefer": "wait=0"})
    assert (unchanged.status_code, unchanged.headers["etag"]) == (304, '"1"')
    assert (await quiet_api.head(here, headers={"If-Match": '"2"'})).status_code == 412


async def test_a_served_head_leaves_its_connection_usable(settings: Settings) -> None:
    """The length is that of a GET, and nothing of it is sent: what comes next is the next answer."""
    limits = httpx.Limits(max_connections=1)
    async with (
        served(settings) as url,
        httpx.AsyncClient(base_url=url, limits=limits, timeout=30, headers=MERCHANT) as client,
    ):
        for path in ("/health/ready", "/orders", "/nothing"):
            head, got = await client.head(path), await client.get(path)
            assert (head.status_code, head.content) == (got.status_code, b"")
            assert int(head.headers["content-length"]) > 0
            assert (await client.options("/orders")).status_code == 204


async def test_a_head_is_counted_as_one_of_its_route(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[tuple[str, ...]] = []
    monkeypatch.setattr(HTTP_REQUESTS, "add", lambda *labels: counted.append(labels), raising=False)
    app = create_app(settings)
    app.add_middleware(RequestMetrics)
    async with an_api(app=app) as client:
        await client.head("/inventory/none")
        await client.get("/inventory/none", headers={"X-Forwarded-Prefix": "/shop"})
        await client.head("/health/live", headers={"X-Forwarded-Prefix": "/shop"})
    assert counted == [(method, "/inventory/{sku}", "404") for method in ("HEAD", "GET")]


async def test_a_workers_health_answers_head_too() -> None:
    port, stopping, health = free_port(), asyncio.Event(), Health()
    serving = asyncio.create_task(serve_health(health, "127.0.0.1", port, stopping))
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=MERCHANT) as client:

        async def is_up() -> bool:
            with contextlib.suppress(httpx.TransportError):
                return (await client.head("/health/live")).status_code == 200
            return False

        await until(is_up)
        head, got = await client.head("/health/ready"), await client.get("/health/ready")
    stopping.set()
    await serving
    assert (head.status_code, head.content, got.status_code) == (503, b"", 503)
