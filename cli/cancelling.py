"""``orderflow order cancel``: through the HTTP API; with ``--reason`` it is an operator's doing, and recorded."""

from typing import TYPE_CHECKING, Annotated
from uuid import uuid4

import typer

from cli.calls import REFUSED, UNREACHABLE, Api, AsJson, IfMatch, Key, call
from cli.orders import OrderId, show_outcome
from cli.reasons import checked, tell
from cli.terminal import err, fail, running_settings

if TYPE_CHECKING:
    from orderflow.client import ApiClient, Reply


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
    api: Api = None,
    as_json: AsJson = False,
) -> None:
    """Cancel a DRAFT, APPROVED or FULFILLING order: what it holds is given back."""
    from operations import cancelling
    from operations.audit import NotPossible
    from orderflow.client import How
    from orderflow.domain.errors import Unavailable

    how = How(key=key or str(uuid4()), version=if_match)
    body = {} if note is None else {"note": note}
    said = None if reason is None else checked(reason)

    async def ask(client: "ApiClient") -> "Reply":
        if said is None:
            return await client.post(f"/orders/{order_id}/cancel", body, how)
        return await cancelling.cancel(running_settings(), client, order_id, body, how, said, tell)

    try:
        reply = call(api, ask, as_json=as_json)
    except NotPossible as error:
        fail(f"{order_id}: {error}", REFUSED)
    except Unavailable as error:
        fail(f"{error.dependency} {error.complaint}, so nothing was sent: {error.detail}", UNREACHABLE)
    show_outcome(reply, "cancelled", as_json)
    if said is not None and not as_json:
        err.print(f"recorded as {reply.data['recorded_as']}")
