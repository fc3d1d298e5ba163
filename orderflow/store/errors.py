"""Postgres' errors in our words: no answer is ``Unavailable``, bad data is a ``Rejection``, the rest is a bug."""

from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from typing import Final

import asyncpg

from orderflow.domain.errors import AccessDenied, Problem, Rejection, Unavailable

# Nothing is known, try again: 08 (connection), 25006 (a standby, after a failover), 28 (authorization, see below),
# 3D (no such database), 53 (resources), 55000 (a database that takes no connections), 57 (operator intervention),
# 58 (system).
_TRY_AGAIN = ("08", "25006", "28", "3D", "53", "55000", "57", "58")
# Somebody else was faster, nothing happened: a unique violation, or class 40 (serialization failure, deadlock).
_LOST_RACE = ("23505", "40")
_BAD_DATA = ("22", "23")


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
    return isinstance(error, asyncpg.UndefinedTableError)


@contextmanager
def database_errors(database: str) -> Iterator[None]:
    """Translate what asyncpg raises."""
    try:
        yield
    except asyncpg.PostgresError as error:
        # A violated constraint's detail is the whole row, customer and all: not for logs, traces and answers.
        error.detail = None
        sqlstate = str(error.sqlstate or "")
        if sqlstate.startswith(_LOST_RACE):
            raise LostRace(database, str(error)) from error
        if sqlstate.startswith("28"):
            raise AccessDenied(database, access_denied(error)) from error
        if sqlstate.startswith(_TRY_AGAIN):
            raise Unavailable(database, str(error)) from error
        if sqlstate.startswith(_BAD_DATA):
            raise _refused(error) from error
        raise
    except (OSError, TimeoutError, asyncpg.InterfaceError, asyncpg.InternalClientError) as error:
        if isinstance(error, ValueError):  # asyncpg's own check of an argument, such as a number out of range
            raise _refused(error) from error
        # Otherwise a connection that was lost under a query.
        raise Unavailable(database, str(error) or type(error).__name__) from error


def access_denied(error: asyncpg.PostgresError) -> str:
    """What class 28 says, for people: a password that is wrong is called that."""
    what = "wrong user or password" if isinstance(error, asyncpg.InvalidPasswordError) else "not allowed to connect"
    return f"{what}: {error} (SQLSTATE {error.sqlstate})"


def _refused(error: Exception) -> Rejection:
    return Rejection(Problem(slug="invalid", detail=f"The database refuses this: {error}.", status=422))
