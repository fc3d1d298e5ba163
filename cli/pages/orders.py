"""How an order, a list of orders, a history and stock look on a terminal. Nothing here talks to anything."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from rich import box
from rich.console import Group, RenderableType
from rich.table import Column, Table
from rich.text import Text

from orderflow.domain.money import money
from orderflow.urls import shown

COLOURS: Final = {
    "DRAFT": "dim",
    "APPROVED": "yellow",
    "FULFILLING": "cyan",
    "SHIPPED": "blue",
    "COMPLETED": "green",
    "CANCELLED": "red",
}


def status_text(status: str, reason: str | None = None) -> Text:
    """A status in its colour, with the reason behind it."""
    text = Text(status, style=COLOURS.get(status, ""))
    return text.append(f" ({reason})", style="default") if reason else text


def order_page(order: Mapping[str, Any], api_url: str, events: Sequence[Mapping[str, Any]] | None) -> RenderableType:
    """One order: facts, lines, and its history where ``events`` has it."""
    facts = Table.grid(Column(style="bold"), Column(overflow="fold"), padding=(0, 2))
    facts.add_row("order", Text(order["id"]))
    facts.add_row("status", status_text(order["status"], order["reason"]))
    facts.add_row("version", str(order["version"]))
    facts.add_row("customer", Text(order["customer_id"]))
    if order["reference"]:
        facts.add_row("reference", Text(order["reference"]))
    facts.add_row("total", money(order["total"], order["currency"]))
    facts.add_row("payment", _part(order["payment"]))
    facts.add_row("inventory", _part(order["inventory"]))
    facts.add_row("created", when(order["created_at"]))
    facts.add_row("updated", when(order["updated_at"]))
    facts.add_row("allowed", ", ".join(order["allowed_actions"]) or "nothing")
    facts.add_row("Web UI", _link(order["links"]["temporal_ui"]))
    facts.add_row("API", _link(shown(api_url) + order["links"]["self"]))
    parts: list[RenderableType] = [facts, _lines(order)]
    if events is not None:
        parts.append(timeline(events))
    return Group(*parts)


def order_list(orders: Sequence[Mapping[str, Any]]) -> RenderableType:
    """Orders, a row each."""
    table = Table(
        Column("order", no_wrap=True),
        Column("status", no_wrap=True),
        Column("version", justify="right"),
        Column("total", justify="right", no_wrap=True),
        Column("customer", overflow="fold"),
        Column("reference", overflow="fold"),
        Column("created", no_wrap=True),
        box=box.SIMPLE,
    )
    for order in orders:
        table.add_row(
            Text(order["id"]),
            status_text(order["status"], order["reason"]),
            str(order["version"]),
            money(order["total"], order["currency"]),
            Text(order["customer_id"]),
            Text(order["reference"] or ""),
            when(order["created_at"]),
        )
    return table


def timeline(events: Sequence[Mapping[str, Any]]) -> RenderableType:
    """A history: seconds since its beginning, who said it, what happened."""
    table = Table(
        Column("after", justify="right", no_wrap=True),
        Column("from", no_wrap=True),
        Column("event", no_wrap=True),
        Column("status", no_wrap=True),
        Column("details", overflow="fold"),
        box=box.SIMPLE,
    )
    start = datetime.fromisoformat(events[0]["recorded_at"]) if events else None
    for event in events:
        at = datetime.fromisoformat(event["recorded_at"])
        table.add_row(
            f"{(at - (start or at)).total_seconds():.3f} s",
            event["source"].rpartition("/")[2],
            Text(event["type"]),
            status_text(event["status"]),
            Text(_details(event)),
        )
    return table


def stock_list(stock: Sequence[Mapping[str, Any]]) -> RenderableType:
    """SKUs, a row each."""
    table = Table(
        Column("SKU", overflow="fold"),
        *(Column(name, justify="right") for name in ("on hand", "reserved", "available", "version")),
        Column("updated", no_wrap=True),
        box=box.SIMPLE,
    )
    for row in stock:
        numbers = (f"{row[name]:,}" for name in ("on_hand", "reserved", "available", "version"))
        table.add_row(Text(row["sku"]), *numbers, when(row["updated_at"]))
    return table


def when(moment: str) -> str:
    """A time of the API, to the second, in UTC."""
    return f"{datetime.fromisoformat(moment):%Y-%m-%d %H:%M:%SZ}"


def _lines(order: Mapping[str, Any]) -> RenderableType:
    table = Table(
        Column("SKU", overflow="fold"),
        *(Column(name, justify="right", no_wrap=True) for name in ("quantity", "each", "total")),
        box=box.SIMPLE,
    )
    for line in order["lines"]:
        each, total = (money(line[name], order["currency"]) for name in ("unit_price", "total"))
        table.add_row(Text(line["sku"]), f"{line['quantity']:,}", each, total)
    return table


def _part(part: Mapping[str, Any] | None) -> Text:
    if part is None:
        return Text("nothing yet", style="dim")
    return status_text(part["status"], part["reason"])


def _details(event: Mapping[str, Any]) -> str:
    data = event["data"] or {}
    named = {"reason": event["reason"], **{name: data.get(name) for name in ("carrier", "tracking_number", "note")}}
    return ", ".join(f"{name}: {value}" for name, value in named.items() if value)


def _link(url: str) -> Text:
    return Text(url, style=f"link {url}")
