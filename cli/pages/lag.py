"""How a consumer group's lag looks: on a terminal, and as JSON. Nothing here asks anybody anything."""

from dataclasses import asdict
from typing import Any

from rich import box
from rich.console import RenderableType
from rich.table import Column, Table

from orderflow.stream.lag import GroupLag


def document(one: GroupLag) -> dict[str, Any]:
    """A group for programs."""
    partitions = [{**asdict(p), "lag": p.lag, "lost": p.lost} for p in one.partitions]
    return {"group": one.group, "state": one.state, "members": one.members, "lag": one.lag, "partitions": partitions}


def table(one: GroupLag) -> RenderableType:
    """A row for each partition."""
    names = ("partition", "committed", "end", "lag")
    drawn = Table(*(Column(name, justify="right") for name in names), box=box.SIMPLE)
    for p in one.partitions:
        drawn.add_row(str(p.partition), "-" if p.committed is None else str(p.committed), str(p.end), str(p.lag))
    return drawn
