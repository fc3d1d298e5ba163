"""The ``orderflow`` command: a module a group of commands, imported here. What they need they import when they run."""

import contextlib
import logging
import os
import sys
from collections.abc import Sequence
from typing import NoReturn
from unicodedata import category

import typer

from cli import (
    cancelling,
    codec,
    demo,
    dlq,
    doctor,
    events,
    explain,
    interventions,
    keys,
    lag,
    observe,
    orders,
    outbox,
    profiles,
    reconcile,
    replaying,
    stack,
    stock,
    traces,
)
from cli.calls import USAGE
from cli.screen import never_fail_to_write
from cli.terminal import say_error
from orderflow.urls import HIDDEN

#: Options whose value is a secret, or may hold one.
_TAKE_SECRETS = frozenset({"--api", "--database", "--token"})

app = typer.Typer(
    name="orderflow",
    help="Orders as Temporal workflows, with one event stream on Kafka.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.callback()(profiles.choose)
stack.register(app)
demo.register(app)
reconcile.register(app)
explain.register(app, orders.app)
cancelling.register(orders.app)
interventions.register(orders.app)
traces.register(orders.app)
replaying.register(app)
lag.register(app)
doctor.register(app)
observe.register(app)
codec.register(app)
app.add_typer(orders.app, name="order")
app.add_typer(stock.app, name="stock")
app.add_typer(events.app, name="events")
app.add_typer(outbox.app, name="outbox")
app.add_typer(dlq.app, name="dlq")
app.add_typer(codec.app, name="payload-keys")
app.add_typer(profiles.app, name="profile")
app.add_typer(keys.app, name="keys")
app.command()(keys.login)


def main() -> None:
    """The entry point of the console script. Does not return."""
    never_fail_to_write()
    refuse_unreadable(sys.argv[1:])
    try:
        # Also as `python -m cli.main`: the name that the shell completes.
        app(prog_name="orderflow")
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
    except BrokenPipeError:
        # The reader of our output has gone (`orderflow status | head`).
        os._exit(1)
    except OSError as error:
        _try_to_say(_of_system(error))
        code = 1
    except Exception as error:
        _try_to_say(_wrong_settings(error))
        code = USAGE
    else:
        code = 0
    leave(code)


def _wrong_settings(error: Exception) -> str:
    """What a profile or a key lacks or has wrong, which shows where it is used; every other error is raised again."""
    from orderflow.credentials import CredentialError
    from orderflow.profiles import ProfileError

    found = error
    while isinstance(found, ExceptionGroup):
        found = found.exceptions[0]
    if not isinstance(found, ProfileError | CredentialError):
        raise error
    return str(found)


def _of_system(error: OSError) -> str:
    """What the operating system said, and about which file."""
    what = error.strerror or str(error) or type(error).__name__
    return what if error.filename is None else f"{error.filename}: {what}"


def _try_to_say(message: str) -> None:
    """On stderr, if that takes anything."""
    with contextlib.suppress(OSError):
        say_error(message)


def refuse_unreadable(arguments: Sequence[str]) -> None:
    """End the process where an argument is no text: a clear error here, not one in whatever meets it first."""
    for number, argument in enumerate(arguments, start=1):
        if any("\ud800" <= character <= "\udfff" for character in argument):
            why = f"it is not text in {sys.getfilesystemencoding()}, the encoding here: use UTF-8 (LC_ALL=C.UTF-8)"
        elif any(category(character) == "Cc" and character not in "\t\n" for character in argument):
            why = "it has a control character"
        else:
            continue
        before = arguments[number - 2] if number > 1 else ""
        shown = HIDDEN if _may_be_secret(argument, before) else argument
        _try_to_say(f"argument {number} ({shown}): {why}")
        leave(USAGE)


def _may_be_secret(argument: str, before: str) -> bool:
    return "://" in argument or before in _TAKE_SECRETS or argument.partition("=")[0] in _TAKE_SECRETS


def leave(code: int) -> NoReturn:
    """End the process without Python's finalization, which a thread of Temporal's client can crash.

    What an output does not take is no success, unless who read it has gone. One that is closed is None to Python.
    Measured: 5 of 60 processes that end right after a call die of SIGABRT or SIGSEGV (temporalio/sdk-python#300).
    """
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except BrokenPipeError:
            continue
        except OSError as error:
            if code == 0:
                code = 1
                _try_to_say(_of_system(error))
    logging.shutdown()
    os._exit(code)


if __name__ == "__main__":
    main()
