"""An operator's cancel: through the HTTP API like a customer's, and recorded with its reason.

The record (``operations/audit.py``) is written before anything is sent, and names the command id under which the cancel
is sent. A second row says how the API answered: done, refused, or not at all. A cancel that is sent again with the same
key is recorded again, and happens once.
Nothing is sent when nothing can be recorded.
"""

from collections.abc import Mapping
from dataclasses import replace
from uuid import UUID

from operations.audit import NotPossible, Record, Tell, answer, record
from orderflow.client import ApiClient, How, Refused, Reply, Unreachable
from orderflow.postgres.databases import open_database
from orderflow.settings import Settings
from orderflow.store import reconciliation as reads
from orderflow.store.database import Database


async def cancel(
    settings: Settings, client: ApiClient, order_id: UUID, body: Mapping[str, str], how: How, reason: str, tell: Tell
) -> Reply:
    """Record ``reason``, then cancel; the answer's data has ``recorded_as`` too, as has a Refused's problem.

    Raises NotPossible, Unavailable when the orders database gives no answer, and Refused and Unreachable of the client.
    """
    await client.get(f"/orders/{order_id}")  # no such order: nothing is asked, nothing recorded
    async with open_database(settings, "orders", "operator", pool_size=1) as database:
        await _belongs(database, order_id)
        made = await record(database, order_id, "cancel", f"{reason}; sent as c:{how.key}")
        reply = await _sent(client, database, made, dict(body), how, tell)
    return replace(reply, data={**reply.data, "recorded_as": made.id})


async def _belongs(database: Database, order_id: UUID) -> None:
    """Raises NotPossible where the API is another stack's than the database."""
    if order_id not in await reads.these_orders(database, [order_id]):
        raise NotPossible(
            "the API has it, the orders database of the settings has not: two stacks, so nothing was sent"
        )


async def _sent(
    client: ApiClient, database: Database, record: Record, body: dict[str, str], how: How, tell: Tell
) -> Reply:
    try:
        reply = await client.post(f"/orders/{record.order_id}/cancel", body, how)
    except Refused as error:
        title = error.problem.get("title") or "refused"
        await answer(database, record, f"{title} ({error.status}): {error}", tell)
        raise Refused(error.status, {**error.problem, "recorded_as": record.id}) from None
    except Unreachable as error:
        await answer(database, record, f"nobody knows whether it arrived: {error}", tell)
        raise
    again = ", as before: the same request had come" if reply.replayed else ""
    made = reply.data["command"]
    await answer(database, record, f"done: {made['status']}, version {made['version']}{again}", tell)
    return reply
