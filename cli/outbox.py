"""``orderflow outbox``: what is not on Kafka yet and why, and the repairs.

``status`` shows, ``republish`` sends published events again, ``unpark`` lets an order go on that Kafka had refused.
"""

from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Final
from uuid import UUID

import typer

from cli.calls import REFUSED, UNREACHABLE, USAGE, AsJson, print_json
from cli.stores import COMMAND_SECONDS, moment, run
from cli.terminal import asks, err, fail, out, running_settings
from operations.words import counted, duration, one_or_many, waiting

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractAsyncContextManager

    from orderflow.domain.errors import Unavailable
    from orderflow.settings import Service, Settings
    from orderflow.store.outbox_status import Status
    from orderflow.store.truncation import Chosen
    from orderflow.stream.republishing import Republished
    from orderflow.stream.truncation import Topic

app = typer.Typer(help="What is not on Kafka yet: look, send again, unpark.", no_args_is_help=True)

#: More than this is sent again only when it is said twice.
MANY: Final = 1000
STATUS_SECONDS: Final = 5.0
#: By why a partition stands still.
_LOST: Final = {"lost": "Kafka lost records", "made_anew": "The topic was made anew, and lacks them"}


@app.command()
def status(as_json: AsJson = False) -> None:
    """Depth, age, leader, parked orders and stopped partitions of each service. Exit code 1: something needs you."""
    found = run(_statuses(running_settings()))
    if as_json:
        print_json([_document(service, one) for service, one in found.items()])
    else:
        _print(found)
    statuses = [one for one in found.values() if not isinstance(one, Exception)]
    if len(statuses) < len(found):
        raise typer.Exit(UNREACHABLE)
    if any(one.parked or one.stopped or (one.depth.entries and not one.publishes) for one in statuses):
        raise typer.Exit(REFUSED)


async def _statuses(settings: "Settings") -> "dict[Service, Status | Unavailable]":
    from orderflow.postgres.databases import open_databases
    from orderflow.stream.outboxes import statuses

    async with open_databases(settings, pool_size=1, command_timeout=STATUS_SECONDS) as databases:
        return await statuses(databases)


def _document(service: str, one: "Status | Unavailable") -> dict[str, Any]:
    if isinstance(one, Exception):
        return {"service": service, "error": _away(one)}
    return {
        "service": service,
        "entries": one.depth.entries,
        "oldest_age_seconds": round(one.depth.oldest_age.total_seconds(), 3),
        "leader": asdict(one.leader) if one.leader else None,
        "parked_orders": [_plain(asdict(parked)) for parked in one.parked],
        "stopped_partitions": [_plain(asdict(stop)) for stop in one.stopped],
    }


def _away(error: "Unavailable") -> str:
    return f"its database {error.complaint}: {error.detail}"


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    return {
        name: value.isoformat() if isinstance(value, datetime) else str(value) if isinstance(value, UUID) else value
        for name, value in values.items()
    }


def _print(found: "dict[Service, Status | Unavailable]") -> None:
    from rich import box
    from rich.table import Column, Table
    from rich.text import Text

    table = Table(
        "service", Column("waiting", justify="right"), "oldest", "leader", "parked", "stopped", box=box.SIMPLE
    )
    for service, one in found.items():
        if isinstance(one, Exception):
            table.add_row(service, "?", "?", "?", "?", "?")
            continue
        age = duration(one.depth.oldest_age) if one.depth.entries else "-"
        leads = Text("nobody", "red")
        if one.leader:
            leads = Text(f"{one.leader.holder[:8]}, {one.leader.seconds_left:.0f} s left")
        parked, stopped = len(one.parked), ", ".join(str(stop.partition) for stop in one.stopped)
        table.add_row(service, f"{one.depth.entries}", age, leads, f"{parked or '-'}", stopped or "-")
    out.print(table)
    for service, one in found.items():
        if isinstance(one, Exception):
            err.print(f"{service}: {_away(one)}")
        else:
            _print_troubles(service, one)


def _print_troubles(service: str, one: "Status") -> None:
    from operations.words import short

    if one.leader is None:
        out.print(f"{service}: no relay publishes: start one (`orderflow worker relay`)")
    elif not one.publishes:
        out.print(
            f"{service}: an event that could go out has waited for {duration(one.unpublished_for)}, and the lease is "
            "held: `orderflow doctor` says of Kafka, the topic and the lease what is wrong, else the relay's readiness",
            soft_wrap=True,
        )
    if one.refuses_many:
        out.print(
            f"{service}: so many orders were parked within a minute that it is not their fault: no more are parked, "
            "and what else Kafka refuses waits\n"
            "  Mend the topic's limits or the relay's clock, then `orderflow outbox unpark --all`",
            soft_wrap=True,
        )
    for parked in one.parked:
        out.print(
            f"{service}: order {parked.order_id} is parked at version {parked.version} since "
            f"{parked.parked_at:%Y-%m-%d %H:%M:%SZ}, {waiting(parked.entries, 'event')}: {short(parked.error, 500)}\n"
            "  Kafka refuses the record: raise the limit that it names, then "
            f"`orderflow outbox unpark {parked.order_id}`",
            soft_wrap=True,
        )
    for stop in one.stopped:
        out.print(
            f"{service}: partition {stop.partition} stands still since {stop.stopped_at:%Y-%m-%d %H:%M:%SZ}, "
            f"{waiting(stop.waiting_orders, 'order')}: at offset {stop.offset}, where "
            f"{service}/{stop.order_id}/{stop.version} was acknowledged, is {short(stop.found, 500)}\n"
            f"  {_LOST[stop.cause]}: `orderflow outbox republish --partition {stop.partition}`",
            soft_wrap=True,
        )


