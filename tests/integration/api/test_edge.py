"""What is refused before a route sees it, and what every answer says: by hosts, pages, proxies, paths and queries."""

import asyncio
import json
from collections.abc import AsyncIterator
from urllib.parse import urlsplit
from uuid import UUID

import httpx
import pytest
import pytest_asyncio
from pydantic import ValidationError

from api.edge import addresses
from orderflow.settings import Settings
from support.api import a_namespace, an_api, api_settings, order_body, placed
from support.keys import MERCHANT
from support.stack import PostgresServer
from support.terminal import served

HERE = "/orders/6a5e3f4c-7c1a-5b52-8f0e-1f0a4c2a9d11"
SHOP = "https://shop.example"


async def problem_of(answer: httpx.Response, status: int, slug: str) -> dict[str, object]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem: dict[str, object] = answer.json()
    assert problem["type"] == f"urn:orderflow:problems/{slug}"
    return problem


@pytest_asyncio.fixture(scope="module")
async def edge_settings(postgres: PostgresServer, temporal_server: str) -> AsyncIterator[Settings]:
    databases = await postgres.fresh_databases()
    yield api_settings(databases, temporal_server, await a_namespace(temporal_server))
    await postgres.drop(databases)


# --- Hosts ---


@pytest.mark.parametrize(
    "host", ["api", "API", "api:8080", "api.", "localhost", "localhost:1", "127.0.0.1", "[::1]:80"]
)
async def test_a_name_of_ours_is_answered(quiet_api: httpx.AsyncClient, host: str) -> None:
    assert (await quiet_api.get("/problems", headers={"Host": host})).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "api.evil.example",
        "localhost.evil.example",
        "169.254.169.254",
        "",
        "api@evil",
        "api:80:80",
        "a b",
    ],
)
async def test_another_name_is_421_also_with_a_key(quiet_api: httpx.AsyncClient, host: str) -> None:
    for method, path in (("GET", "/orders"), ("POST", f"{HERE}/ship"), ("GET", "/openapi.json"), ("GET", "/nothing")):
        await problem_of(await quiet_api.request(method, path, headers={"Host": host}), 421, "misdirected")


async def test_probes_ask_by_address(quiet_api: httpx.AsyncClient) -> None:
    answer = await quiet_api.get("/health/ready", headers={"Host": "10.2.3.4:8080"})
    assert (answer.status_code, answer.json()) == (200, {"ready": True})
    await problem_of(await quiet_api.get("/healthy", headers={"Host": "10.2.3.4:8080"}), 421, "misdirected")


def test_the_names_are_those_of_its_address_unless_they_are_set() -> None:
    usual = addresses.hosts(Settings(api_url="https://Shop.example/v1", api_host="10.0.0.5"))
    assert all(host in usual for host in ("shop.example", "SHOP.example:443", "10.0.0.5:8080", "localhost"))
    assert "0.0.0.0" not in addresses.hosts(Settings(api_host="0.0.0.0"))  # noqa: S104
    named = addresses.hosts(Settings(api_url="https://shop.example", api_hosts="a.example, b.example:8443"))
    assert [host in named for host in ("a.example", "b.example", "shop.example")] == [True, True, False]


# --- Pages ---


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://api:8080"},
        {"Origin": "http://localhost"},
        {"Origin": "http://api.evil.example"},
        {"Origin": "file://api"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Origin": "https://evil.example", "Sec-Fetch-Site": "same-origin"},
    ],
    ids=str,
)
async def test_another_page_can_do_nothing_with_or_without_a_body(
    quiet_api: httpx.AsyncClient, headers: dict[str, str]
) -> None:
    order = await placed(quiet_api)
    for method, path, body in (
        ("POST", f"/orders/{order}/approve", None),
        ("POST", f"/orders/{order}/cancel", {}),
        ("POST", "/orders", order_body()),
        ("GET", f"/orders/{order}", None),
        ("OPTIONS", "/orders", None),
    ):
        answer = await quiet_api.request(method, path, json=body, headers=headers)
        await problem_of(answer, 403, "foreign_origin")
        assert not [name for name in answer.headers if name.startswith("access-control-")]
    assert (await quiet_api.get(f"/orders/{order}")).json()["status"] == "DRAFT"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "http://api"},
        {"Origin": "https://api", "Sec-Fetch-Site": "same-origin"},
        {"Origin": "http://api:8080", "Host": "api:8080"},
        {"Origin": "http://api:80"},
        {"Sec-Fetch-Site": "none"},
        {"Sec-Fetch-Site": "same-origin"},
    ],
    ids=str,
)
async def test_its_own_page_and_what_is_no_page_is_served(
    quiet_api: httpx.AsyncClient, headers: dict[str, str]
) -> None:
    assert (await quiet_api.post("/orders", json=order_body(), headers=headers)).status_code == 201


