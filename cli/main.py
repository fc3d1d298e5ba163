"""The ``orderflow`` command: a module a group of commands, imported here. What they need they import when they run."""

import sys

import typer

from cli import stack

app = typer.Typer(
    name="orderflow",
    help="Orders as Temporal workflows, with one event stream on Kafka.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
stack.register(app)


def main() -> None:
    """The entry point of the console script."""
    try:
        app()
    except BrokenPipeError:
        # The reader of our output has gone (`orderflow status | head`).
        sys.stderr.close()
        sys.exit(1)


if __name__ == "__main__":
    main()
