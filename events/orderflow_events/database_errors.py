"""What an error of Postgres or its driver says: an outage, a race, bad data or a bug. The one list of SQLSTATEs.

https://www.postgresql.org/docs/current/errcodes-appendix.html. OrderFlow's own services judge by it, too.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from asyncpg import exceptions as postgres


class Verdict(StrEnum):
    """Whose fault it is."""

    #: The server's, its set-up's or the network's: it says nothing about the data. Try again.
    OUTAGE = "outage"
    #: Another transaction's: this one was rolled back for its sake. Run it again.
    RACE = "race"
    #: A unique value is there already: somebody was first, or the data repeat it.
    TAKEN = "taken"
    #: The data's: they break a type or a constraint, and will the next time.
    BAD_DATA = "bad_data"
    #: The code's.
    BUG = "bug"


@dataclass(frozen=True, slots=True)
class Fault:
    """A verdict. ``words``: of an outage, what it is; they hold no data, so anybody may read them.

    ``ends_connection``: the connection is of no more use, or shows a server in another role than the one it had: close
    it, and those that were opened with it.
    """

    verdict: Verdict
    words: str = ""
    ends_connection: bool = False


def _outage(words: str, *, ends_connection: bool = False) -> Fault:
    return Fault(Verdict.OUTAGE, words, ends_connection)


_LOST: Final = _outage("the connection was lost", ends_connection=True)
_BUG: Final = Fault(Verdict.BUG)
_NOT_SET_UP: Final = "its schema lacks what this version needs: a migration has not been applied"
_POOLER: Final = "it has lost or mixed up a prepared statement: a pooler in transaction mode is in between"
_MIXED_UP: Final = "it has mixed up sessions or transactions: a pooler in between"

#: By SQLSTATE, or the beginning of one; the longest that fits counts.
FAULTS: Final = {
    "08": _LOST,
    "08P01": _outage("it does not speak as expected: a pooler in between", ends_connection=True),
    "0A": _outage("it does not support what is asked: a pooler in between, or a changed table", ends_connection=True),
    "22": Fault(Verdict.BAD_DATA),
    "23": Fault(Verdict.BAD_DATA),
    "23505": Fault(Verdict.TAKEN),
    "24": _outage(_MIXED_UP, ends_connection=True),
    "25001": _outage(_MIXED_UP, ends_connection=True),
    "25006": _outage("it is read-only: a standby, or a primary that was replaced", ends_connection=True),
    "25P01": _outage(_MIXED_UP, ends_connection=True),
    # Also what follows an error that somebody swallowed: ``applying`` knows that one for the effect's own.
    "25P02": _outage(_MIXED_UP, ends_connection=True),
    "25P03": _outage("it ended a transaction that was idle for too long", ends_connection=True),
    "25P04": _outage("it ended a transaction that took too long", ends_connection=True),
    "26": _outage(_POOLER, ends_connection=True),
    "28": _outage("it refuses the role or its password"),
    "34": _outage(_MIXED_UP, ends_connection=True),
    "3B": _outage(_MIXED_UP, ends_connection=True),
    "3D": _outage("it has no such database"),
    "3F": _outage(_NOT_SET_UP, ends_connection=True),
    "40": Fault(Verdict.RACE),
    "40003": _outage("it does not say whether the statement was completed"),
    "42501": _outage("the role lacks a privilege", ends_connection=True),
    "42703": _outage(_NOT_SET_UP, ends_connection=True),
    "42704": _outage(_NOT_SET_UP, ends_connection=True),
    "42804": _outage(_NOT_SET_UP, ends_connection=True),
    "42809": _outage(_NOT_SET_UP, ends_connection=True),
    "42883": _outage(_NOT_SET_UP, ends_connection=True),
    "42P01": _outage(_NOT_SET_UP, ends_connection=True),
    "42P05": _outage(_POOLER, ends_connection=True),
    "42P10": _outage(_NOT_SET_UP, ends_connection=True),
    "53": _outage("it has run out of connections, memory or disk"),
    "54": Fault(Verdict.BAD_DATA),  # such as a value too large for its index
    "55000": _outage("it takes no such statement now"),
    "55006": _outage("something that it needs is in use"),
    "55P02": _outage(_MIXED_UP, ends_connection=True),
    "55P03": _outage("a lock was not free in time"),
    "57": _outage("it was interrupted"),
    "57014": _outage("it cancelled the statement, which took too long"),
    "57P": _outage("it is shutting down, starting or recovering", ends_connection=True),
    "58": _outage("its system has an error", ends_connection=True),
    "F0": _outage("its configuration has an error"),
    "72": _outage("what the statement was to read is gone: it took too long"),
    "HV": _outage("what it reads from another server failed"),
    "XX": _outage("it has an internal error", ends_connection=True),
}


def fault_of(error: BaseException) -> Fault:
    """Judge one error; its causes are not looked at. What is neither Postgres' nor its driver's is a bug."""
    if isinstance(error, postgres.PostgresError):
        sqlstate = str(getattr(error, "sqlstate", None) or "")
        fitting = (FAULTS[sqlstate[:length]] for length in (5, 3, 2) if sqlstate[:length] in FAULTS)
        return next(fitting, _BUG)
    if isinstance(error, postgres.InterfaceError | postgres.InternalClientError):
        # The driver's own check of an argument, such as a number out of range; else a connection's state.
        is_argument = isinstance(error, ValueError) and not isinstance(error, postgres.ClientConfigurationError)
        return Fault(Verdict.BAD_DATA) if is_argument else _LOST
    if isinstance(error, TimeoutError):
        return _outage("it gave no answer in time")
    return _LOST if isinstance(error, ConnectionError) else _BUG
