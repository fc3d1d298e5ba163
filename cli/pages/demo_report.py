"""What a run came to, for people."""

import os
from collections.abc import Mapping, Sequence
from typing import Any, Final

from rich import box
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from cli.pages.orders import status_text, timeline
from operations.demo.comparison import Comparison
from operations.demo.measure import Figures, Latency

#: FULFILLING within this of the approval, when nothing else runs.
IDLE_TARGET_MILLISECONDS: Final = 100


def print_figures(console: Console, figures: Figures, *, at_once: int, load: float) -> None:
    """Orders by status, throughput, latencies, events. ``load``: the load average while orders were measured alone."""
    table = Table(Column("orders", justify="right"), "status", "reason", box=box.SIMPLE)
    for (status, reason), count in figures.by_status.items():
        table.add_row(str(count), status_text(status), reason or "")
    console.print(table)
    console.print(
        f"throughput  {figures.orders_per_second:.1f} orders/s (whole lifecycle: {figures.crowd_orders} orders, "
        f"{at_once} at once, {figures.crowd_seconds:.1f} s from the first placed to the last ended)",
        soft_wrap=True,
    )
    console.print(
        f"events      {figures.recorded_events} recorded, {figures.records} records on the topic, "
        f"{figures.consumed} consumed by the tracking",
        soft_wrap=True,
    )
    console.print(_latencies(figures, at_once))
    idle = figures.idle.seen
    if idle is not None:
        verdict = "below" if idle.p50 < IDLE_TARGET_MILLISECONDS else "NOT below"
        console.print(
            f"idle approve → FULFILLING: p50 {idle.p50:.0f} ms, {verdict} the {IDLE_TARGET_MILLISECONDS} ms aimed at "
            f"(approve request sent → GET says FULFILLING; load average {load:.1f} on {os.cpu_count()} cores)",
            soft_wrap=True,
        )


def print_check(console: Console, lines: Sequence[Comparison]) -> None:
    """Each line of the check with its mark, and what differs below it."""
    console.print()
    for line in lines:
        mark, style = ("✓", "green") if line.ok else ("✗", "bold red")
        console.print(Text.assemble((mark, style), f" {line.what:<25} {line.said}"), soft_wrap=True)
        for difference in line.wrong:
            console.print(Text(f"    {difference}", style="red"), soft_wrap=True)
    failed = sum(not line.ok for line in lines)
    if failed:
        console.print(Text(f"{failed} of {len(lines)} lines of the check FAIL", style="bold red"))
    else:
        console.print(Text(f"stream, databases and gateway ledger agree: {len(lines)} of {len(lines)} lines hold"))


def print_timeline(console: Console, order: Mapping[str, Any], events: Sequence[Mapping[str, Any]]) -> None:
    """What happened to one order."""
    console.print()
    console.print(Text.assemble(f"order {order['id']} ", status_text(order["status"], order["reason"])), soft_wrap=True)
    console.print(timeline(events))


def _latencies(figures: Figures, at_once: int) -> Table:
    table = Table(
        "approve → FULFILLING",
        *(Column(name, justify="right") for name in ("p50", "p95", "orders")),
        Column("from → to", overflow="fold"),
        box=box.SIMPLE,
    )
    recorded = "approve request sent → FULFILLING's recorded_at"
    inside = "ORDER_APPROVED's recorded_at → FULFILLING's"
    for name, latency, definition in (
        ("one at a time", figures.idle.seen, "approve request sent → GET says FULFILLING (a long poll)"),
        ("", figures.idle.recorded, recorded),
        ("", figures.idle.inside, inside),
        (f"{at_once} at once", figures.crowd.seen, "approve request sent → FULFILLING read from the topic"),
        ("", figures.crowd.recorded, recorded),
        ("", figures.crowd.inside, inside),
    ):
        table.add_row(name, *_cells(latency), definition)
    return table


def _cells(latency: Latency | None) -> tuple[str, str, str]:
    if latency is None:
        return "-", "-", "0"
    return f"{latency.p50:.0f} ms", f"{latency.p95:.0f} ms", str(latency.orders)
