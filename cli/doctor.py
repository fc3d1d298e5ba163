"""``orderflow doctor``. Exit codes: 0 everything is fine, 1 something is not (its line says what to do)."""

import asyncio
from typing import TYPE_CHECKING

import typer

from cli.calls import REFUSED, AsJson, print_json
from cli.stores import silence
from cli.terminal import out, running_settings

if TYPE_CHECKING:
    from operations.doctor.check import Checked


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("doctor")(doctor)


def doctor(as_json: AsJson = False) -> None:
    """Check every dependency, version, migration, setting, poller and clock, and say what to do about each."""
    from rich.text import Text

    from operations.doctor.checks import examine
    from operations.words import counted, one_or_many

    silence()
    lines = asyncio.run(examine(running_settings()))
    bad = sum(not line.ok for line in lines)
    if as_json:
        said = [
            {"about": line.about, "ok": line.ok, "detail": line.detail, "fix": None if line.ok else line.fix}
            for line in lines
        ]
        print_json({"ok": not bad, "checks": said})
    else:
        _print(lines)
        verdict = (f"{bad} {one_or_many(bad, 'needs', 'need')} you", "red") if bad else ("all fine", "green")
        out.print(Text.assemble(f"{counted(len(lines), 'check')}: ", verdict))
    if bad:
        raise typer.Exit(REFUSED)


def _print(lines: "list[Checked]") -> None:
    from rich.text import Text

    width = max(len(line.about) for line in lines)
    for line in lines:
        state = ("ok  ", "green") if line.ok else ("FAIL", "bold red")
        out.print(Text.assemble(state, f" {line.about:<{width}}  {line.detail}"), soft_wrap=True)
        if not line.ok:
            out.print(Text(f"     {'':<{width}}  fix: {line.fix}", "yellow"), soft_wrap=True)
