"""Which paths reach the routes at all: those that everybody before us reads as we do."""

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from api.edge.addresses import Hosts
from api.edge.cors import Cors
from api.edge.gate import Gate

OK = 200
NOT_FOUND = 404


async def _serve(request: Request) -> PlainTextResponse:
    return PlainTextResponse(request.url.path)


@pytest.fixture
def client() -> httpx.AsyncClient:
    routes = [Route("/orders", _serve), Route("/orders/{order_id}/ship", _serve), Route("/inventory/{sku}", _serve)]
    app = Gate(Starlette(routes=routes), Hosts(["api"]), Cors([]))
    return httpx.AsyncClient(base_url="http://api", transport=httpx.ASGITransport(app))


@pytest.mark.parametrize("sent", ["%0A", "%0a", "%0D", "%0D%0A", "%00", "%09", "%1B", "%7F", "%C2%85", "%C2%9F"])
async def test_a_path_with_a_control_character_leads_nowhere(client: httpx.AsyncClient, sent: str) -> None:
    """A pattern's end matches before a last newline, too: ``/ship%0A`` was a ship that no proxy's rule knows."""
    for path in ("/orders", "/orders/7/ship", "/inventory/bread"):
        assert (await client.get(path)).status_code == OK
        answer = await client.get(f"{path}{sent}")
        assert answer.status_code == NOT_FOUND, path
        assert answer.json()["type"] == "urn:orderflow:problems/not_found"
    assert (await client.get(f"/inventory/br{sent}ead")).status_code == NOT_FOUND


@pytest.mark.parametrize("sku", ["a%20b", "%C3%A4", "%C2%A0", "~"])
async def test_what_is_no_control_character_is_the_routes_to_judge(client: httpx.AsyncClient, sku: str) -> None:
    assert (await client.get(f"/inventory/{sku}")).status_code == OK
