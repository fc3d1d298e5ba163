"""``orderflow lag``: how far each consumer group is behind the topic."""

from typing import TYPE_CHECKING, Annotated

import typer

from cli.calls import REFUSED, AsJson, print_json
from cli.stores import run
from cli.terminal import err, fail, out, running_settings

if TYPE_CHECKING:
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
    from cli.pages import lag as pages
    from orderflow.stream.lag import NoTopic, group_lags

    try:
        found = run(group_lags(running_settings(), group or []))
    except NoTopic as error:
        fail(str(error))
    if as_json:
        print_json([pages.document(one) for one in found])
    else:
        for one in found:
            _print(one)
        if not found:
            err.print("no group reads the topic")
    if any(partition.lost for one in found for partition in one.partitions):
        raise typer.Exit(REFUSED)


def _print(one: "GroupLag") -> None:
    from cli.pages import lag as pages
    from operations.words import counted, short

    group = short(one.group)
    out.print(f"{group}: {one.state}, {counted(one.members, 'member')}, {counted(one.lag, 'record')} behind")
    out.print(pages.table(one))
    for p in one.partitions:
        if p.lost:
            err.print(
                f"{group} has read partition {p.partition} up to {p.committed}, and it ends at {p.end}: Kafka lost "
                "records; `orderflow outbox status` names the repair, and the group reads the partition again",
            )
