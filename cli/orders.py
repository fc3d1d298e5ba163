"""``orderflow order place | show | list | approve | ship | complete``: all through the HTTP API."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

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
    Wait,
    call,
    print_json,
    show_problem,
)
from cli.terminal import err, fail, out

if TYPE_CHECKING:
    from orderflow.client import ApiClient, Reply

app = typer.Typer(help="Place orders, look at them, move them on.", no_args_is_help=True)

MOST_AT_ONCE = 200
OrderId = Annotated[UUID, typer.Argument(metavar="ORDER", help="The order's id.")]
#: How many refusals of a file are printed in full.
SHOWN_REFUSALS = 20
#: Nothing changes in these.
ENDED = ("COMPLETED", "CANCELLED")


@app.command()
def place(
    customer: Annotated[str | None, typer.Option("--customer", help="Who orders.")] = None,
    line: Annotated[
        list[str] | None,
        typer.Option("--line", metavar="SKU:QUANTITY:UNIT_PRICE", help="In minor units: 419 is 4.19. Repeat it."),
    ] = None,
    reference: Annotated[str | None, typer.Option("--reference", help="The customer's own number for it.")] = None,
    currency: Annotated[str, typer.Option("--currency", help="ISO 4217 code.")] = "USD",
    token: Annotated[str, typer.Option("--token", help="Payment token for the gateway.")] = "tok_ok",  # noqa: S107
    file: Annotated[
        Path | None,
        typer.Option(
            "--file",
            metavar="CSV",
            help="Baskets instead of one order: basket_id, household_id, product_id, quantity, unit_price (4.19).",
        ),
    ] = None,
    concurrency: Concurrency = 16,
    key: Key = None,
    api: Api = None,
    as_json: AsJson = False,
) -> None:
    """Place one order, or each basket of a file (once, however often the file is sent)."""
    if file is not None:
        if customer or line or reference or key:
            fail("--file stands alone: a basket has its own customer, lines, reference and key", USAGE)
        _place_file(file, currency, token, concurrency, api, as_json)
        return
    if not customer or not line:
        fail("an order needs --customer and at least one --line (or a --file)", USAGE)
    body = {
        "customer_id": customer,
        **({"reference": reference} if reference is not None else {}),
        "currency": currency,
        "payment_token": token,
        "lines": [_line(text) for text in line],
    }
    _change("/orders", body, "placed", key=key, version=None, wait=None, api=api, as_json=as_json)


@app.command()
def show(
    order_id: OrderId,
    events: Annotated[bool, typer.Option("--events", help="With what happened to it.")] = False,
    wait: Annotated[
        int,
        typer.Option("--wait", min=0, max=60, metavar="SECONDS", help="Wait so long for its next change, if any."),
    ] = 0,
    api: Api = None,
    as_json: AsJson = False,
) -> None:
    """One order as it is now, or after its next change."""

    async def ask(client: "ApiClient") -> tuple[dict[str, Any], list[dict[str, Any]] | None, str]:
        here = f"/orders/{order_id}"
        order = (await client.get(here)).data
        if wait and order["status"] not in ENDED:
            later = await client.changed(here, order["version"], wait)
            order = order if later.unchanged else later.data
        history = (await client.get(f"/orders/{order_id}/events")).data["events"] if events else None
        return order, history, client.url

    order, history, url = call(api, ask, as_json=as_json)
    if as_json:
        print_json(order if history is None else {**order, "events": history})
        return
    from cli.pages.orders import order_page

    out.print(order_page(order, url, history))


@app.command("list")
def list_orders(
    status: Annotated[str | None, typer.Option("--status", help="DRAFT, APPROVED, FULFILLING ...")] = None,
    customer: Annotated[str | None, typer.Option("--customer", help="Of one customer.")] = None,
    reference: Annotated[str | None, typer.Option("--reference", help="With this reference.")] = None,
    created_from: Annotated[
        str | None, typer.Option("--from", metavar="TIME", help="Created then or later (2026-11-23T08:00:00Z).")
    ] = None,
    created_to: Annotated[str | None, typer.Option("--to", metavar="TIME", help="Created before.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=MOST_AT_ONCE, help="Orders a page.")] = 20,
    cursor: Annotated[str | None, typer.Option("--cursor", help="Go on where a page ended.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="All pages.")] = False,
    api: Api = None,
    as_json: AsJson = False,
) -> None:
    """Orders, newest first."""

    async def ask(client: "ApiClient") -> dict[str, Any]:
        orders: list[dict[str, Any]] = []
        after = cursor
        while True:
            page = await client.get(
                "/orders",
                status=status.upper() if status else None,
                customer_id=customer,
                reference=reference,
                created_from=created_from,
                created_to=created_to,
                limit=MOST_AT_ONCE if everything else limit,
                cursor=after,
            )
            orders += page.data["orders"]
            after = page.data["next_cursor"]
            if not everything or after is None:
                return {"orders": orders, "next_cursor": after}

    found = call(api, ask, as_json=as_json)
    if as_json:
        print_json(found)
        return
    if not found["orders"]:
        err.print("no such orders")
        return
    from cli.pages.orders import order_list

    out.print(order_list(found["orders"]))
    if found["next_cursor"]:
        err.print(f"there are more: --cursor {found['next_cursor']}, or --all", soft_wrap=True)


@app.command()
def approve(
    order_id: OrderId,
    key: Key = None,
    if_match: IfMatch = None,
    api: Api = None,
    as_json: AsJson = False,
) -> None:
    """Approve a DRAFT: payment and stock are secured in parallel."""
    _command(order_id, "approve", {}, "approved", key, if_match, None, api, as_json)


@app.command()
def ship(
    order_id: OrderId,
    carrier: Annotated[str | None, typer.Option("--carrier", help="Goes into the event.")] = None,
    tracking_number: Annotated[str | None, typer.Option("--tracking-number", help="Goes into the event.")] = None,
    key: Key = None,
    if_match: IfMatch = None,
    wait: Wait = None,
    api: Api = None,
    as_json: AsJson = False,
) -> None:
    """Ship a FULFILLING order: its payment is captured, its stock leaves."""
    said = {"carrier": carrier, "tracking_number": tracking_number}
    _command(order_id, "ship", said, "shipped", key, if_match, wait, api, as_json)


@app.command()
def complete(
    order_id: OrderId,
    key: Key = None,
    if_match: IfMatch = None,
    api: Api = None,
    as_json: AsJson = False,
) -> None:
    """Complete a SHIPPED order."""
    _command(order_id, "complete", {}, "completed", key, if_match, None, api, as_json)


def _command(
    order_id: UUID,
    name: str,
    said: dict[str, str | None],
    done: str,
    key: str | None,
    version: int | None,
    wait: int | None,
    api: str | None,
    as_json: bool,
) -> None:
    body = {field: value for field, value in said.items() if value is not None}
    path = f"/orders/{order_id}/{name}"
    _change(path, body, done, key=key, version=version, wait=wait, api=api, as_json=as_json)


def _change(
    path: str,
    body: dict[str, Any],
    done: str,
    *,
    key: str | None,
    version: int | None,
    wait: int | None,
    api: str | None,
    as_json: bool,
) -> None:
    async def ask(client: "ApiClient") -> "Reply":
        from orderflow.client import How

        return await client.post(path, body, How(key=key, version=version, wait_seconds=wait))

    show_outcome(call(api, ask, as_json=as_json), done, as_json)


def show_outcome(reply: "Reply", done: str, as_json: bool) -> None:
    """What came of a command: ``done`` says what was done, where it was."""
    if as_json:
        print_json(reply.data)
        return
    order = reply.data
    again = " (already there: the same request came before)" if reply.replayed else ""
    if reply.accepted:
        out.print(f"{order['id']} accepted, its payment is being captured{again}")
        err.print(f"its outcome will be at {order['links']['command']}", soft_wrap=True)
        return
    from cli.pages.orders import status_text

    out.print(f"{order['id']} {done}{again}, now", status_text(order["status"], order["reason"]))


def _place_file(file: Path, currency: str, token: str, concurrency: int, api: str | None, as_json: bool) -> None:
    from cli.pages.progress import progress
    from operations.bulk.csv_files import BadFile, read_baskets
    from operations.bulk.placing import Placing, place_baskets

    try:
        baskets = read_baskets(file, currency)
    except BadFile as error:
        fail(str(error), USAGE)

    async def ask(client: "ApiClient") -> Placing:
        with progress("placing baskets", len(baskets), err) as advance:
            return await place_baskets(
                client,
                baskets,
                currency=currency,
                payment_token=token,
                at_once=concurrency,
                advance=advance,
            )

    placing = call(api, ask, patience_seconds=PATIENCE_SECONDS, connections=concurrency)
    if as_json:
        print_json(placing.to_data())
    else:
        out.print(placing.summary())
    for result in placing.refused[:SHOWN_REFUSALS]:
        problem = result.problem or {}
        show_problem(problem.get("status", 0), problem, f"basket {result.basket_id}")
    if placing.stopped:
        fail(f"{placing.stopped}. Stopped; the same command goes on where it was, and repeats nothing.", UNREACHABLE)
    if placing.refused:
        raise typer.Exit(REFUSED)


def _line(text: str) -> dict[str, Any]:
    # From the right: a SKU may have colons in it.
    sku, quantity, price = ["", "", "", *text.rsplit(":", 2)][-3:]
    if not sku or not quantity or not price:
        fail(f"--line {text!r} is not SKU:QUANTITY:UNIT_PRICE", USAGE)
    if not all(number.isascii() and number.isdigit() and len(number) <= 18 for number in (quantity, price)):
        fail(f"--line {text!r}: quantity and unit price are whole numbers (a price of 419 is 4.19)", USAGE)
    return {"sku": sku, "quantity": int(quantity), "unit_price": int(price)}
