"""``orderflow order explain``, ``orderflow order watch`` and ``orderflow stuck``. They read the stores themselves.

So they also answer while the API, every worker or any one of the stores is down. Exit codes: 0 explained, or nothing
is stuck; 1 some are stuck; 2 wrong usage; 3 neither Temporal nor the orders database answers, or (``stuck``) nothing
was found and not everything could be read; 4 there is no such order.
"""

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Any, Final
from uuid import UUID

import typer

from cli.calls import NOT_FOUND, REFUSED, UNREACHABLE, USAGE, AsJson, print_json, print_json_line
from cli.interrupts import until_interrupted
from cli.stores import as_seconds, silence
from cli.terminal import err, fail, out, running_settings

if TYPE_CHECKING:
    from operations.explain.gather import Found
    from orderflow.client import ApiClient
    from orderflow.settings import Settings

OrderId = Annotated[UUID, typer.Argument(metavar="ORDER", help="The order's id.")]
#: At most between two looks of ``watch``: at the other services, which the API's answer does not wait for.
LOOK_SECONDS: Final = 1
#: How long ``watch`` waits for the last events of an order that has ended to be published and tracked.
LAST_SECONDS: Final = 10.0


def register(app: typer.Typer, orders: typer.Typer) -> None:
    """Add the commands."""
    orders.command("explain")(explain)
    orders.command("watch")(watch)
    app.command("stuck")(stuck)


def explain(order_id: OrderId, as_json: AsJson = False) -> None:
    """What the order waits for, what to do, and its whole story: workflow, services, gateway, Kafka."""
    found = asyncio.run(_explain(running_settings(), order_id))
    from cli.pages import explain as pages
    from operations.explain.causes import Cause
    from operations.explain.verdict import verdicts_on

    verdicts = verdicts_on(found.facts)
    if as_json:
        print_json(pages.story_document(found.facts, found.lines, verdicts))
    else:
        out.print(pages.story(found.facts, found.lines, verdicts), soft_wrap=True)
    _fail_if_unread(found)
    if verdicts[0].cause is Cause.UNKNOWN:
        raise typer.Exit(NOT_FOUND)


def watch(
    order_id: OrderId,
    as_json: Annotated[bool, typer.Option("--json", help="For programs: a JSON object a line.")] = False,
) -> None:
    """The order's story as it goes on, until it is over. Ctrl-C ends it."""
    from orderflow.client import NoUrl

    try:
        asyncio.run(until_interrupted(_watch(running_settings(), order_id, as_json)))
    except NoUrl as error:
        fail(str(error), USAGE)


def stuck(
    older_than: Annotated[
        float | None,
        typer.Option(
            "--older-than",
            parser=as_seconds,
            metavar="SECONDS",
            help="Only what has waited longer. Default: ORDERFLOW_RECONCILE_OLDER_THAN_SECONDS (60).",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Orders that wait for something other than their customer, by cause, the most urgent first."""
    from cli.pages import explain as pages
    from operations.explain.stuck import look
    from operations.words import counted, one_or_many

    settings = running_settings()
    silence()
    seconds = settings.reconcile_older_than_seconds if older_than is None else older_than
    found = asyncio.run(look(settings, seconds))
    if as_json:
        print_json(pages.stuck_document(found))
    else:
        for source, error in found.unread.items():
            err.print(f"not read: {source} ({error})", soft_wrap=True)
        if found.left_out:
            err.print(f"{counted(found.left_out, 'open order')} not looked at: there are too many")
        if found.groups:
            out.print(pages.stuck_page(found), soft_wrap=True)
        elif not found.unread:
            out.print(f"{counted(found.looked_at, 'order')} looked at: none is stuck")
        if found.not_yet:
            out.print(f"{found.not_yet} {one_or_many(found.not_yet, 'waits', 'wait')} for less than {seconds:g} s")
    if found.groups:
        raise typer.Exit(REFUSED)
    if found.unread:
        if not as_json:
            fail("nothing is stuck as far as could be read", UNREACHABLE)
        raise typer.Exit(UNREACHABLE)


async def _explain(settings: "Settings", order_id: UUID) -> "Found":
    from operations.explain.gather import open_sources

    silence()
    async with open_sources(settings) as sources:
        return await sources.gather(order_id)


async def _watch(settings: "Settings", order_id: UUID, as_json: bool) -> None:
    from cli.pages import explain as pages
    from operations.explain.causes import Cause
    from operations.explain.gather import open_sources
    from operations.explain.verdict import verdicts_on
    from orderflow.client import ApiClient
    from orderflow.credentials import api_key

    silence()
    clock = asyncio.get_running_loop().time
    seen: set[tuple[str, str]] = set()
    before, headline, ended_at = None, "", None
    url = settings.address("api_url")
    async with open_sources(settings) as sources, ApiClient(url, key=api_key(settings)) as api:
        while True:
            found = await sources.gather(order_id)
            verdicts = verdicts_on(found.facts)
            _fail_if_unread(found)
            if verdicts[0].cause is Cause.UNKNOWN:
                fail(verdicts[0].waits_for, NOT_FOUND)
            for line in found.lines:
                key = (line.source, line.about or f"{line.at} {line.what}")
                if key in seen:
                    continue
                seen.add(key)
                if as_json:
                    print_json_line(pages.line_document(line, before))
                else:
                    out.print(pages.line_text(line, before), soft_wrap=True)
                before = line.at
            headline = _say_verdict(verdicts[0], headline, found, as_json)
            if pages.is_over(found.facts):
                ended_at = ended_at or clock()
                if verdicts[0].cause is Cause.DONE or clock() - ended_at > LAST_SECONDS:
                    return
            await _until_it_changes(api, found)


async def _until_it_changes(api: "ApiClient", found: "Found") -> None:
    """For ``LOOK_SECONDS``, or until the order has another version: the API says so at once, where it answers."""
    from orderflow.client import Refused, Unreachable

    order = found.facts.order
    if order is not None:
        with suppress(Refused, Unreachable):
            await api.changed(f"/orders/{found.facts.order_id}", order.version, LOOK_SECONDS)
            return
    await asyncio.sleep(LOOK_SECONDS)


def _say_verdict(verdict: Any, said: str, found: "Found", as_json: bool) -> str:
    """The verdict, when it is another one than was said last."""
    from cli.pages import explain as pages

    if verdict.group + verdict.cause == said:
        return said
    if as_json:
        print_json_line({"verdict": pages.verdict_document(verdict, found.facts.now)})
    else:
        for text in pages.verdict_lines([verdict]):
            out.print(text, soft_wrap=True)
    return str(verdict.group + verdict.cause)


def _fail_if_unread(found: "Found") -> None:
    unread = found.facts.unread
    if unread.keys() >= {"temporal", "orders"}:
        both = "; ".join(f"{source}: {unread[source]}" for source in ("temporal", "orders"))
        fail(f"neither Temporal nor the orders database can be read ({both}): is OrderFlow up?", UNREACHABLE)
