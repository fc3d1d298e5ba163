"""What the two benches share: being run in a terminal, and keeping their figures."""

import asyncio
import shutil
import signal
from collections.abc import Coroutine, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import typer
from rich.console import Console
from rich.text import Text

from bench.errors import BenchError
from bench.report import Sheet, to_markdown, to_terminal
from orderflow.stack.errors import StackError
from orderflow.stack.processes import Event

RESULTS = Path(__file__).parent / "results"

_T = TypeVar("_T")

#: Into a file or a pipe the tables go whole.
console = Console(highlight=False, width=max(shutil.get_terminal_size((120, 24)).columns, 100))


def run(work: Coroutine[Any, Any, _T]) -> _T:
    """What ``work`` returns; or the end of the process, with why. SIGTERM ends it in order, as Ctrl-C does."""
    try:
        return asyncio.run(_until_told(work))
    except (BenchError, StackError) as error:
        console.print("[bold red]error:[/]", Text(str(error)), soft_wrap=True)
    except asyncio.CancelledError:
        console.print("stopped")
    raise typer.Exit(1)


def keep(tables: Sequence[Sheet], about: str, machine: Mapping[str, str], began_at: datetime, page: Path) -> None:
    """Show the tables, and write them to ``page``."""
    to_terminal(tables, console)
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(to_markdown(tables, about, machine, f"{began_at:%Y-%m-%d %H:%M} UTC"))
    console.print(f"Kept in {page}", soft_wrap=True)


def say_trouble(event: Event) -> None:
    """What makes figures doubtful."""
    if event.kind in ("crashed", "restarted", "still_down", "killed"):
        console.print(f"{event.process}: {event.kind.replace('_', ' ')} {event.detail}", markup=False)


async def _until_told(work: Coroutine[Any, Any, _T]) -> _T:
    task = asyncio.ensure_future(work)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await task
