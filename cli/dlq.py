"""``orderflow dlq``: events that a consumer group could not apply, and putting them right, or giving them up.

The table ``dead_letters`` in the group's database is the truth (the kit's, ``events/``); by default that of our own
tracking. Another group's is reached with ``--group`` and ``--database``, and its redrive needs its ``--effect``.
"""

from typing import Annotated, Final
from uuid import UUID

import typer

from cli.calls import NOT_FOUND, REFUSED, USAGE, AsJson, print_json
from cli.screen import json_text
from cli.stores import run
from cli.terminal import asks, err, fail, out, running_settings

app = typer.Typer(help="Dead letters: events that a consumer could not apply.", no_args_is_help=True)

#: What is shown of a record's key or of a value that is no JSON.
LONGEST_VALUE: Final = 10_000


def _readable(url: str | None) -> str | None:
    """``--database``: refused by its rule, without being shown."""
    from orderflow import urls

    try:
        return None if url is None else urls.check(url, urls.POSTGRES)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


Group = Annotated[str | None, typer.Option("--group", help="The consumer group. Default: our own tracking.")]
Where = Annotated[
    str | None,
    typer.Option(
        "--database", metavar="URL", callback=_readable, help="The group's database. Default: the orders database."
    ),
]
Letter = Annotated[int, typer.Argument(metavar="DEAD_LETTER", help="Its id, as `list` shows it.")]
Order = Annotated[UUID | None, typer.Option("--order", metavar="ID", help="Of one order.")]


@app.command("list")
def list_(group: Group = None, database: Where = None, order: Order = None, as_json: AsJson = False) -> None:
    """Show the dead letters, the oldest first. Exit code 1: there are some."""
    from cli.pages import dead_letters as pages
    from operations.dead_letters import read
    from operations.words import counted, one_or_many

    letters = run(read(running_settings(), group, database, order))
    if as_json:
        print_json([pages.document(letter) for letter in letters])
    elif letters:
        out.print(pages.table(letters))
        orders = len({letter.subject for letter in letters if letter.subject})
        hold = f"{counted(len(letters), 'dead letter')} {one_or_many(len(letters), 'holds', 'hold')}"
        err.print(f"{hold} {counted(orders, 'order')}; `orderflow dlq redrive` applies again", soft_wrap=True)
    else:
        err.print("no dead letters")
    if letters:
        raise typer.Exit(REFUSED)


@app.command()
def show(
    letter: Letter,
    group: Group = None,
    database: Where = None,
    as_json: AsJson = False,
) -> None:
    """Show one dead letter whole: why, and the record as it came."""
    from cli.pages import dead_letters as pages
    from operations.dead_letters import read

    found = [
        one for one in run(read(running_settings(), group, database, after=letter - 1, limit=1)) if one.id == letter
    ]
    if not found:
        fail(f"there is no dead letter {letter}", NOT_FOUND)
    document = pages.document(found[0], whole=True)
    if as_json:
        print_json(document)
        return
    for name, value in document.items():
        if name not in ("headers", "value"):
            shown = "-" if value is None else str(value)[:LONGEST_VALUE]
            out.print(f"{name:<17} {shown}", soft_wrap=True)
    for name, value in document["headers"].items():
        out.print(f"  {name}: {'-' if value is None else value[:LONGEST_VALUE]}", soft_wrap=True)
    value = document["value"]
    text = value[:LONGEST_VALUE] if isinstance(value, str) else json_text(value, indent=2)
    out.print(text)


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
    from cli.pages import dead_letters as pages
    from operations import dead_letters
    from operations.words import one_or_many, short

    settings = running_settings()
    try:
        apply = dead_letters.effect_of(settings, group, effect)
    except dead_letters.BadEffect as error:
        fail(str(error), USAGE)
    result = run(dead_letters.redrive(settings, group, database, order, apply))
    if as_json:
        failed = [pages.document(letter) | {"reason": reason} for letter, reason in result.failed]
        print_json({"applied": result.applied, "skipped": result.skipped, "failed": failed})
    else:
        for letter, reason in result.failed:
            err.print(f"{letter}: fails again: {short(reason, 500)}", soft_wrap=True)
        applied = f"{result.applied} applied, {result.skipped} had been applied before"
        out.print(f"{applied}, {len(result.failed)} {one_or_many(len(result.failed), 'fails', 'fail')} again")
    if result.failed:
        raise typer.Exit(REFUSED)


@app.command()
def discard(
    letter: Letter,
    group: Group = None,
    database: Where = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Give one dead letter up for good: for what is no event, which no redrive can apply. Asks first.

    What follows it of its order waits for the redrive.
    """
    from cli.pages import dead_letters as pages
    from operations import dead_letters

    if not yes:
        if as_json or not asks():
            fail("a discarded event is never applied: say --yes", USAGE)
        if not typer.confirm(f"Dead letter {letter} will never be applied. Discard it?", err=True):
            raise typer.Exit(USAGE)
    given_up = run(dead_letters.discard(running_settings(), group, database, letter))
    if given_up is None:
        fail(f"there is no dead letter {letter}", NOT_FOUND)
    if as_json:
        print_json(pages.document(given_up, whole=True))
    else:
        out.print(f"{given_up} is discarded", soft_wrap=True)


@app.command()
def passed(
    group: Group = None,
    database: Where = None,
    forget: Annotated[bool, typer.Option("--forget", help="Tell of them no more: somebody has seen to them.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show records that could not even become dead letters, and took no effect. Exit code 1: there are some."""
    from dataclasses import asdict

    from operations.dead_letters import passed as read

    found = run(read(running_settings(), group, database, forget=forget))
    if as_json:
        print_json([{**asdict(one), "passed_at": one.passed_at.isoformat()} for one in found])
    for one in [] if as_json else found:
        out.print(f"{one.passed_at:%Y-%m-%d %H:%M:%SZ} {one}", soft_wrap=True)
    if not as_json:
        err.print(f"{len(found)} {'forgotten' if forget else 'passed without a dead letter'}")
    if found and not forget:
        raise typer.Exit(REFUSED)
