"""``orderflow dlq``: events that a consumer group could not apply, and putting them right.

The table ``dead_letters`` in the group's database is the truth (the kit's, ``events/``); by default that of our own
tracking. Another group's is reached with ``--group`` and ``--database``, and its redrive needs its ``--effect``.
"""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer

from cli.calls import NOT_FOUND, REFUSED, USAGE, AsJson, print_json
from cli.stores import COMMAND_SECONDS, run
from cli.terminal import err, fail, out, running_settings

if TYPE_CHECKING:
    from orderflow.settings import Settings
    from orderflow_events.applying import Connect, Effect
    from orderflow_events.dead_letters import DeadLetter
    from orderflow_events.redrive import Redriven

app = typer.Typer(help="Dead letters: events that a consumer could not apply.", no_args_is_help=True)

Group = Annotated[str | None, typer.Option("--group", help="The consumer group. Default: our own tracking.")]
Where = Annotated[
    str | None, typer.Option("--database", metavar="URL", help="The group's database. Default: the orders database.")
]
Order = Annotated[UUID | None, typer.Option("--order", metavar="ID", help="Of one order.")]


@app.command("list")
def list_(group: Group = None, database: Where = None, order: Order = None, as_json: AsJson = False) -> None:
    """Show the dead letters, the oldest first. Exit code 1: there are some."""
    letters = run(_all(running_settings(), group, database, order))
    if as_json:
        print_json([_document(letter) for letter in letters])
    elif letters:
        _print(letters)
    else:
        err.print("no dead letters")
    if letters:
        raise typer.Exit(REFUSED)


async def _all(
    settings: "Settings", group: str | None, url: str | None, order: UUID | None = None, after: int = 0, limit: int = 0
) -> "list[DeadLetter]":
    """From the one behind id ``after``; ``limit`` 0: all."""
    from orderflow_events.redrive import dead_letters

    letters: list[DeadLetter] = []
    async with _connect(settings, url) as connect:
        while page := await dead_letters(
            connect, group or settings.tracking_group, str(order) if order else None, after=after, limit=limit or 500
        ):
            letters += page
            after = page[-1].id
            if limit:
                break
    return letters


@asynccontextmanager
async def _connect(settings: "Settings", url: str | None) -> "AsyncIterator[Connect]":
    from orderflow.store.database import Database

    dsn = url or settings.orders_database_url.get_secret_value()
    async with Database("dead letters", dsn, pool_size=1, command_timeout=COMMAND_SECONDS) as database:
        pool = await database.pool()
        yield pool.acquire


def _document(letter: "DeadLetter", *, whole: bool = False) -> dict[str, Any]:
    document: dict[str, Any] = {
        "id": letter.id,
        "group": letter.group,
        "order_id": letter.subject,
        "kind": letter.kind,
        "reason": letter.reason,
        "attempts": letter.attempts,
        "first_failed_at": letter.first_failed_at.isoformat() if letter.first_failed_at else None,
        "last_failed_at": letter.last_failed_at.isoformat() if letter.last_failed_at else None,
        "dead_lettered_at": letter.dead_lettered_at.isoformat(),
        "topic": letter.topic,
        "partition": letter.partition,
        "offset": letter.offset,
    }
    if whole:
        headers = {name: value.decode(errors="replace") for name, value in letter.headers}
        key = None if letter.key is None else letter.key.decode(errors="replace")
        document |= {"key": key, "headers": headers, "value": _value(letter)}
    return document


def _value(letter: "DeadLetter") -> Any:
    """The record's JSON, or its text where it is none."""
    text = (letter.value or b"").decode(errors="replace")
    try:
        return json.loads(text)
    except ValueError:
        return text


def _print(letters: "list[DeadLetter]") -> None:
    from rich import box
    from rich.table import Column, Table
    from rich.text import Text

    table = Table("id", "since", "order", "where", "kind", Column("reason", overflow="fold"), box=box.SIMPLE)
    for letter in letters:
        where = f"{letter.partition}/{letter.offset}"
        since = f"{letter.dead_lettered_at:%Y-%m-%d %H:%M:%SZ}"
        table.add_row(str(letter.id), since, letter.subject or "-", where, letter.kind, Text(letter.reason))
    out.print(table)
    orders = len({letter.subject for letter in letters if letter.subject})
    err.print(f"{len(letters)} dead letters hold {orders} orders; `orderflow dlq redrive` applies them again")


@app.command()
def show(
    letter: Annotated[int, typer.Argument(metavar="DEAD_LETTER", help="Its id, as `list` shows it.")],
    group: Group = None,
    database: Where = None,
    as_json: AsJson = False,
) -> None:
    """Show one dead letter whole: why, and the record as it came."""
    found = [
        one for one in run(_all(running_settings(), group, database, after=letter - 1, limit=1)) if one.id == letter
    ]
    if not found:
        fail(f"there is no dead letter {letter}", NOT_FOUND)
    document = _document(found[0], whole=True)
    if as_json:
        print_json(document)
        return
    for name, value in document.items():
        if name not in ("headers", "value"):
            out.print(f"{name:<17} {'-' if value is None else value}", markup=False, soft_wrap=True)
    for name, value in document["headers"].items():
        out.print(f"  {name}: {value}", markup=False, soft_wrap=True)
    value = document["value"]
    out.print(value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False), markup=False)


@app.command()
def redrive(
    group: Group = None,
    database: Where = None,
    order: Order = None,
    effect: Annotated[
        str | None, typer.Option("--effect", metavar="MODULE:NAME", help="The effect of another group's consumer.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Apply the dead letters after all, in order. Exit code 1: some fail again, and still hold their orders."""
    settings = running_settings()
    apply = _effect(settings, group, effect)
    result = run(_redrive(settings, group, database, order, apply))
    if as_json:
        failed = [_document(letter) | {"reason": reason} for letter, reason in result.failed]
        print_json({"applied": result.applied, "skipped": result.skipped, "failed": failed})
    else:
        for letter, reason in result.failed:
            err.print(f"{letter}: fails again: {reason}", markup=False, soft_wrap=True)
        applied = f"{result.applied} applied, {result.skipped} had been applied before"
        out.print(f"{applied}, {len(result.failed)} fail again")
    if result.failed:
        raise typer.Exit(REFUSED)


async def _redrive(
    settings: "Settings", group: str | None, url: str | None, order: UUID | None, effect: "Effect"
) -> "Redriven":
    from orderflow.domain.errors import Unavailable
    from orderflow.stream.tracking import log_gap
    from orderflow_events.failures import Interruption
    from orderflow_events.redrive import redrive

    async with _connect(settings, url) as connect:
        try:
            return await redrive(
                connect=connect,
                group=group or settings.tracking_group,
                effect=effect,
                order_id=str(order) if order else None,
                on_gap=log_gap,
            )
        except Interruption as error:
            raise Unavailable("dead letters", f"{error}; what was applied stays applied") from error


def _effect(settings: "Settings", group: str | None, named: str | None) -> "Effect":
    """The tracking's own, or the one that is named: its module is imported, as where its consumer runs."""
    import importlib
    import sys
    from pathlib import Path

    if named is None:
        if group not in (None, settings.tracking_group):
            fail(f"what {group} does with an event is not known here: say --effect MODULE:NAME", USAGE)
        from orderflow.stream.tracking import track

        return track
    module, _, name = named.partition(":")
    sys.path.insert(0, str(Path.cwd()))
    try:
        effect: Effect = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        fail(f"{named!r} is no MODULE:NAME of an effect: {error}", USAGE)
    return effect
