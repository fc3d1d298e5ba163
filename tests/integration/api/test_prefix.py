"""Behind a proxy that shows the API below a path, and takes that off before it asks: what leads back leads there."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
import pytest_asyncio
import uvicorn
from pydantic import ValidationError

from api import server
from api.app import create_app
from orderflow.settings import Settings
from support.api import an_api, order_body, reaches
from support.keys import MERCHANT
from support.world import World

SHOP = "/shop/v1"


@pytest_asyncio.fixture
async def api(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """An API that believes the proxy of these tests."""
    async with an_api(settings.model_copy(update={"api_proxies": "127.0.0.1"})) as client:
        yield client


@asynccontextmanager
async def a_proxy(api: httpx.AsyncClient, headers: dict[str, str]) -> AsyncIterator[httpx.AsyncClient]:
    """Shows ``api`` below SHOP, and nothing anywhere else."""

    async def passed_on(request: httpx.Request) -> httpx.Response:
        if not request.url.path.startswith(f"{SHOP}/"):
            return httpx.Response(502)
        target = request.url.raw_path.decode().removeprefix(SHOP)
        sent = {**request.headers, **headers}
        answer = await api.request(request.method, target, content=await request.aread(), headers=sent)
        return httpx.Response(answer.status_code, headers=answer.headers, content=answer.content)

    async with httpx.AsyncClient(transport=httpx.MockTransport(passed_on), base_url="http://proxy") as client:
        yield client


async def follows_its_links(proxy: httpx.AsyncClient) -> None:
    placed = await proxy.post(f"{SHOP}/orders", json=order_body())
    assert placed.status_code == 201, placed.text
    here = f"{SHOP}/orders/{placed.json()['id']}"
    assert placed.headers["location"] == placed.json()["links"]["self"] == here
    shown = await proxy.get(placed.headers["location"])
    assert (shown.status_code, shown.json()["links"]) == (200, placed.json()["links"])
    assert (await proxy.get(shown.json()["links"]["events"])).status_code == 200
    listed = (await proxy.get(f"{SHOP}/orders")).json()["orders"]
    assert [order["links"]["self"] for order in listed] == [here]
    refused = await proxy.post(f"{here}/ship")
    assert (refused.status_code, refused.json()["instance"]) == (409, f"{here}/ship")
    assert (await proxy.delete(here)).headers["allow"] == "GET, HEAD, OPTIONS"
    assert (await proxy.head(f"{SHOP}/health/live")).status_code == 200


async def finds_its_documentation(proxy: httpx.AsyncClient) -> None:
    page = (await proxy.get(f"{SHOP}/docs")).text
    assert f'"{SHOP}/openapi.json"' in page
    assert f'"{SHOP}/docs/init.js"' in page
    schema = await proxy.get(f"{SHOP}/openapi.json")
    assert (schema.status_code, schema.json()["servers"][0]["url"]) == (200, SHOP)


async def test_the_proxy_says_its_prefix(api: httpx.AsyncClient) -> None:
    async with a_proxy(api, {"X-Forwarded-Prefix": f"{SHOP}/"}) as proxy:
        await follows_its_links(proxy)
        await finds_its_documentation(proxy)
    # Who asks without the proxy is led to itself.
    assert (await api.get("/orders")).json()["orders"][0]["links"]["self"].startswith("/orders/")
    assert "servers" not in (await api.get("/openapi.json")).json()


async def test_the_prefix_is_a_setting(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    configs: list[uvicorn.Config] = []
    monkeypatch.setattr(server.Server, "run", lambda served: configs.append(served.config))
    app = create_app(settings)
    server.serve(app, settings.model_copy(update={"api_root_path": SHOP}))
    assert configs[0].root_path == SHOP
    async with an_api(app=app) as _:
        # As uvicorn does: the whole path, of which the prefix is a part.
        transport = httpx.ASGITransport(app, root_path=SHOP)
        async with httpx.AsyncClient(transport=transport, base_url="http://api", headers=MERCHANT) as below:
            placed = await below.post(f"{SHOP}/orders", json=order_body())
            assert placed.headers["location"] == f"{SHOP}/orders/{placed.json()['id']}"
            await finds_its_documentation(below)


async def test_a_ship_that_takes_longer_leads_to_its_outcome(world: World, api: httpx.AsyncClient) -> None:
    async with a_proxy(api, {"X-Forwarded-Prefix": SHOP}) as proxy:
        here = (await proxy.post(f"{SHOP}/orders", json=order_body())).headers["location"]
        await proxy.post(f"{here}/approve")
        await reaches(api, here.rpartition("/")[2], "FULFILLING")
        gate = world.gateway.hold("capture")
        accepted = await proxy.post(f"{here}/ship", headers={"Prefer": "respond-async"})
        gate.set()
        assert accepted.status_code == 202
        assert accepted.headers["location"] == accepted.json()["links"]["command"]
        assert accepted.json()["links"]["order"] == here
        assert (await proxy.get(accepted.headers["location"])).status_code == 200


@pytest.mark.parametrize(
    "sent", ["//evil.example", "https://evil.example", "shop", "/a//b", "/a/../b", "/.", "/a b", "/a?b", "/ä", "/" * 9]
)
async def test_what_is_no_prefix_leads_nobody_elsewhere(api: httpx.AsyncClient, sent: str) -> None:
    headers = {"X-Forwarded-Prefix": sent.encode()}
    placed = await api.post("/orders", json=order_body(), headers=headers)  # type: ignore[arg-type]
    assert placed.headers["location"] == f"/orders/{placed.json()['id']}"


@pytest.mark.parametrize("path", ["shop", "/shop/", "//shop", "/a b"])
def test_a_prefix_that_is_none_is_refused_at_the_start(path: str) -> None:
    with pytest.raises(ValidationError, match="api_root_path"):
        Settings(api_root_path=path)
