"""Postgres' errors in our words: an outage is ``Unavailable``, bad data is a ``Rejection``, the rest is a bug.

Which is which stands in the consumers' kit, ``orderflow_events/database_errors.py``: one list for both.
"""

from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from typing import Final

import asyncpg

from orderflow.domain.errors import AccessDenied, Failing, Problem, Rejection, Unavailable
from orderflow_events.database_errors import Verdict, fault_of


class LostRace(Unavailable):
    """Somebody else was faster, and nothing happened. Look again; the write rule does."""


#: How often a statement may lose its race before the caller is told to come back.
TRIES: Final = 20


async def unless_lost(statement: Awaitable[asyncpg.Record | None]) -> asyncpg.Record | None:
    """The row that ``statement`` gives; None also where somebody else was faster: look again."""
    try:
        return await statement
    except LostRace:
        return None


def always_lost(database: str, what: str) -> Unavailable:
    """What to raise after ``TRIES``."""
    return Unavailable(database, f"{what} lost its race {TRIES} times")


def lacks_a_table(error: BaseException) -> bool:
    """Whether it is the database's word that a table is not there: no migration has made it yet."""
    return isinstance(error.__cause__ if isinstance(error, Unavailable) else error, asyncpg.UndefinedTableError)


@contextmanager
def database_errors(database: str) -> Iterator[None]:
    """Translate what asyncpg raises."""
    try:
        yield
    except (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError) as error:
        if isinstance(error, asyncpg.PostgresError):
            # A violated constraint's detail is the whole row, customer and all: not for logs, traces and answers.
            error.detail = None
        if (translated := _translated(database, error)) is None:
            raise
        raise translated from error


#: With these a pooler shows itself: a parameter that it does not know, and statements or sessions that it mixed up.
_OF_A_POOLER: Final = frozenset(
    {"08P01", "24000", "25001", "25P01", "25P02", "26000", "34000", "3B001", "42P05", "55P02"}
)


def _translated(database: str, error: Exception) -> Exception | None:
    """What to raise instead of ``error``; None: it is a bug."""
    fault = fault_of(error)
    said = str(error) or ("no answer in time" if isinstance(error, TimeoutError) else type(error).__name__)
    match fault.verdict:
        case Verdict.RACE | Verdict.TAKEN:
            return LostRace(database, said)
        case Verdict.BAD_DATA:
            return _refused(error)
        case Verdict.OUTAGE:
            sqlstate = str(getattr(error, "sqlstate", None) or "")
            cause = f"{fault.words} (SQLSTATE {sqlstate})" if sqlstate else fault.words
            if isinstance(error, asyncpg.PostgresError) and sqlstate.startswith("28"):
                return AccessDenied(database, access_denied(error), cause)
            if sqlstate in _OF_A_POOLER:
                said += " (a pooler in transaction mode? Then give the server's own address: ORDERFLOW_…_DIRECT_URL)"
            return (Failing if isinstance(error, asyncpg.PostgresError) else Unavailable)(database, said, cause)
    return Unavailable(database, said) if isinstance(error, OSError) else None


def access_denied(error: asyncpg.PostgresError) -> str:
    """What class 28 says, for people: a password that is wrong is called that."""
    what = "wrong user or password" if isinstance(error, asyncpg.InvalidPasswordError) else "not allowed to connect"
    return f"{what}: {error} (SQLSTATE {error.sqlstate})"


def _refused(error: Exception) -> Rejection:
    return Rejection(Problem(slug="invalid", detail=f"The database refuses this: {error}.", status=422))
