"""What all commands share: the two consoles, reading the settings, and how a failure looks (never a traceback)."""

import contextlib
import functools
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import typer
from rich.text import Text

from cli.screen import Screen, forget_senseless_columns

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

    from orderflow.settings import Settings

#: What goes to a file or a program is not folded to the width of a terminal that is not there.
PIPED_COLUMNS = 160
PROFILE_VARIABLE = "ORDERFLOW_PROFILE"
#: pydantic's word for a default that cannot be told because another setting is wrong.
_FOLLOWS = "default_factory_not_called"


def _console(*, stderr: bool) -> Screen:
    console = Screen(stderr=stderr)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = PIPED_COLUMNS
    return console


forget_senseless_columns()
out = _console(stderr=False)
err = _console(stderr=True)


def fail(message: str, code: int = 1) -> NoReturn:
    """Say why it cannot go on, and leave with ``code``."""
    say_error(message)
    raise typer.Exit(code)


def say_error(message: str) -> None:
    """The same, where something goes on."""
    err.print(Text.assemble(("error:", "bold red"), f" {message}"), soft_wrap=True)


def warn(message: str) -> None:
    """What may be wrong, on stderr; it goes on."""
    err.print(Text.assemble(("warning:", "yellow"), f" {message}"), soft_wrap=True)


def asks() -> bool:
    """Whether somebody is there to answer a question. Python has no standard input where it is closed."""
    return sys.stdin is not None and sys.stdin.isatty()


def short_path(path: Path) -> str:
    """``path`` from here, where it is below the working directory."""
    with contextlib.suppress(ValueError, OSError):
        return str(path.relative_to(Path.cwd()))
    return str(path)


def load_settings() -> "Settings":
    """The settings of this process, of the profile that was chosen; one line for each variable that is wrong."""
    from pydantic import ValidationError

    from orderflow.profiles import ProfileError
    from orderflow.settings import Settings

    try:
        _warn_of_unread()
        return Settings()
    except ProfileError as error:
        fail(str(error), 2)
    except ValidationError as error:
        profile = os.environ.get(PROFILE_VARIABLE)
        of_profile = f" (profile {profile})" if profile else ""
        wrong = [_wrong(one) for one in error.errors() if one["type"] != _FOLLOWS]
        fail(f"settings are wrong{of_profile}: {'; '.join(wrong)}", 2)


@functools.cache
def _warn_of_unread() -> None:
    """Once a process. Raises ProfileError."""
    from orderflow.settings import unread

    for complaint in unread():
        warn(complaint)


def _wrong(error: "ErrorDetails") -> str:
    raised = error.get("ctx", {}).get("error")  # by a check of ours; pydantic's own message puts words before it
    said = str(raised) if isinstance(raised, ValueError) else error["msg"]
    return f"ORDERFLOW_{'.'.join(map(str, error['loc'])).upper()}: {said}" if error["loc"] else said


def running_settings() -> "Settings":
    """The settings, with the addresses of the embedded stack if one runs from the data dir."""
    from pydantic import ValidationError

    from orderflow.stack.environment import FILE
    from orderflow.stack.environment import running_settings as lead_to_stack

    settings = load_settings()
    try:
        return lead_to_stack(settings)
    except (ValidationError, UnicodeDecodeError):
        fail(f"{settings.data_dir / FILE} is not what `orderflow up` wrote: start the stack again", 2)
