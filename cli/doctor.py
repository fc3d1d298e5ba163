"""``orderflow doctor``. Exit codes: 0 everything is fine, 1 something is not (its line says what to do)."""

import asyncio
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

import typer

from cli.calls import REFUSED, AsJson, print_json
from cli.stores import silence
from cli.terminal import out, running_settings

if TYPE_CHECKING:
    from operations.doctor.checks import Checked
    from orderflow.settings import Settings


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("doctor")(doctor)


def doctor(as_json: AsJson = False) -> None:
    """Check every dependency, version, migration, setting, poller and clock, and say what to do about each."""
    lines = asyncio.run(_examine(running_settings()))
    bad = sum(not line.ok for line in lines)
    if as_json:
        said = [
            {"about": line.about, "ok": line.ok, "detail": line.detail, "fix": None if line.ok else line.fix}
            for line in lines
        ]
        print_json({"ok": not bad, "checks": said})
    else:
        _print(lines)
        out.print(f"{len(lines)} checks: " + (f"[red]{bad} need you[/]" if bad else "[green]all fine[/]"))
    if bad:
        raise typer.Exit(REFUSED)


async def _examine(settings: "Settings") -> "list[Checked]":
    from operations.doctor import databases, http, stream, temporal
    from operations.doctor.checks import Checked, run_all

    silence()
    here = Checked("this machine", True, f"Python {platform.python_version()}, {_versions()}")
    parts = (databases, temporal, stream, http)
    return [here, *await run_all([check for part in parts for check in part.checks(settings)])]


def _versions() -> str:
    found = []
    for package in ("orderflow", "temporalio", "aiokafka", "asyncpg"):
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            found.append(f"{package} from source")
    return ", ".join(found)


def _print(lines: "list[Checked]") -> None:
    from rich.text import Text

    width = max(len(line.about) for line in lines)
    for line in lines:
        state = ("ok  ", "green") if line.ok else ("FAIL", "bold red")
        out.print(Text.assemble(state, f" {line.about:<{width}}  {line.detail}"), soft_wrap=True)
        if not line.ok:
            out.print(Text(f"     {'':<{width}}  fix: {line.fix}", "yellow"), soft_wrap=True)
