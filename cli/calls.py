"""What every command that talks to the API shares: its options, and how it ends.

Exit codes: 0 done, 1 refused by the API (the problem is printed), 2 wrong usage, 3 no answer or 503, 4 there is no
such thing (404). With ``--json`` stdout holds one JSON document, also for a refusal; everything else goes to stderr.
Never a traceback.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeVar

import typer

from cli.screen import json_text
from cli.terminal import err, fail, running_settings

if TYPE_CHECKING:
    from orderflow.client import ApiClient

T = TypeVar("T")

REFUSED: Final = 1
USAGE: Final = 2
UNREACHABLE: Final = 3
NOT_FOUND: Final = 4
_CODES: Final[Mapping[int, int]] = {HTTPStatus.SERVICE_UNAVAILABLE: UNREACHABLE, HTTPStatus.NOT_FOUND: NOT_FOUND}
#: How long work on many things goes on while the API is away.
PATIENCE_SECONDS: Final = 20.0

Api = Annotated[
    str | None,
    typer.Option("--api", metavar="URL", help="The API. Default: the stack that runs here, else ORDERFLOW_API_URL."),
]
AsJson = Annotated[bool, typer.Option("--json", help="For programs: JSON on stdout.")]
Key = Annotated[
    str | None, typer.Option("--key", help="Idempotency-Key: the same again gives the same outcome, and happens once.")
]
IfMatch = Annotated[int | None, typer.Option("--if-match", metavar="VERSION", help="Only if it has this version.")]
Wait = Annotated[
    int | None,
    typer.Option("--wait", min=0, max=60, metavar="SECONDS", help="Wait so long for its capture. 0: not at all."),
]
Concurrency = Annotated[int, typer.Option("--concurrency", min=1, max=100, help="Requests at once.")]


def call(
    api: str | None,
    ask: "Callable[[ApiClient], Awaitable[T]]",
    *,
    as_json: bool = False,
    patience_seconds: float = 0.0,
    connections: int = 10,
) -> T:
    """What ``ask`` returns, given a client of the API; or the end of the process, with the reason printed."""
    from orderflow.client import ApiClient, NoUrl, Refused, Unreachable
    from orderflow.credentials import CredentialError, api_key

    settings = running_settings()
    url = api or settings.address("api_url")
    try:
        key = api_key(settings, url)
    except CredentialError as error:
        fail(str(error), USAGE)

    async def run() -> T:
        async with ApiClient(url, key=key, patience_seconds=patience_seconds, connections=connections) as client:
            return await ask(client)

    try:
        return asyncio.run(run())
    except NoUrl as error:
        fail(str(error), USAGE)
    except Unreachable as error:
        fail(str(error), UNREACHABLE)
    except Refused as error:
        if as_json:
            print_json(error.problem)
        show_problem(error.status, error.problem)
        raise typer.Exit(_CODES.get(error.status, REFUSED)) from None


def show_problem(status: int, problem: Mapping[str, Any], about: str = "") -> None:
    """A problem document for people, on stderr. ``about``: which of many things was refused."""
    from rich.text import Text

    title = problem.get("title") or "refused"
    line = Text.assemble(
        (f"{about}: " if about else "error: ", "bold red"), f"{title} ({status}): {problem.get('detail', '')}"
    )
    err.print(line, soft_wrap=True)
    for broken in _listed(problem, "errors"):
        said = broken if isinstance(broken, Mapping) else {}
        field, message, rule = (said.get(name, "?") for name in ("field", "message", "rule"))
        err.print(f"  {field}: {message} ({rule})", soft_wrap=True)
    if "allowed_actions" in problem:
        err.print(f"  allowed now: {', '.join(map(str, _listed(problem, 'allowed_actions'))) or 'nothing'}")
    if problem.get("current_version") is not None:
        err.print(f"  present version: {problem['current_version']}")
    if status == HTTPStatus.UNAUTHORIZED:
        err.print("  set ORDERFLOW_API_KEY_FILE, or `orderflow login PROFILE --api URL`", soft_wrap=True)
    if status >= 500 and problem.get("correlation_id"):
        err.print(f"  correlation id: {problem['correlation_id']}")


def _listed(problem: Mapping[str, Any], name: str) -> list[Any]:
    """A list of the problem's; empty where a gateway between wrote another thing there."""
    value = problem.get(name)
    return value if isinstance(value, list) else []


def print_json(data: object) -> None:
    """``data`` on stdout, as one JSON document."""
    typer.echo(json_text(data, indent=2))


def print_json_line(data: object) -> None:
    """The same on one line, for documents that come one after the other."""
    typer.echo(json_text(data))
