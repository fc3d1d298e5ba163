"""``orderflow events tail``: the stream as other teams see it, read from Kafka directly, without a group."""

import asyncio
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer

from cli.calls import UNREACHABLE, print_json_line
from cli.interrupts import until_interrupted
from cli.terminal import err, fail, out, running_settings

if TYPE_CHECKING:
    from orderflow.settings import Settings

app = typer.Typer(help="The event stream.", no_args_is_help=True)


@app.callback()
def group() -> None:
    """Keeps ``tail`` a command of its own, although it is the only one."""


@app.command()
def tail(
    from_beginning: Annotated[bool, typer.Option("--from-beginning", help="Everything that is there first.")] = False,
    order: Annotated[UUID | None, typer.Option("--order", help="Of one order.")] = None,
    event_type: Annotated[str | None, typer.Option("--type", help="Of one type, such as ORDER_APPROVED.")] = None,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="End after so many.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For programs: a JSON object a line.")] = False,
) -> None:
    """Print events as they come. Ctrl-C ends it."""
    from orderflow.stream.reading import TopicAway

    settings = running_settings()
    try:
        asyncio.run(until_interrupted(_tail(settings, from_beginning, order, event_type, limit, as_json)))
    except TopicAway as error:
        fail(str(error), UNREACHABLE)


async def _tail(
    settings: "Settings",
    from_beginning: bool,
    order: UUID | None,
    event_type: str | None,
    limit: int | None,
    as_json: bool,
) -> None:
    from cli.pages import events as pages
    from operations.words import short
    from orderflow.stream.reading import follow

    printed = 0
    batches = follow(settings, from_beginning=from_beginning)
    try:
        async for batch in batches:
            if not batch:
                where = "beginning" if from_beginning else "end"
                err.print(f"reading {settings.kafka_topic} from its {where}; Ctrl-C ends it")
            for seen in batch:
                event = seen.envelope
                if event is None:
                    err.print(f"{seen.partition}/{seen.offset}: {short(seen.error, 500)}")
                    continue
                if (order and event.order_id != order) or (event_type and event.type != event_type.upper()):
                    continue
                if as_json:
                    print_json_line(pages.document(seen, event))
                else:
                    out.print(pages.line(event), soft_wrap=True)
                printed += 1
                if printed == limit:
                    return
    finally:
        await batches.aclose()  # type: ignore[attr-defined]
