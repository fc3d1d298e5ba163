"""What the operator's commands share: spans and moments, and how it ends when one does not answer.

They read the stores themselves, not through the API, so that they also answer while it is down. Exit codes: 0 fine or
done, 1 something needs a person, 2 wrong usage, 3 a store does not answer.
"""

import asyncio
import logging
import re
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeVar

import typer

from cli.calls import UNREACHABLE, USAGE
from cli.terminal import fail

T = TypeVar("T")
#: Whole tables, seldom.
COMMAND_SECONDS: Final = 60.0

#: A span of time: ``90s``, ``30m``, ``2h``, ``1d``.
SPAN: Final = re.compile(r"(\d{1,15})\s*([smhd])")
#: Of what gives no answer and is no database, its name for people.
_NAMES: Final = {"kafka": "Kafka", "temporal": "Temporal"}
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def run(work: Coroutine[Any, Any, T]) -> T:
    """What ``work`` returns; or the end of the process, with who does not answer."""
    from orderflow.domain.errors import Rejection, Unavailable
    from orderflow.store.errors import lacks_a_table

    silence()
    try:
        return asyncio.run(work)
    except Unavailable as error:
        if lacks_a_table(error):
            fail(f"{error.detail}: apply the migrations (`orderflow setup`)")
        who = _NAMES.get(error.dependency, f"the database {error.dependency}")
        fail(f"{who} {error.complaint}: {error.detail}", UNREACHABLE)
    except Rejection as error:
        fail(str(error), USAGE)
    except OSError as error:
        fail(f"no answer: {error}", UNREACHABLE)


def silence() -> None:
    """No log lines, ours or the libraries': what matters of them is printed, and they are for the workers."""
    import structlog

    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    for name in ("aiokafka", "asyncio", "orderflow_events", "temporalio"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


def span(number: str, unit: str) -> timedelta:
    """What the two groups of ``SPAN`` say. Raises OverflowError beyond what a setting may be."""
    return bounded(timedelta(**{_UNITS[unit]: int(number)}))


def bounded(length: timedelta) -> timedelta:
    """``length``. Raises OverflowError beyond what a setting may be."""
    from orderflow.settings.kinds import MOST_SECONDS

    if length > timedelta(seconds=MOST_SECONDS):
        raise OverflowError
    return length


def as_seconds(text: str) -> float:
    """How long, within the bounds of the settings."""
    from pydantic import TypeAdapter, ValidationError

    from orderflow.settings.kinds import MOST_SECONDS, Seconds

    try:
        return TypeAdapter(Seconds).validate_python(text)
    except ValidationError:
        raise typer.BadParameter(f"{text!r} is no number of seconds from 0 to {MOST_SECONDS}") from None


def moment(text: str) -> datetime:
    """A time in the past: ISO 8601 (UTC where it does not say), or ``90s``, ``30m``, ``2h``, ``1d`` ago."""
    try:
        if ago := SPAN.fullmatch(text.strip()):
            return datetime.now(UTC) - span(ago[1], ago[2])
        at = datetime.fromisoformat(text)
        return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)
    except OverflowError:
        raise typer.BadParameter(f"{text!r} is too long ago") from None
    except ValueError:
        raise typer.BadParameter(f"{text!r} is neither a time (2026-11-23T22:00) nor a while ago (30m, 2h)") from None
