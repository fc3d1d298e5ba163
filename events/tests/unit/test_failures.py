"""An error of the database is never the event's, and a reason can be written down whatever is in it."""

from datetime import timedelta

import asyncpg
import pytest

from orderflow_events.failures import Failure, Retries, is_transient, sentence


@pytest.mark.parametrize(
    "error",
    [
        ConnectionResetError(),
        TimeoutError(),
        asyncpg.ConnectionDoesNotExistError(),
        asyncpg.SerializationError(),
        asyncpg.AdminShutdownError(),
        asyncpg.QueryCanceledError(),
        asyncpg.PostgresIOError(),
        asyncpg.LockNotAvailableError(),
        asyncpg.ReadOnlySQLTransactionError(),
        asyncpg.IdleInTransactionSessionTimeoutError(),
        asyncpg.InsufficientPrivilegeError(),
        asyncpg.UndefinedTableError(),
        asyncpg.InvalidColumnReferenceError(),
        asyncpg.InvalidCachedStatementError(),
        asyncpg.InFailedSQLTransactionError(),
        asyncpg.SnapshotTooOldError(),
        asyncpg.InvalidSQLStatementNameError(),
        asyncpg.DataCorruptedError(),
        asyncpg.InterfaceError("connection is closed"),
        asyncpg.InternalClientError(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_a_database_raises_when_it_is_away_is_transient_also_as_a_cause(error: Exception) -> None:
    assert is_transient(error)
    wrapped = RuntimeError("the bill could not be written")
    wrapped.__cause__ = error
    assert is_transient(wrapped)


@pytest.mark.parametrize(
    "error",
    [
        ValueError("x"),
        asyncpg.UniqueViolationError(),
        asyncpg.NumericValueOutOfRangeError(),
        asyncpg.PostgresSyntaxError(),
        FileNotFoundError(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_an_effect_does_wrong_is_not(error: Exception) -> None:
    assert not is_transient(error)


def test_a_reason_can_be_written_down_whatever_is_in_it() -> None:
    assert sentence(ValueError("a\x00b\ud800")) == "ValueError: a\\x00b\\ud800"
    assert sentence(TimeoutError()) == "TimeoutError"
    assert len(sentence(ValueError("x" * 5_000))) == 1_000
    assert len(sentence(ValueError("\x9b" * 5_000))) == 1_000


def test_a_reason_is_one_line_that_no_terminal_obeys() -> None:
    assert sentence(ValueError("\x1b]0;x\x07\r\n ERROR forged\u2028\u202e")) == (
        "ValueError: \\x1b]0;x\\x07 ERROR forged \\u202e"
    )
    assert sentence(ValueError("index row\nDETAIL:  which")) == "ValueError: index row DETAIL:  which"


def test_a_failure_keeps_its_first_time_and_its_last_reason() -> None:
    failure = Failure()
    failure.add(ValueError("one"))
    first = failure.first_at
    failure.add(ValueError("two"))
    assert (failure.attempts, failure.reason, failure.first_at) == (2, "ValueError: two", first)
    assert first is not None
    assert failure.last_at is not None
    assert failure.last_at - first < timedelta(seconds=5)


@pytest.mark.parametrize("wrong", [{"attempts": 0}, {"limit": -1}])
def test_retries_without_an_attempt_make_no_sense(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="at least"):
        Retries(**wrong)  # type: ignore[arg-type]
