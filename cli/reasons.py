"""``--reason``: why an operator does something. It is recorded before it is done."""

from typing import Annotated

import typer

from cli.calls import USAGE
from cli.terminal import err, fail

Why = Annotated[str, typer.Option("--reason", help="Why; it is recorded.")]


def checked(reason: str) -> str:
    """``reason`` as it is recorded; or the end of the process."""
    from operations import audit

    try:
        return audit.checked(reason)
    except audit.BadReason as error:
        fail(f"--reason: {error}", USAGE)


def tell(said: str) -> None:
    """Beside the result, on stderr."""
    err.print(said, soft_wrap=True)
