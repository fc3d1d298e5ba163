"""What is reached by HTTP: the API and the payment gateway, and their clocks."""

from collections.abc import Sequence
from datetime import UTC, timedelta
from email.utils import parsedate_to_datetime

import httpx

from operations.doctor.check import Check, Checked, clock, now
from orderflow import proxies, urls
from orderflow.settings import Settings

#: A Date header has whole seconds.
ROUNDING = timedelta(seconds=1)


def checks(settings: Settings) -> list[Check]:
    """The API (ready or not) and the payment gateway, each with its clock."""
    return [
        Check("API", lambda: _api(settings), "start it: `orderflow api`, or set ORDERFLOW_API_URL"),
        Check("payment gateway", lambda: _gateway(settings), "start it, or set ORDERFLOW_GATEWAY_URL"),
    ]


async def _api(settings: Settings) -> Sequence[Checked]:
    response, line = await _get(settings.address("api_url"), "/health/ready", "the API")
    try:
        ready = bool(response.json()["ready"])
    except (ValueError, KeyError, TypeError):
        detail = f"what answers at {urls.shown(settings.api_url)} is not OrderFlow's API (HTTP {response.status_code})"
        return [Checked("API", False, detail, "set ORDERFLOW_API_URL")]
    said = "ready" if ready else "not ready: a database does not answer it"
    fix = "see the lines of the databases; its private port (ORDERFLOW_HEALTH_PORT) says which, at /health/ready"
    return [Checked("API", ready, said, fix), *line]


async def _gateway(settings: Settings) -> Sequence[Checked]:
    response, line = await _get(settings.address("gateway_url"), "/health", "the payment gateway")
    detail = f"answers at {urls.shown(settings.gateway_url)} (HTTP {response.status_code})"
    # Another gateway than the simulator need not have this path; it answers, though.
    return [Checked("payment gateway", response.status_code < 500, detail, "ask who runs it"), *line]


async def _get(url: str, path: str, whose: str) -> tuple[httpx.Response, list[Checked]]:
    async with httpx.AsyncClient(base_url=url, timeout=5.0, transport=proxies.transport(httpx.URL(url))) as client:
        asked = now()
        try:
            response = await client.get(path)
        except httpx.HTTPError as error:
            raise ConnectionError(
                f"nothing answers at {url if urls.is_word(url) else urls.shown(url)} ({type(error).__name__})"
            ) from error
        answered = now()
    try:
        theirs = parsedate_to_datetime(response.headers["date"]).astimezone(UTC)
    except (KeyError, ValueError):
        return response, []
    return response, [clock(whose, theirs, asked - ROUNDING, answered)]
