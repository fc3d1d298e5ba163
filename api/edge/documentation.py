"""``/docs``: Swagger UI from files that are installed with us. No page of ours loads anything from elsewhere.

Its policy lets scripts run that come from here, and no others; a key that somebody types in is forgotten with the page.
"""

import html
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from api.http.prefix import root

#: The package that has Swagger UI's files: they are read, and none of its code is run.
_PACKAGE: Final = "fastapi_offline"
_FILES: Final = {"swagger-ui-bundle.js": "text/javascript", "swagger-ui.css": "text/css"}
#: Swagger UI sets styles of its elements, and draws with data: URLs.
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_PAGE: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>OrderFlow</title>
<link rel="stylesheet" href="{root}/docs/swagger-ui.css">
</head>
<body>
<div id="swagger-ui" data-url="{root}/openapi.json"></div>
<script src="{root}/docs/swagger-ui-bundle.js"></script>
<script src="{root}/docs/init.js"></script>
</body>
</html>
"""
_INIT: Final = """"use strict";
SwaggerUIBundle({
  dom_id: "#swagger-ui",
  url: document.getElementById("swagger-ui").dataset.url,
  deepLinking: true,
  persistAuthorization: false,
  validatorUrl: null,
});
"""


def add_to(app: FastAPI) -> None:
    """Add the page and what it loads."""

    async def page(request: Request) -> Response:
        return _answer(_PAGE.format(root=html.escape(root(request.scope))), "text/html")

    async def init(_: Request) -> Response:
        return _answer(_INIT, "text/javascript")

    async def file(request: Request) -> Response:
        name = request.url.path.rpartition("/")[2]
        return _answer(_read(name), _FILES[name])

    app.add_route("/docs", page, include_in_schema=False)
    app.add_route("/docs/init.js", init, include_in_schema=False)
    for name in _FILES:
        app.add_route(f"/docs/{name}", file, include_in_schema=False)


def _answer(content: str | bytes, media_type: str) -> Response:
    headers = {"Content-Security-Policy": _POLICY, "Cross-Origin-Resource-Policy": "same-origin"}
    return Response(content, headers=headers, media_type=f"{media_type}; charset=utf-8")


@cache
def _read(name: str) -> bytes:
    spec = find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        raise RuntimeError(f"{_PACKAGE}, which has the files of /docs, is not installed")
    return (Path(spec.origin).parent / "static" / name).read_bytes()
