"""``/openapi.json`` is written out once for each prefix, and no more of them are kept than a proxy has."""

from typing import Any

import httpx
from fastapi import FastAPI

from api import openapi
from api.identity.authentication import Nobody
from api.identity.authorization import GATE, Gate
from api.limits.rates import Limits
from api.limits.shares import Shares


async def test_it_is_written_once_for_each_prefix() -> None:
    asked = 0

    def document() -> dict[str, Any]:
        nonlocal asked
        asked += 1
        return {"openapi": "3.1.0"}

    app = FastAPI(openapi_url=None)
    app.include_router(openapi.openapi_router(document))
    setattr(app.state, GATE, Gate(Nobody(), Limits({}), Shares(1)))

    async def read(prefix: str) -> Any:
        transport = httpx.ASGITransport(app, root_path=prefix)
        async with httpx.AsyncClient(transport=transport, base_url="http://api") as client:
            answer = await client.get(f"{prefix}/openapi.json")
        assert answer.headers["content-type"] == "application/json"
        return answer.json()

    for prefix, servers in (("", {}), ("/shop", {"servers": [{"url": "/shop"}]})):
        asked = 0
        for _ in range(3):
            assert await read(prefix) == {"openapi": "3.1.0", **servers}
        assert asked == 1
    for number in range(openapi.MOST_WRITTEN):
        await read(f"/{number}")
    asked = 0
    await read("")
    assert asked == 1
