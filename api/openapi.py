"""``/openapi.json``: what the API says of itself, written out once for each prefix under which it is shown."""

import json
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final

from fastapi import APIRouter, Request, Response

from api.http.prefix import root
from api.identity.authorization import OPEN

#: A proxy may say more prefixes than it shows the API under: beyond, the one not asked for longest is written anew.
MOST_WRITTEN: Final = 8


def openapi_router(document: Callable[[], dict[str, Any]]) -> APIRouter:
    """The one route. ``document``: without ``servers``, as it is where no prefix is."""
    router = APIRouter(dependencies=[OPEN], include_in_schema=False)

    @lru_cache(MOST_WRITTEN)
    def written(prefix: str) -> bytes:
        servers = {"servers": [{"url": prefix}]} if prefix else {}
        return json.dumps({**document(), **servers}, ensure_ascii=False, separators=(",", ":")).encode()

    @router.get("/openapi.json")
    async def read_openapi(request: Request) -> Response:
        return Response(written(root(request.scope)), media_type="application/json")

    return router
