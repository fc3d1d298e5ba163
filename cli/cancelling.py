"""``orderflow order cancel``: through the HTTP API; with ``--reason`` it is an operator's doing, and recorded.

The record (``operations/audit.py``) is written before anything is sent, and names the command id under which the cancel
is sent. A second row says how the API answered: done, refused, accepted for later (then the command's own row tells
what came of it), or not at all. A cancel that is sent again with the same key is recorded again, and happens once.
Nothing is sent when nothing can be recorded.
"""

from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID, uuid4

import typer

from cli.calls import REFUSED, UNREACHABLE, Api, AsJson, IfMatch, Key, Wait, call
from cli.orders import OrderId, show_outcome
from cli.reasons import checked, tell
from cli.terminal import err, fail, running_settings
from operations.audit import NotPossible, answer, record

if TYPE_CHECKING:
    from orderflow.client import ApiClient, How, Reply
    from orderflow.store.database import Database


def register(orders: typer.Typer) -> None:
    """Add the command."""
    orders.command("cancel")(cancel)


def cancel(
    order_id: OrderId,
    reason: Annotated[
        str | None,
        typer.Option("--reason", help="Why an operator cancels it; recorded in the audit, not in the event."),
    ] = None,
    note: Annotated[str | None, typer.Option("--note", help="The customer's why; goes into the event.")] = None,
    key: Key = None,
    if_match: IfMatch = None,
    wait: Wait = None,
    api: Api = None,
    as_json: AsJson = False,
) -> None:
    """Cancel a DRAFT, APPROVED or FULFILLING order: what it holds is given back."""
    from orderflow.client import How
    from orderflow.domain.errors import Unavailable

    how = How(key=key or str(uuid4()), version=if_match, wait_seconds=wait)
    body = {} if note is None else {"note": note}
    said = None if reason is None else checked(reason)

    async def ask(client: "ApiClient") -> "Reply":
        if said is None:
            return await client.post(f"/orders/{order_id}/cancel", body, how)
        return await _recorded(client, order_id, body, how, said)

    try:
        reply = call(api, ask, as_json=as_json)
    except NotPossible as error:
        fail(f"{order_id}: {error}", REFUSED)
    except Unavailable as error:
        fail(f"{error.dependency} does not answer, so nothing was sent: {error.detail}", UNREACHABLE)
    show_outcome(reply, "cancelled", as_json)
    if said is not None and not as_json:
        err.print(f"recorded as {reply.data['recorded_as']}", markup=False)


async def _recorded(client: "ApiClient", order_id: UUID, body: dict[str, str], how: "How", reason: str) -> "Reply":
    from dataclasses import replace

    from orderflow.databases import open_database

    order = (await client.get(f"/orders/{order_id}")).data  # no such order: nothing is asked, nothing recorded
    async with open_database(running_settings(), "orders", pool_size=1) as database:
        await _belongs(database, order_id, order)
        record_id = await record(database, order_id, "cancel", f"{reason}; sent as c:{how.key}")
        reply = await _sent(client, database, order_id, record_id, body, how)
    return replace(reply, data={**reply.data, "recorded_as": record_id})


async def _belongs(database: "Database", order_id: UUID, order: dict[str, Any]) -> None:
    """Raises NotPossible where the API is another stack's than the database. (An order that is PLACING has no row.)"""
    from orderflow.store import reconciliation as reads

    if order["version"] and order_id not in await reads.these_orders(database, [order_id]):
        raise NotPossible(
            "the API has it, the orders database of the settings has not: two stacks, so nothing was sent"
        )


async def _sent(
    client: "ApiClient", database: "Database", order_id: UUID, record_id: str, body: dict[str, str], how: "How"
) -> "Reply":
    from orderflow.client import Refused, Unreachable

    try:
        reply = await client.post(f"/orders/{order_id}/cancel", body, how)
    except Refused as error:
        title = error.problem.get("title") or "refused"
        await answer(database, order_id, record_id, f"{title} ({error.status}): {error}", tell)
        raise Refused(error.status, {**error.problem, "recorded_as": record_id}) from None
    except Unreachable as error:
        await answer(database, order_id, record_id, f"nobody knows whether it arrived: {error}", tell)
        raise
    again = ", as before: the same request had come" if reply.replayed else ""
    if reply.accepted:
        said = f"accepted, not carried out yet{again}"
    else:
        made = reply.data["command"]
        said = f"done: {made['status']}, version {made['version']}{again}"
    await answer(database, order_id, record_id, said, tell)
    return reply
