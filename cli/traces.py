"""``orderflow order trace``: from a file, so it needs no collector and no running process.

Exit codes: 0 drawn; 2 wrong usage, or a file that is not OTLP; 4 there is no trace of the order.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer

from cli.calls import NOT_FOUND, USAGE, AsJson, print_json
from cli.terminal import fail, out, running_settings

if TYPE_CHECKING:
    from orderflow.settings import Settings


def register(orders: typer.Typer) -> None:
    """Add the command."""
    orders.command("trace")(trace)


def trace(
    order_id: Annotated[UUID, typer.Argument(metavar="ORDER", help="The order's id.")],
    files: Annotated[
        list[Path] | None,
        typer.Option(
            "--file",
            exists=True,
            dir_okay=False,
            readable=True,
            help="OTLP as JSON lines, as the collector's file exporter writes them; repeatable. "
            "Default: what the stack of this folder wrote.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """The order's traces as waterfalls: one for each request that did something, through all processes."""
    from cli.pages import traces as pages
    from operations.traces.otlp import OtlpError, spans_of_order
    from operations.traces.waterfall import traces

    settings = running_settings()
    try:
        found = traces(spans_of_order(files or _written(settings), order_id))
    except (OtlpError, OSError) as error:
        fail(str(error), USAGE)
    if as_json:
        print_json(pages.document(found))
    elif found:
        out.print(pages.page(found), soft_wrap=True, no_wrap=True, highlight=False)
    if not found:
        fail(f"no trace of order {order_id}: {_why(settings, files)}", NOT_FOUND)


def _written(settings: "Settings") -> list[Path]:
    return sorted((settings.data_dir / "traces").glob("*.jsonl"))


def _why(settings: "Settings", files: list[Path] | None) -> str:
    if files:
        return "the files know none"
    if settings.traces == "off":
        return "nothing traces. Start with ORDERFLOW_TRACES=file"
    if settings.traces != "file":
        from orderflow.urls import shown

        return f"traces go to {shown(settings.traces)}. Ask there, or give the collector's --file"
    return "its requests were not sampled, or were before tracing began"