async def test_a_listed_page_is_answered_and_asked_what_it_may_send(edge_settings: Settings) -> None:
    async with an_api(edge_settings.model_copy(update={"api_origins": f"{SHOP}, https://b.example"})) as api:
        asked = {"Origin": SHOP, "Access-Control-Request-Method": "POST"}
        preflight = await api.options("/orders", headers={**asked, "Access-Control-Request-Headers": "authorization"})
        assert preflight.status_code == 204
        assert preflight.headers["access-control-allow-origin"] == SHOP
        assert "POST" in preflight.headers["access-control-allow-methods"]
        assert "Authorization" in preflight.headers["access-control-allow-headers"]
        assert "access-control-allow-credentials" not in preflight.headers
        for answer in (
            await api.post("/orders", json=order_body(), headers={"Origin": SHOP, "Sec-Fetch-Site": "cross-site"}),
            await api.post("/orders", json={}, headers={"Origin": SHOP}),
            await api.get("/nothing", headers={"Origin": SHOP}),
        ):
            assert answer.headers["access-control-allow-origin"] == SHOP
            assert "ETag" in answer.headers["access-control-expose-headers"]
            assert answer.headers["vary"] == "Authorization, Origin"
        evil = await api.options("/orders", headers={**asked, "Origin": "https://evil.example"})
        await problem_of(evil, 403, "foreign_origin")
        assert "access-control-allow-origin" not in (await api.get("/problems")).headers


@pytest.mark.parametrize("origin", ["*", "shop.example", "https://shop.example/", "HTTPS://shop.example", "null"])
def test_what_is_no_origin_is_refused_at_the_start(origin: str) -> None:
    with pytest.raises(ValidationError, match="api_origins"):
        Settings(api_origins=origin)


# --- Proxies ---


FORGED = {"X-Forwarded-For": "203.0.113.9", "X-Forwarded-Proto": "https", "X-Forwarded-Prefix": "/evil"}


async def test_a_stranger_is_not_believed(quiet_api: httpx.AsyncClient) -> None:
    made = await quiet_api.post("/orders", json=order_body(), headers=FORGED)
    assert made.headers["location"].startswith("/orders/")


@pytest.mark.parametrize(("proxies", "prefix"), [("127.0.0.0/8, ::1", "/evil"), ("10.0.0.0/8", ""), ("", "")])
async def test_a_listed_proxy_is_believed_also_over_the_wire(
    edge_settings: Settings, proxies: str, prefix: str
) -> None:
    async with (
        served(edge_settings.model_copy(update={"api_proxies": proxies})) as url,
        httpx.AsyncClient(base_url=url, headers=MERCHANT) as client,
    ):
        made = await client.post("/orders", json=order_body(), headers=FORGED)
        assert made.headers["location"].startswith(f"{prefix}/orders/")


@pytest.mark.parametrize("proxies", ["proxy", "*", "10.0.0.1/8"])
def test_what_is_no_proxy_is_refused_at_the_start(proxies: str) -> None:
    with pytest.raises(ValidationError, match="api_proxies"):
        Settings(api_proxies=proxies)


# --- Paths and queries ---


async def test_an_order_has_one_path(quiet_api: httpx.AsyncClient) -> None:
    order = await placed(quiet_api)
    assert (await quiet_api.get(f"/orders/{order}")).status_code == 200
    other_ways = (
        order.upper(),
        order.replace("-", ""),
        f"{{{order}}}",
        f"urn:uuid:{order}",
        f"{order}%2Fevents",
        f"{order}%2fevents",
        f"%2F{order}",
        f"{order}%0A",
        "42",
    )
    for way in other_ways:
        if way == order:
            continue
        for path in (f"/orders/{way}", f"/orders/{way}/events"):
            answer = await quiet_api.get(path)
            assert answer.status_code == 404, path
            assert answer.headers["content-type"] == "application/problem+json"
        assert (await quiet_api.post(f"/orders/{way}/approve")).status_code == 404
    for path in ("/orders%0A", f"/orders/{order}/events%0A"):
        assert (await quiet_api.get(path)).status_code == 404, path
    assert (await quiet_api.post(f"/orders/{order}/approve%0A")).status_code == 404
    assert (await quiet_api.get("/inventory/a%2Fb")).status_code == 404
    assert UUID(order)


