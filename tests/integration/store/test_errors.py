"""What Postgres and its driver raise, in our words."""

import pytest

from orderflow.domain.errors import Rejection, Unavailable
from orderflow.store.database import Database
from orderflow.store.errors import LostRace
from orderflow.store.statements import Statement


async def _run(database: Database, sql: str, **values: object) -> None:
    await database.all(Statement("test.failing", "Fails.", sql), values)


@pytest.mark.parametrize(
    ("sql", "values"),
    [
        ("SELECT 1 / $divisor::int", {"divisor": 0}),
        ("SELECT $number::int", {"number": 2**40}),
        ("SELECT $text::jsonb", {"text": "a\\u0000b\x00"}),
        ("INSERT INTO relay_lease (name, holder, expires_at) VALUES ('x', NULL, now())", {}),
    ],
    ids=["division_by_zero", "number_out_of_range", "nul", "constraint"],
)
async def test_bad_data_is_a_rejection(orders_db: Database, sql: str, values: dict[str, object]) -> None:
    with pytest.raises(Rejection) as refused:
        await _run(orders_db, sql, **values)
    assert refused.value.problem.status == 422


async def test_who_comes_second_lost_a_race(orders_db: Database) -> None:
    lease = "INSERT INTO relay_lease (name, holder, expires_at) VALUES ('x', 'y', now())"
    await _run(orders_db, lease)
    with pytest.raises(LostRace):
        await _run(orders_db, lease)


@pytest.mark.parametrize(
    "sqlstate", ["08006", "25006", "28P01", "3D000", "53300", "55000", "57P01", "58030", "40001", "40P01"]
)
async def test_no_answer_is_unavailable(orders_db: Database, sqlstate: str) -> None:
    with pytest.raises(Unavailable):
        await _run(orders_db, f"DO $$ BEGIN RAISE EXCEPTION 'away' USING ERRCODE = '{sqlstate}'; END $$")


async def test_a_connection_that_is_ended_is_unavailable_and_then_made_again(orders_db: Database) -> None:
    with pytest.raises(Unavailable):
        await _run(orders_db, "SELECT pg_terminate_backend(pg_backend_pid())")
    await _run(orders_db, "SELECT 1")


async def test_an_unknown_server_is_unavailable() -> None:
    async with Database("orders", "postgresql://orders@127.0.0.1:9/orders") as database:
        with pytest.raises(Unavailable):
            await _run(database, "SELECT 1")


async def test_a_bug_stays_a_bug(orders_db: Database) -> None:
    with pytest.raises(Exception, match="no_such_table") as raised:
        await _run(orders_db, "SELECT * FROM no_such_table")
    assert not isinstance(raised.value, Rejection | Unavailable)
