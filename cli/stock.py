"""``orderflow stock set | adjust | show | import``: all through the HTTP API."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.calls import (
    PATIENCE_SECONDS,
    REFUSED,
    UNREACHABLE,
    USAGE,
    Api,
    AsJson,
    Concurrency,
    IfMatch,
    Key,
    call,
    print_json,
    show_problem,
)
from cli.terminal import err, fail, out
from operations.words import counted

if TYPE_CHECKING:
    from operations.bulk.stock_import import Import
    from orderflow.client import ApiClient, Reply

app = typer.Typer(help="How many there are of each SKU.", no_args_is_help=True)

Sku = Annotated[str, typer.Argument(metavar="SKU")]
#: How many refusals of a file are printed in full.
SHOWN_REFUSALS = 20


@app.command("set")
def set_stock(
    sku: Sku,
    on_hand: Annotated[int, typer.Argument(min=0, help="How many there are.")],
    key: Key = None,
    if_match: IfMatch = None,
    api: Api = None,
    as_json: AsJson = False,
) -> None:
    """State how many there are. The first time, the SKU comes into being."""

    async def ask(client: "ApiClient") -> "Reply":
        from orderflow.client import How

        return await client.put(_path(sku), {"on_hand": on_hand}, How(key=key, version=if_match))

    _show_change(call(api, ask, as_json=as_json), as_json)


# A delta of -3 is no option.
@app.command(context_settings={"ignore_unknown_options": True})
def adjust(
    sku: Sku,
    delta: Annotated[int, typer.Argument(help="How many more (-3: fewer).")],
    reason: Annotated[str, typer.Option("--reason", help="Stands in the movement.")],
    key: Key = None,
    if_match: IfMatch = None,
    api: Api = None,
    as_json: AsJson = False,
) -> None:
    """More or fewer, for a reason."""

    async def ask(client: "ApiClient") -> "Reply":
        from orderflow.client import How

        body = {"delta": delta, "reason": reason}
        return await client.post(f"{_path(sku)}/adjustments", body, How(key=key, version=if_match))

    _show_change(call(api, ask, as_json=as_json), as_json)


@app.command()
def show(
    sku: Annotated[str | None, typer.Argument(metavar="[SKU]", help="Default: all, a page at a time.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=200, help="SKUs a page.")] = 50,
    cursor: Annotated[str | None, typer.Option("--cursor", help="Go on where a page ended.")] = None,
    api: Api = None,
    as_json: AsJson = False,
) -> None:
    """How many there are, how many of them orders hold, how many are left."""

    async def ask(client: "ApiClient") -> dict[str, Any]:
        if sku is not None:
            return (await client.get(_path(sku))).data
        return (await client.get("/inventory", limit=limit, cursor=cursor)).data

    found = call(api, ask, as_json=as_json)
    if as_json:
        print_json(found)
        return
    rows = [found] if sku is not None else found["stock"]
    if not rows:
        err.print("no stock")
        return
    from cli.pages.orders import stock_list

    out.print(stock_list(rows))
    if found.get("next_cursor"):
        err.print(f"there are more: --cursor {found['next_cursor']}", soft_wrap=True)


@app.command("import")
def import_file(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="CSV with sku, on_hand; or products, with --on-hand.")],
    on_hand: Annotated[int | None, typer.Option("--on-hand", min=0, help="For every SKU of the file.")] = None,
    concurrency: Concurrency = 16,
    api: Api = None,
    as_json: AsJson = False,
) -> None:
    """State how many there are of each SKU of a file. Sent again, it states the same again."""
    from cli.pages.progress import progress
    from operations.bulk.csv_files import BadFile, read_stock
    from operations.bulk.stock_import import import_stock

    try:
        stock = read_stock(file, on_hand)
    except BadFile as error:
        fail(str(error), USAGE)

    async def ask(client: "ApiClient") -> "Import":
        with progress("stating stock", len(stock), err) as advance:
            return await import_stock(client, stock, at_once=concurrency, advance=advance)

    done = call(api, ask, patience_seconds=PATIENCE_SECONDS, connections=concurrency)
    if as_json:
        print_json(done.to_data())
    else:
        refused = f", {len(done.refused)} refused" if done.refused else ""
        out.print(f"{counted(done.skus, 'SKU')}: {done.created} new, {done.counted} counted again{refused}")
    for sku, problem in list(done.refused.items())[:SHOWN_REFUSALS]:
        show_problem(problem.get("status", 0), problem, sku)
    if done.stopped:
        fail(f"{done.stopped}. Stopped; the same command starts over, which does no harm.", UNREACHABLE)
    if done.refused:
        raise typer.Exit(REFUSED)


def _show_change(reply: "Reply", as_json: bool) -> None:
    if as_json:
        print_json(reply.data)
        return
    stock = reply.data
    again = " (already there: the same request came before)" if reply.replayed else ""
    out.print(
        f"{stock['sku']} {stock['delta']:+}{again}: {stock['on_hand']} on hand, {stock['reserved']} reserved, "
        f"{stock['available']} available (version {stock['version']})",
        soft_wrap=True,
    )


def _path(sku: str) -> str:
    from orderflow.client import stock_path

    return stock_path(sku)
