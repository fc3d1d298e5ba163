"""``python -m orderflow_events``: what an operator of a consumer does with its dead letters.

    python -m orderflow_events tables                                 # SQL of the kit's tables, for psql
    python -m orderflow_events list    --database URL --group NAME [--order ID]
    python -m orderflow_events redrive --database URL --group NAME --effect MODULE:NAME [--order ID]
    python -m orderflow_events discard --database URL --group NAME --id N

``--effect`` names what the consumer is given as its ``effect``, and its module is imported (run this where the consumer
runs). The database URL can stand in DATABASE_URL. Exit codes: 0 done, 1 something is still held, 2 not possible.
"""

import argparse
import asyncio
import importlib
import os
import re
import sys
from pathlib import Path
from typing import Final
from unicodedata import category
from uuid import UUID

import asyncpg

from orderflow_events.applying import Connect, Effect
from orderflow_events.dead_letters import DeadLetter
from orderflow_events.failures import Interruption
from orderflow_events.inbox import TABLES_SQL
from orderflow_events.printable import printable
from orderflow_events.redrive import dead_letters, discard, redrive

#: Controls, formats such as bidirectional overrides, and surrogates.
_UNSEEN: Final = ("Cc", "Cf", "Cs")


def main() -> int:
    """Carry out one command; its exit code."""
    arguments = _parser().parse_args()
    if arguments.command == "tables":
        _say(TABLES_SQL.rstrip())
        return 0
    if not arguments.database:
        _say("no database: give --database, or set DATABASE_URL", error=True)
        return 2
    if not _is_clear(arguments.database):
        # Not shown: what is wrong with it may be its password.
        _say(
            "the database URL can be read in more than one way: percent-encode what is special in its user and "
            "password (/ is %2F, # %23, ? %3F, @ %40, : %3A, % %25, a space %20)",
            error=True,
        )
        return 2
    try:
        return asyncio.run(_run(arguments))
    except (Interruption, OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        _say(f"the database does not do it, what was done is done: {error}", error=True)
    except KeyboardInterrupt:
        _say("interrupted: what was done is done, run it again for the rest", error=True)
    return 2


async def _run(arguments: argparse.Namespace) -> int:
    commands = {"list": _list, "redrive": _redrive, "discard": _discard}
    async with asyncpg.create_pool(arguments.database, min_size=1, max_size=1, timeout=10) as pool:
        return await commands[arguments.command](pool.acquire, arguments)


async def _list(connect: Connect, arguments: argparse.Namespace) -> int:
    order = str(arguments.order) if arguments.order else None
    after = 0
    while page := await dead_letters(connect, arguments.group, order, after=after):
        for letter in page:
            _say(printable(_described(letter), 2_000))
        after = page[-1].id
    return 1 if after else 0


async def _redrive(connect: Connect, arguments: argparse.Namespace) -> int:
    order = str(arguments.order) if arguments.order else None
    result = await redrive(connect=connect, group=arguments.group, effect=arguments.effect, order_id=order)
    for letter, reason in result.failed:
        _say(f"{letter}: fails again: {printable(reason)}")
    _say(f"{result.applied} applied, {result.skipped} had been applied before, {len(result.failed)} fail again")
    return 1 if result.failed else 0


async def _discard(connect: Connect, arguments: argparse.Namespace) -> int:
    letter = await discard(connect, arguments.group, arguments.id)
    _say(f"discarded {letter}" if letter else f"{arguments.group} has no dead letter {arguments.id}")
    return 0 if letter else 2


def _described(letter: DeadLetter) -> str:
    tried = f", tried {letter.attempts} times" if letter.attempts else ""
    return f"{letter}{tried}, since {letter.dead_lettered_at:%Y-%m-%d %H:%M:%S} UTC: {letter.reason}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m orderflow_events", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="tables|list|redrive|discard")
    commands.add_parser("tables")
    for name in ("list", "redrive", "discard"):
        command = commands.add_parser(name)
        command.add_argument("--database", default=os.environ.get("DATABASE_URL"), metavar="URL")
        command.add_argument("--group", required=True, metavar="NAME")
        if name == "discard":
            command.add_argument("--id", type=int, required=True, metavar="N")
        else:
            command.add_argument("--order", type=UUID, metavar="ID")
        if name == "redrive":
            command.add_argument("--effect", type=_effect, required=True, metavar="MODULE:NAME")
    return parser


def _effect(text: str) -> Effect:
    module, _, name = text.partition(":")
    sys.path.insert(0, str(Path.cwd()))
    try:
        effect: Effect = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no MODULE:NAME of an effect: {error}") from error
    return effect


def _is_clear(url: str) -> bool:
    """Whether nobody can take a part of the password for a host, a port or a path, and name it in an error."""
    allowed = r"(?:[A-Za-z0-9._~!$&'()*+,;=:-]|%[0-9A-Fa-f]{2})"
    hosts = r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~%-]*)(?::[0-9]+)?(?:,[A-Za-z0-9._~%-]*(?::[0-9]+)?)*"
    return bool(re.fullmatch(rf"postgres(?:ql)?://(?:{allowed}+@)?{hosts}(?:/{allowed}*)?(?:\?(?:{allowed}|/)*)?", url))


def _say(text: str, *, error: bool = False) -> None:
    # What a record says is not obeyed by the terminal, and what the terminal cannot show is replaced.
    seen = "".join("\N{REPLACEMENT CHARACTER}" if category(c) in _UNSEEN and c not in "\t\n" else c for c in text)
    stream = sys.stderr if error else sys.stdout
    encoding = stream.encoding or "utf-8"
    stream.write(seen.encode(encoding, "replace").decode(encoding) + "\n")


if __name__ == "__main__":
    sys.exit(main())
