"""What the benches share: being run in a terminal, and keeping their figures."""

import asyncio
import shutil
import signal
from collections.abc import Coroutine, Mapping
from pathlib import Path
from typing import Any, TypeVar

import typer
from rich.console import Console
from rich.text import Text

from bench.errors import BenchError
from orderflow.stack.errors import StackError
from orderflow.stack.processes import Event

RESULTS = Path(__file__).parent / "results"

_T = TypeVar("_T")

#: The tables go whole, also where a terminal is narrower: what is cut cannot be read at all.
console = Console(highlight=False, width=max(shutil.get_terminal_size((120, 24)).columns, 240))


def run(work: Coroutine[Any, Any, _T]) -> _T:
    """What ``work`` returns; or the end of the process, with why. SIGTERM ends it in order, as Ctrl-C does."""
    try:
        return asyncio.run(_until_told(work))
    except (BenchError, StackError) as error:
        console.print("[bold red]error:[/]", Text(str(error)), soft_wrap=True)
    except asyncio.CancelledError:
        console.print("stopped")
    raise typer.Exit(1)


def write(folder: Path, texts: Mapping[str, str]) -> None:
    """Write ``texts`` by file name into ``folder``, and say so."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    console.print(f"Kept in {folder}", soft_wrap=True)


def say(line: str) -> None:
    """How far it is."""
    console.print(line, markup=False, soft_wrap=True)


def say_trouble(event: Event) -> None:
    """What makes figures doubtful."""
    if event.kind in ("crashed", "restarted", "still_down", "killed"):
        say(f"{event.process}: {event.kind.replace('_', ' ')} {event.detail}")


async def _until_told(work: Coroutine[Any, Any, _T]) -> _T:
    task = asyncio.ensure_future(work)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await task
