"""What all commands share: the two consoles, reading the settings, and how a failure looks (never a traceback)."""

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import typer
from rich.console import Console

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

    from orderflow.settings import Settings

#: What goes to a file or a program is not folded to the width of a terminal that is not there.
PIPED_COLUMNS = 160
PROFILE_VARIABLE = "ORDERFLOW_PROFILE"


def _console(*, stderr: bool) -> Console:
    console = Console(stderr=stderr, highlight=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = PIPED_COLUMNS
    return console


out = _console(stderr=False)
err = _console(stderr=True)


def fail(message: str, code: int = 1) -> NoReturn:
    """Say why it cannot go on, and leave with ``code``."""
    err.print(f"[bold red]error:[/] {_plain(message)}", soft_wrap=True)
    raise typer.Exit(code)


def short_path(path: Path) -> str:
    """``path`` from here, where it is below the working directory."""
    with contextlib.suppress(ValueError):
        return str(path.relative_to(Path.cwd()))
    return str(path)


def load_settings() -> "Settings":
    """The settings of this process, of the profile that was chosen; one line for each variable that is wrong."""
    from pydantic import ValidationError

    from orderflow.profiles import ProfileError
    from orderflow.settings import Settings

    try:
        return Settings()
    except ProfileError as error:
        fail(str(error), 2)
    except ValidationError as error:
        profile = os.environ.get(PROFILE_VARIABLE)
        of_profile = f" (profile {profile})" if profile else ""
        fail(f"settings are wrong{of_profile}: " + "; ".join(_wrong(e) for e in error.errors()), 2)


def _wrong(error: "ErrorDetails") -> str:
    raised = error.get("ctx", {}).get("error")  # by a check of ours; pydantic's own message puts words before it
    said = str(raised) if isinstance(raised, ValueError) else error["msg"]
    return f"ORDERFLOW_{'.'.join(map(str, error['loc'])).upper()}: {said}" if error["loc"] else said


def running_settings() -> "Settings":
    """The settings, with the addresses of the embedded stack if one runs from the data dir."""
    from orderflow.stack.environment import running_settings as lead_to_stack

    return lead_to_stack(load_settings())


def _plain(message: str) -> str:
    from rich.markup import escape

    return escape(message)