@pytest.mark.parametrize(
    ("query", "field", "rule"),
    [
        ("limit=1&limit=2", "query.limit", "repeated"),
        ("limit=1&limit=1", "query.limit", "repeated"),
        ("status=DRAFT&status=APPROVED", "query.status", "repeated"),
        ("limit=1&%6Cimit=2", "query.limit", "repeated"),
        ("unknown=1", "query.unknown", "extra_forbidden"),
        ("limit=1.0", "query.limit", "int_parsing"),
        ("limit=%2B5", "query.limit", "int_parsing"),
        ("limit=+5", "query.limit", "int_parsing"),
        ("limit=%205", "query.limit", "int_parsing"),
        ("limit=5%0A", "query.limit", "int_parsing"),
        ("limit=5_0", "query.limit", "int_parsing"),
        ("limit=%D9%A5", "query.limit", "int_parsing"),
        ("limit=05", "query.limit", "int_parsing"),
        ("limit=1e1", "query.limit", "int_parsing"),
        ("limit=", "query.limit", "int_parsing"),
        ("limit=0", "query.limit", "greater_than_equal"),
        ("limit=-1", "query.limit", "greater_than_equal"),
        ("limit=201", "query.limit", "less_than_equal"),
        ("cursor=%FF", "query", "not_utf8"),
        ("&".join(f"a{number}=1" for number in range(51)), "query", "too_many"),
    ],
)
async def test_a_query_says_each_thing_once_and_as_documented(
    quiet_api: httpx.AsyncClient, query: str, field: str, rule: str
) -> None:
    for path in ("/orders", "/inventory"):
        if path == "/inventory" and "status" in query:
            continue
        problem = await problem_of(await quiet_api.get(f"{path}?{query}"), 422, "invalid")
        errors = problem["errors"]
        assert isinstance(errors, list)
        assert (errors[0]["field"], errors[0]["rule"]) == (field, rule)


async def test_a_query_where_there_is_none_is_refused(quiet_api: httpx.AsyncClient) -> None:
    order = await placed(quiet_api)
    for method, path in (
        ("POST", f"/orders/{order}/approve"),
        ("GET", f"/orders/{order}"),
        ("GET", "/inventory/bread"),
        ("GET", "/health/live"),
        ("GET", "/problems"),
    ):
        await problem_of(await quiet_api.request(method, f"{path}?dry_run=true"), 422, "invalid")
    assert (await quiet_api.get(f"/orders/{order}")).json()["status"] == "DRAFT"


async def test_two_content_types_are_refused(quiet_api: httpx.AsyncClient) -> None:
    twice = [("Content-Type", "application/json"), ("Content-Type", "application/json")]
    answer = await quiet_api.post("/orders", content=json.dumps(order_body()), headers=twice)
    await problem_of(answer, 415, "unsupported_media_type")


# --- What every answer says ---


async def test_every_answer_is_safe(quiet_api: httpx.AsyncClient) -> None:
    order = await placed(quiet_api)
    answers = [
        await quiet_api.get(f"/orders/{order}"),
        await quiet_api.get(f"/orders/{order}", headers={"If-None-Match": '"1"'}),
        await quiet_api.post("/orders", json={}),
        await quiet_api.get("/nothing"),
        await quiet_api.get("/orders", headers={"Authorization": "Bearer no"}),
        await quiet_api.options("/orders"),
        await quiet_api.head("/health/live"),
        await quiet_api.get("/openapi.json"),
        await quiet_api.get("/orders", headers={"Host": "evil.example"}),
        await quiet_api.delete("/orders"),
    ]
    assert len({answer.status_code for answer in answers}) >= 7
    for answer in answers:
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["vary"] == "Authorization"
        assert "server" not in answer.headers


# --- Over the wire ---


async def test_what_never_becomes_a_request_is_a_problem_too(edge_settings: Settings) -> None:
    async with served(edge_settings) as url:
        port = urlsplit(url).port
        for said, status in (
            (b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n", 400),
            (b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X: y\r\n" * 101 + b"\r\n", 431),
            (b"GET http://evil.example/orders HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", 421),
            (b"GET http://localhost/orders HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n", 401),
            (b"OPTIONS * HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n", 421),
            (b"GET /orders HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n", 421),
        ):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(said)
            head, _, body = (await asyncio.wait_for(reader.read(), 10)).decode().partition("\r\n\r\n")
            writer.close()
            assert head.startswith(f"HTTP/1.1 {status} ")
            assert "cache-control: no-store" in head
            assert "server:" not in head.lower()
            assert json.loads(body)["status"] == status


async def test_the_server_as_a_whole_is_asked_what_it_does(edge_settings: Settings) -> None:
    """RFC 9110 9.3.7: ``OPTIONS *`` is a ping."""
    async with served(edge_settings) as url:
        reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(url).port)
        writer.write(b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        head, _, body = (await asyncio.wait_for(reader.read(), 10)).decode().partition("\r\n\r\n")
        writer.close()
        assert (head.partition("\r\n")[0], body) == ("HTTP/1.1 204 No Content", "")


async def test_a_chunked_order_is_placed_and_its_trailers_mean_nothing(edge_settings: Settings) -> None:
    body = json.dumps(order_body()).encode()
    key = MERCHANT["Authorization"].encode()
    head = b"POST /orders HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nConnection: close\r\n"
    chunks = b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n" % (len(body), body)
    for said, status in (
        (head + b"Authorization: " + key + b"\r\n" + chunks + b"\r\n", 201),
        (head + chunks + b"Authorization: " + key + b"\r\n\r\n", 401),
    ):
        async with served(edge_settings) as url:
            reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(url).port)
            writer.write(said)
            assert (await asyncio.wait_for(reader.read(), 10)).startswith(b"HTTP/1.1 %d " % status)
            writer.close()
