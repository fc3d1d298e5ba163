"""``orderflow events tail``: the stream as other teams see it, read from Kafka directly, without a group."""

import asyncio
import json
import signal
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer

from cli.calls import UNREACHABLE
from cli.terminal import err, fail, out, running_settings

if TYPE_CHECKING:
    from orderflow.settings import Settings
    from orderflow.stream.reading import Seen
    from orderflow_events.envelope import Envelope

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
        asyncio.run(_until_interrupted(settings, from_beginning, order, event_type, limit, as_json))
    except TopicAway as error:
        fail(str(error), UNREACHABLE)


async def _until_interrupted(settings: "Settings", *wanted: Any) -> None:
    reading = asyncio.create_task(_tail(settings, *wanted))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, reading.cancel)
    try:
        await reading
    except asyncio.CancelledError:
        return


async def _tail(
    settings: "Settings",
    from_beginning: bool,
    order: UUID | None,
    event_type: str | None,
    limit: int | None,
    as_json: bool,
) -> None:
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
                    err.print(f"{seen.partition}/{seen.offset}: {seen.error}", markup=False)
                    continue
                if (order and event.order_id != order) or (event_type and event.type != event_type.upper()):
                    continue
                _print(seen, event, as_json)
                printed += 1
                if printed == limit:
                    return
    finally:
        await batches.aclose()  # type: ignore[attr-defined]


def _print(seen: "Seen", event: "Envelope", as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(_document(seen, event), ensure_ascii=False))
        return
    from rich.text import Text

    from cli.pages.orders import COLOURS

    reason = getattr(event.event, "reason", None)
    line = Text.assemble(
        f"{event.recorded_at:%H:%M:%S.%f}"[:-3],
        f"  {event.order_id}  {event.source.rpartition('/')[2]:<9} {event.version}  {event.type:<22} ",
        (event.status, COLOURS.get(event.status, "")),
        f"  {reason}" if reason else "",
    )
    out.print(line, soft_wrap=True)


def _document(seen: "Seen", event: "Envelope") -> dict[str, Any]:
    return {
        "partition": seen.partition,
        "offset": seen.offset,
        "id": event.id,
        "source": event.source,
        "type": event.type,
        "time": event.recorded_at.isoformat(),
        "correlation_id": event.correlation_id,
        "traceparent": event.traceparent,
        **json.loads(seen.value),
    }