@app.command()
def republish(
    order: Annotated[
        UUID | None, typer.Option("--order", metavar="ID", help="All published events of an order.")
    ] = None,
    since: Annotated[
        datetime | None,
        typer.Option(
            "--since",
            parser=moment,
            metavar="TIME",
            help="What was published then or later: 30m, 2h, 2026-11-23T22:00.",
        ),
    ] = None,
    partition: Annotated[
        int | None,
        typer.Option(
            "--partition", min=0, help="What this partition lacks; with --since or --order: all that was sent there."
        ),
    ] = None,
    all_stopped: Annotated[
        bool, typer.Option("--stopped", help="What each stopped partition lacks, of every service.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help=f"Do not ask, also for more than {MANY} events.")] = False,
    as_json: AsJson = False,
) -> None:
    """Send published events again: same ids, in version order. Stopped partitions that are whole again go on."""
    from orderflow.store.truncation import Chosen

    if all_stopped == (order is not None or since is not None or partition is not None):
        fail("say what: --order ID, --since TIME, --partition N, or --stopped alone", USAGE)
    settings = running_settings()
    if partition is not None and partition >= settings.kafka_partitions:
        fail(f"the topic has {settings.kafka_partitions} partitions, counted from 0", USAGE)
    done = run(_republish(settings, Chosen(order, since, partition), yes=yes, ask=not as_json))
    if as_json:
        print_json({"republished": sum(one.republished for one in done), "services": [asdict(one) for one in done]})
    else:
        _print_republished(done)
    if any(number == partition or partition is None for one in done for number in one.still_stopped):
        raise typer.Exit(REFUSED)


async def _republish(settings: "Settings", chosen: "Chosen", *, yes: bool, ask: bool) -> "list[Republished]":
    from datetime import timedelta

    from orderflow.postgres.databases import RELAYS, open_databases
    from orderflow.stream.clients import make_reader
    from orderflow.stream.republishing import planned
    from orderflow.stream.truncation import open_topic

    def topic() -> "AbstractAsyncContextManager[Topic]":
        return open_topic(lambda: make_reader(settings), settings.kafka_topic)

    retention = timedelta(hours=settings.kafka_retention_hours)
    async with (
        open_databases(settings, RELAYS, pool_size=1, command_timeout=COMMAND_SECONDS) as databases,
        planned(databases, topic, chosen, retention) as republication,
    ):
        _confirm(republication.events, yes=yes, ask=ask)
        return await republication.carry_out()


def _print_republished(done: "Sequence[Republished]") -> None:
    for one in done:
        went_on = "".join(f", partition {number} goes on" for number in one.going_on)
        sent = f"{counted(one.republished, 'event')} of {counted(one.orders, 'order')} to be sent again"
        out.print(f"{one.service}: {sent}{went_on}", soft_wrap=True)
    for one in done:
        for number in one.still_stopped:
            remedy = f"`orderflow outbox republish --partition {number}`"
            err.print(f"{one.service}: partition {number} still stands: {remedy}")


def _confirm(count: int, *, yes: bool, ask: bool) -> None:
    if yes or count <= MANY:
        return
    if not ask or not asks():
        fail(f"this would send {counted(count, 'event')} again: say --yes", USAGE)
    if not typer.confirm(f"Send {counted(count, 'event')} again?"):
        raise typer.Exit(USAGE)


@app.command()
def unpark(
    order: Annotated[UUID | None, typer.Argument(metavar="[ORDER]", help="The order's id.")] = None,
    cause: Annotated[
        str | None, typer.Option("--cause", metavar="TEXT", help="All orders whose error has this text in it.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All parked orders.")] = False,
    as_json: AsJson = False,
) -> None:
    """Publish parked orders again, whose record Kafka had refused, from where they stopped. Exit code 1: none was."""
    if (order is not None) + (cause is not None) + everything != 1:
        fail("say which: ORDER, --cause TEXT, or --all", USAGE)
    if cause is not None and not cause.strip():
        fail("--cause: a text that is in the error, not an empty one", USAGE)
    if order is None:
        _unpark_many(run(_unpark_all(running_settings(), cause)), as_json=as_json)
        return
    services = run(_unpark(running_settings(), order))
    if as_json:
        print_json({"order_id": str(order), "unparked": services})
    elif services:
        out.print(f"{order}: unparked in {', '.join(services)}; it is sent from where it stopped")
    if not services:
        if not as_json:
            err.print(f"{order} is not parked")
        raise typer.Exit(REFUSED)


def _unpark_many(unparked: "dict[Service, list[UUID]]", *, as_json: bool) -> None:
    if as_json:
        print_json({"unparked": {service: [str(order) for order in orders] for service, orders in unparked.items()}})
    for service, orders in unparked.items():
        if orders and not as_json:
            said = one_or_many(len(orders), "1 order", f"{len(orders)} orders")
            out.print(f"{service}: {said} unparked; sent from where they stopped")
    if not any(unparked.values()):
        if not as_json:
            err.print("no such order is parked")
        raise typer.Exit(REFUSED)


async def _unpark(settings: "Settings", order: UUID) -> "list[Service]":
    from orderflow.postgres.databases import RELAYS, open_databases
    from orderflow.stream.outboxes import unpark

    async with open_databases(settings, RELAYS, pool_size=1, command_timeout=STATUS_SECONDS) as databases:
        return await unpark(databases, order)


async def _unpark_all(settings: "Settings", cause: str | None) -> "dict[Service, list[UUID]]":
    from orderflow.postgres.databases import RELAYS, open_databases
    from orderflow.stream.outboxes import unpark_all

    async with open_databases(settings, RELAYS, pool_size=1, command_timeout=COMMAND_SECONDS) as databases:
        return await unpark_all(databases, cause)
