"""Rows against their own history. The legal moves stand here once more, on purpose: the checker has its own copy."""

from collections import defaultdict
from collections.abc import Iterator
from typing import Final

from tools.chaos.evidence import SERVICES, Evidence, Rows

_CHANGED: Final = "ORDER_STATE_CHANGED"
LEGAL: Final[dict[str, set[tuple[str | None, str, str]]]] = {
    "orders": {
        (None, "ORDER_CREATED", "DRAFT"),
        ("DRAFT", "ORDER_APPROVED", "APPROVED"),
        ("APPROVED", _CHANGED, "FULFILLING"),
        ("FULFILLING", _CHANGED, "SHIPPED"),
        ("SHIPPED", _CHANGED, "COMPLETED"),
        ("DRAFT", _CHANGED, "CANCELLED"),
        ("APPROVED", _CHANGED, "CANCELLED"),
        ("FULFILLING", _CHANGED, "CANCELLED"),
    },
    "payments": {
        (None, "PAYMENT_AUTHORIZED", "AUTHORIZED"),
        (None, "PAYMENT_FAILED", "DECLINED"),
        ("AUTHORIZED", "PAYMENT_CAPTURED", "CAPTURED"),
        (None, "PAYMENT_VOID_REQUESTED", "VOIDING"),
        ("AUTHORIZED", "PAYMENT_VOID_REQUESTED", "VOIDING"),
        ("VOIDING", "PAYMENT_VOIDED", "VOIDED"),
    },
    "inventory": {
        (None, "INVENTORY_RESERVED", "RESERVED"),
        (None, "INVENTORY_FAILED", "REJECTED"),
        ("RESERVED", "INVENTORY_COMMITTED", "COMMITTED"),
        (None, "INVENTORY_RELEASED", "RELEASED"),
        ("RESERVED", "INVENTORY_RELEASED", "RELEASED"),
    },
}


def versions_without_gaps(evidence: Evidence) -> Iterator[str]:
    """Every aggregate's events have the versions 1, 2, 3 ..."""
    for service in SERVICES:
        for order_id, events in histories(evidence, service).items():
            versions = [event["version"] for event in events]
            if versions != list(range(1, len(versions) + 1)):
                yield f"{service} {order_id} has the versions {versions}"


def fold_is_status(evidence: Evidence) -> Iterator[str]:
    """The events, one legal move after the other, end where the row stands."""
    for service in SERVICES:
        rows = {row["order_id"]: row for row in evidence.rows[service]}
        folded = histories(evidence, service)
        yield from (f"{service} {o} has a row and no event" for o in rows.keys() - folded.keys())
        for order_id, events in folded.items():
            status: str | None = None
            for event in events:
                if (status, event["type"], event["status"]) not in LEGAL[service]:
                    yield f"{service} {order_id}: {event['type']} moves {status} to {event['status']}"
                if event["data"].get("reason") == "draft_expired" and status != "DRAFT":
                    yield f"{service} {order_id} expired when it was {status}"
                if event["type"] == _CHANGED and (event["data"]["from"], event["data"]["to"]) != (
                    status,
                    event["status"],
                ):
                    yield f"{service} {order_id} version {event['version']}: its from and to are not what happened"
                status = event["status"]
            row = rows.get(order_id)
            if row is None:
                yield f"{service} {order_id} has events and no row"
            elif (row["status"], row["version"]) != (status, events[-1]["version"]):
                yield f"{service} {order_id}: its row is {row['status']} {row['version']}, its events end in {status}"
            elif row["reason"] != _reason(events[-1]["data"]):
                yield f"{service} {order_id}: its row says {row['reason']}, its last event another reason"


def histories(evidence: Evidence, service: str) -> dict[str, Rows]:
    """Each aggregate's events in their order."""
    found: dict[str, Rows] = defaultdict(list)
    for event in sorted(evidence.events[service], key=lambda event: (event["order_id"], event["version"])):
        found[event["order_id"]].append(event)
    return found


def _reason(data: dict[str, object]) -> object:
    return data.get("reason")
