"""``orderflow lag``: how far each consumer group is behind the topic."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.calls import REFUSED, AsJson, print_json
from cli.stores import run
from cli.terminal import err, fail, out, running_settings

if TYPE_CHECKING:
    from orderflow.settings import Settings
    from orderflow.stream.lag import GroupLag


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("lag")(lag)


def lag(
    group: Annotated[
        list[str] | None, typer.Option("--group", help="This group only; may be said again. Default: all of the topic.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show committed and end offsets of each partition. Exit code 1: a group has read what is no longer there."""
    from orderflow.stream.lag import NoTopic

    try:
        found = run(_lags(running_settings(), group or []))
    except NoTopic as error:
        fail(str(error))
    if as_json:
        print_json([_document(one) for one in found])
    else:
        for one in found:
            _print(one)
        if not found:
            err.print("no group reads the topic")
    if any(partition.lost for one in found for partition in one.partitions):
        raise typer.Exit(REFUSED)


async def _lags(settings: "Settings", groups: list[str]) -> "list[GroupLag]":
    from orderflow.stream.lag import group_lags

    return await group_lags(settings, groups)


def _document(one: "GroupLag") -> dict[str, Any]:
    partitions = [
        {
            "partition": p.partition,
            "committed": p.committed,
            "start": p.start,
            "end": p.end,
            "lag": p.lag,
            "lost": p.lost,
        }
        for p in one.partitions
    ]
    return {"group": one.group, "state": one.state, "members": one.members, "lag": one.lag, "partitions": partitions}


def _print(one: "GroupLag") -> None:
    from rich import box
    from rich.table import Column, Table

    out.print(f"{one.group}: {one.state}, {one.members} members, {one.lag} records behind", markup=False)
    names = ("partition", "committed", "end", "lag")
    table = Table(*(Column(name, justify="right") for name in names), box=box.SIMPLE)
    for p in one.partitions:
        table.add_row(str(p.partition), "-" if p.committed is None else str(p.committed), str(p.end), str(p.lag))
    out.print(table)
    for p in one.partitions:
        if p.lost:
            err.print(
                f"{one.group} has read partition {p.partition} up to {p.committed}, and it ends at {p.end}: Kafka lost "
                "records; `orderflow outbox status` names the repair, and the group reads the partition again",
                markup=False,
            )
