"""What the operator's commands share: the three databases, the topic, and how it ends when one does not answer.

They read the stores themselves, not through the API, so that they also answer while it is down. Exit codes: 0 fine or
done, 1 something needs a person, 2 wrong usage, 3 a store does not answer.
"""

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Coroutine, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, TypeVar

import typer

from cli.calls import UNREACHABLE, USAGE
from cli.terminal import fail

if TYPE_CHECKING:
    from orderflow.settings import Settings
    from orderflow.store.database import Database

T = TypeVar("T")
Service = Literal["orders", "payments", "inventory"]
SERVICES: Final[tuple[Service, ...]] = ("orders", "payments", "inventory")
#: Whole tables, seldom.
COMMAND_SECONDS: Final = 60.0
AsJson = Annotated[bool, typer.Option("--json", help="For programs: one JSON document on stdout.")]

_AGO = re.compile(r"(\d+)\s*([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def run(work: Coroutine[Any, Any, T]) -> T:
    """What ``work`` returns; or the end of the process, with who does not answer."""
    from aiokafka.errors import KafkaError

    from orderflow.domain.errors import Rejection, Unavailable

    silence()
    try:
        return asyncio.run(work)
    except Unavailable as error:
        fail(f"the database {error.dependency} does not answer: {error.detail}", UNREACHABLE)
    except Rejection as error:
        fail(str(error), USAGE)
    except KafkaError as error:
        fail(f"Kafka does not answer: {error}", UNREACHABLE)
    except OSError as error:
        fail(f"no answer: {error}", UNREACHABLE)
    except Exception as error:
        if getattr(error, "sqlstate", None) == "42P01":
            fail(f"{error}: apply the migrations (`orderflow setup`)")
        raise


def silence() -> None:
    """No log lines: what matters of them is printed, and they are for the workers."""
    import structlog

    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    for name in ("aiokafka", "orderflow_events"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


@asynccontextmanager
async def open_stores(
    settings: "Settings", services: Iterable[Service] = SERVICES, *, seconds: float = COMMAND_SECONDS
) -> "AsyncIterator[dict[Service, Database]]":
    """The databases of ``services``; each opens at first use. ``seconds``: for one statement."""
    from orderflow.store.database import Database

    urls = {
        "orders": settings.orders_database_url,
        "payments": settings.payments_database_url,
        "inventory": settings.inventory_database_url,
    }
    async with AsyncExitStack() as stack:
        yield {
            service: await stack.enter_async_context(
                Database(service, urls[service].get_secret_value(), pool_size=1, command_timeout=seconds)
            )
            for service in services
        }


def moment(text: str) -> datetime:
    """A time in the past: ISO 8601 (UTC where it does not say), or ``90s``, ``30m``, ``2h``, ``1d`` ago."""
    if ago := _AGO.fullmatch(text.strip()):
        return datetime.now(UTC) - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is neither a time (2026-11-23T22:00) nor a while ago (30m, 2h)") from None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def duration(seconds: float) -> str:
    """``0.4 s``, ``12 s``, ``3 m 5 s``, ``2 h 10 m``, ``3 d 4 h``."""
    whole = int(seconds)
    if seconds < 10:
        return f"{seconds:.1f} s"
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} m {whole % 60} s"
    if whole < 86_400:
        return f"{whole // 3600} h {whole % 3600 // 60} m"
    return f"{whole // 86_400} d {whole % 86_400 // 3600} h"
