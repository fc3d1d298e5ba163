"""``/docs``: from our own files, under a policy that lets nothing else run, and only where it is asked for."""

import re
from typing import Any

import httpx
import pytest

from orderflow.settings import Settings
from support.api import an_api


async def test_the_page_loads_nothing_from_elsewhere(quiet_api: httpx.AsyncClient) -> None:
    page = await quiet_api.get("/docs")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'; script-src 'self';" in policy
    assert "frame-ancestors 'none'" in policy
    assert "http" not in policy
    assert page.headers["cache-control"] == "no-store"
    loaded = re.findall(r'(?:src|href|data-url)="([^"]*)"', page.text)
    assert sorted(loaded) == ["/docs/init.js", "/docs/swagger-ui-bundle.js", "/docs/swagger-ui.css", "/openapi.json"]
    assert "<script>" not in page.text  # the policy would not run it
    for path, kind in zip(
        sorted(loaded), ("text/javascript", "text/javascript", "text/css", "application/json"), strict=True
    ):
        answer = await quiet_api.get(path)
        assert (answer.status_code, answer.headers["content-type"].partition(";")[0]) == (200, kind)
    script = (await quiet_api.get("/docs/init.js")).text
    assert "persistAuthorization: false" in script
    assert "SwaggerUIBundle" in (await quiet_api.get("/docs/swagger-ui-bundle.js")).text


async def test_there_is_no_other_page(quiet_api: httpx.AsyncClient) -> None:
    for path in ("/redoc", "/docs/oauth2-redirect", "/docs/other.js", "/docs/..%2fapp.py"):
        assert (await quiet_api.get(path)).status_code == 404


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ({}, True),
        ({"api_host": "::1"}, True),
        ({"api_host": "0.0.0.0"}, False),  # noqa: S104
        ({"api_host": "0.0.0.0", "api_docs": "on"}, True),  # noqa: S104
        ({"api_docs": "off"}, False),
    ],
)
async def test_beyond_loopback_there_is_none_unless_it_is_asked_for(
    settings: Settings, given: dict[str, Any], shown: bool
) -> None:
    async with an_api(settings.model_copy(update=given)) as api:
        for path in ("/docs", "/docs/init.js"):
            assert (await api.get(path)).status_code == (200 if shown else 404)
        assert (await api.get("/openapi.json")).status_code == 200
