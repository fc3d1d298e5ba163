"""OpenAPI links: which request an answer makes possible, so that tools walk an order's life as clients do."""

from typing import Any, Final

_ORDER: Final = {"path.order_id": "$response.body#/id"}
#: What may follow what, by operation ids.
_FOLLOWS: Final[dict[str, tuple[str, ...]]] = {
    "place_order": ("approve_order", "cancel_order", "read_order", "read_events", "read_command"),
    "approve_order": ("await_order", "cancel_order", "read_events"),
    "await_order": ("ship_order", "cancel_order"),
    "read_order": ("ship_order", "cancel_order"),
    "ship_order": ("complete_order", "read_events"),
    "complete_order": ("read_order",),
    "cancel_order": ("read_order",),
}
#: A read that waits until an APPROVED order has moved on.
_AWAIT: Final = {"header.If-None-Match": '"2"', "header.Prefer": "wait=10"}
_PLACED: Final = {"path.command_id": "w:place"}


def links_of(operation: str) -> dict[str, Any]:
    """What an operation's good answer says of links: a member of it, or nothing."""
    links = {name: _link(name) for name in _FOLLOWS.get(operation, ())}
    return {"links": links} if links else {}


def _link(name: str) -> dict[str, Any]:
    more = {"await_order": _AWAIT, "read_command": _PLACED}.get(name, {})
    return {"operationId": "read_order" if name == "await_order" else name, "parameters": _ORDER | more}
