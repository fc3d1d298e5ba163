"""Principals and their API keys, for people."""

from collections.abc import Sequence
from datetime import datetime

from rich.table import Table
from rich.text import Text

from orderflow.store.access import KeyView


def key_table(found: Sequence[KeyView], now: datetime) -> Table:
    """A row a key; a principal without one has a row, too."""
    table = Table("principal", "key", "state", "last used", "reaches", "scopes", box=None, pad_edge=False)
    for view in found:
        table.add_row(
            Text(view.name),
            view.key_id or "none",
            _state(view, now),
            f"{view.last_used_at:%Y-%m-%d %H:%M}" if view.last_used_at else "never",
            Text(view.customer_id) if view.customer_id else "everyone" if "orders:everyone" in view.scopes else "",
            Text(" ".join(view.scopes)),
        )
    return table


def _state(view: KeyView, now: datetime) -> str:
    if view.not_before is None or view.expires_at is None:
        return ""
    if view.revoked_at is not None:
        return f"revoked {view.revoked_at:%Y-%m-%d}"
    if now >= view.expires_at:
        return f"expired {view.expires_at:%Y-%m-%d}"
    if now < view.not_before:
        return f"good from {view.not_before:%Y-%m-%d %H:%M}"
    return f"good until {view.expires_at:%Y-%m-%d}"
