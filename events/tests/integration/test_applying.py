"""What becomes of a batch: effects once and in order, a failing event bounded, its order held, an outage waited for.

Without Kafka: what a member reads is made by hand, and the database is the real one.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
import pytest_asyncio

from orderflow_events import applying, failures
from orderflow_events.applying import each
from orderflow_events.dead_letters import MOST_HEADERS, DeadLetter
from orderflow_events.envelope import Envelope, EnvelopeError
from orderflow_events.failures import Interruption, Retries
from orderflow_events.inbox import Connection, claim, prune
from orderflow_events.redrive import discard
from orderflow_events.states import OK, ConsumerState, StateKind
from support.appliers import Billing
from support.read_only import read_only
from support.stack import PostgresServer
from support.waiting import until


@pytest_asyncio.fixture(scope="module")
async def pool(postgres: PostgresServer) -> AsyncIterator["asyncpg.Pool[Any]"]:
    """One database with the kit's tables for all tests here: each has a group of its own."""
    databases = await postgres.fresh_databases()
    async with asyncpg.create_pool(databases.as_admin("orders"), min_size=1, max_size=6) as pool:
        await pool.execute("CREATE TABLE effects (n bigserial, order_id uuid, version int)")
        yield pool
    await postgres.drop(databases)


@pytest.fixture
def billing(pool: "asyncpg.Pool[Any]") -> Billing:
    """A consumer group that has seen nothing yet."""
    return Billing(pool)


def versions(letters: Sequence[DeadLetter]) -> list[tuple[str | None, int, str]]:
    return [(letter.subject, letter.decode().version, letter.kind) for letter in letters]


async def test_a_failing_event_is_tried_as_often_as_the_setting_says_and_set_aside(billing: Billing) -> None:
    order, other = uuid4(), uuid4()
    billing.poison = {(order, 2)}
    records = [billing.event(order, 1), billing.event(order, 2), billing.event(other, 1)]
    letters = await billing.apply(*records)
    assert letters is not None
    [letter] = letters
    assert billing.tried[(order, 2)] == 1 + 3  # once with the batch, then on its own
    assert (letter.subject, letter.kind, letter.attempts) == (str(order), "failed", 3)
    assert letter.reason == "ZeroDivisionError: a bug in the effect"
    assert letter.first_failed_at is not None
    assert letter.last_failed_at is not None
    assert letter.first_failed_at < letter.last_failed_at <= letter.dead_lettered_at
    assert (letter.offset, letter.key, letter.value) == (records[1].offset, records[1].key, records[1].value)
    assert letter.headers == tuple(records[1].headers)
    assert await billing.effects(order) == [1]
    assert await billing.effects(other) == [1]
    assert billing.told == [letter]
    assert billing.states[-1] == OK


async def test_an_event_that_succeeds_within_its_attempts_is_no_dead_letter(billing: Billing) -> None:
    order = uuid4()
    billing.poison = {(order, 1)}

    def healed(state: ConsumerState) -> None:
        if billing.tried[(order, 1)] >= 3:
            billing.poison.clear()

    assert await billing.apply(billing.event(order, 1), billing.event(order, 2), on_state=healed) == []
    assert await billing.effects(order) == [1, 2]


async def test_later_events_of_a_held_order_follow_and_the_redrive_applies_all_in_order(billing: Billing) -> None:
    order, other = uuid4(), uuid4()
    billing.poison = {(order, 2)}
    await billing.apply(billing.event(order, 1), billing.event(order, 2), billing.event(order, 3))
    billing.poison.clear()  # the bug is fixed: nothing may overtake all the same
    await billing.apply(billing.event(order, 4), billing.event(other, 1), billing.event(order, 5))
    assert await billing.effects(order) == [1]
    assert await billing.effects(other) == [1]
    name = str(order)
    assert versions(await billing.letters()) == [
        (name, 2, "failed"),
        (name, 3, "follows"),
        (name, 4, "follows"),
        (name, 5, "follows"),
    ]
    result = await billing.redrive()
    assert (result.applied, result.skipped, result.failed) == (4, 0, [])
    assert await billing.effects(order) == [1, 2, 3, 4, 5]
    assert await billing.letters() == []
    await billing.apply(billing.event(order, 6))
    assert await billing.effects(order) == [1, 2, 3, 4, 5, 6]


async def test_duplicates_are_neither_applied_nor_set_aside_twice(billing: Billing) -> None:
    order = uuid4()
    billing.poison = {(order, 2)}
    records = [billing.event(order, 1), billing.event(order, 2), billing.event(order, 3)]
    first = await billing.apply(*records)
    assert await billing.apply(*records) == first  # as after a crash before the offset commit
    assert await billing.apply(billing.event(order, 1)) == []  # a resend of what is applied
    assert len(await billing.letters()) == 2
    billing.poison.clear()
    await billing.apply(billing.event(order, 2))  # a resend of what is set aside
    result = await billing.redrive()
    assert (result.applied, result.skipped) == (2, 1)
    assert await billing.effects(order) == [1, 2, 3]
    assert await billing.apply(*records) == []
    assert await billing.effects(order) == [1, 2, 3]


async def test_what_another_member_applied_meanwhile_is_skipped_by_the_redrive(billing: Billing) -> None:
    order = uuid4()
    billing.poison = {(order, 1)}
    await billing.apply(billing.event(order, 1))
    async with billing.pool.acquire() as connection, connection.transaction():
        [letter] = await billing.letters()
        await claim(connection, billing.group, [letter.decode()])
    assert (await billing.redrive()).skipped == 1
    assert await billing.effects(order) == []
    assert await billing.letters() == []


@pytest.mark.parametrize(
    "error",
    [
        ConnectionRefusedError(111, "refused"),
        TimeoutError(),
        asyncpg.DeadlockDetectedError("deadlock detected"),
        asyncpg.TooManyConnectionsError("too many"),
        asyncpg.DiskFullError("full"),
        asyncpg.CannotConnectNowError("starting up"),
        asyncpg.ReadOnlySQLTransactionError("read-only"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_an_error_of_the_database_is_tried_without_bound_and_never_counts(
    billing: Billing, error: Exception
) -> None:
    order = uuid4()
    billing.poison, billing.error = {(order, 1)}, error
    applying = asyncio.create_task(billing.apply(billing.event(order, 1), billing.event(order, 2)))

    async def tried_more_often_than_a_poison_event() -> bool:
        return billing.tried[(order, 1)] > 3 + 1

    await until(tried_more_often_than_a_poison_event, seconds=30)
    assert billing.states[-1].kind is StateKind.FAILING
    assert billing.states[-1].detail.startswith("cannot apply: ")
    billing.poison.clear()
    assert await applying == []
    assert await billing.effects(order) == [1, 2]


async def test_a_connection_that_is_killed_during_the_effect_never_counts(billing: Billing) -> None:
    order = uuid4()
    killed = 0

    async def dies(connection: Connection, envelopes: Sequence[Envelope]) -> None:
        nonlocal killed
        if killed < 6:
            killed += 1
            own = await connection.fetchval("SELECT pg_backend_pid()")
            await billing.pool.execute("SELECT pg_terminate_backend($1)", own)
            try:
                await connection.execute("SELECT 1")
            except Exception as error:
                raise RuntimeError("an effect may wrap errors as it likes") from error
        await each(billing.bill)(connection, envelopes)

    assert await billing.apply(billing.event(order, 1), effect=dies) == []
    assert killed == 6
    assert await billing.effects(order) == [1]


async def test_a_database_that_cannot_be_reached_never_counts(billing: Billing) -> None:
    attempts = 0

    def connect() -> Any:
        nonlocal attempts
        attempts += 1
        if attempts <= 5:
            raise ZeroDivisionError("whatever a pool may raise")
        return billing.pool.acquire()

    assert await billing.apply(billing.event(uuid4(), 1), connect=connect) == []
    assert attempts == 6


async def fails_at_the_commit(connection: Connection, envelopes: Sequence[Envelope]) -> None:
    await connection.execute("CREATE TEMP TABLE once (n int UNIQUE DEFERRABLE INITIALLY DEFERRED) ON COMMIT DROP")
    await connection.execute("INSERT INTO once VALUES (1), (1)")


async def test_an_effect_that_the_commit_refuses_counts(billing: Billing) -> None:
    letters = await billing.apply(billing.event(uuid4(), 1), effect=fails_at_the_commit)
    assert letters is not None
    assert "UniqueViolationError" in letters[0].reason


async def test_an_event_that_the_inbox_cannot_hold_is_set_aside(billing: Billing) -> None:
    order, other = uuid4(), uuid4()
    letters = await billing.apply(billing.event(order, 2**70), billing.event(other, 1))
    assert letters is not None
    assert [(letter.subject, letter.key) for letter in letters] == [(None, str(order).encode())]
    assert await billing.effects(other) == [1]


async def stopped(billing: Billing) -> None:
    async def says_so() -> bool:
        return billing.states[-1:] != [] and billing.states[-1].kind is StateKind.STOPPED

    await until(says_so, seconds=30)


BROKEN = Retries(attempts=2, first_pause_seconds=0.01, longest_pause_seconds=0.05, limit=3)


async def test_at_the_limit_it_stops_says_why_and_goes_on_when_the_event_succeeds(billing: Billing) -> None:
    orders = [uuid4() for _ in range(8)]
    billing.poison = {(order, 1) for order in orders}
    applying = asyncio.create_task(billing.apply(*(billing.event(order, 1) for order in orders), retries=BROKEN))
    await stopped(billing)
    assert "3 dead letters" in billing.states[-1].detail
    assert "ZeroDivisionError: a bug in the effect" in billing.states[-1].detail
    assert str(orders[3]) in billing.states[-1].detail
    assert [letter.subject for letter in await billing.letters()] == [str(order) for order in orders[:3]]
    billing.poison.clear()
    letters = await applying
    assert letters is not None
    assert len(letters) == 3
    assert [await billing.effects(order) for order in orders] == [[], [], [], [1], [1], [1], [1], [1]]


async def test_a_stopped_consumer_does_not_go_on_because_time_passes(billing: Billing) -> None:
    orders = [uuid4() for _ in range(4)]
    billing.poison = {(order, 1) for order in orders}
    applying = asyncio.create_task(billing.apply(*(billing.event(order, 1) for order in orders), retries=BROKEN))
    await stopped(billing)
    # Its dead letters leave a window that moves with the time in one second.
    await billing.pool.execute(
        "UPDATE dead_letters SET dead_lettered_at = clock_timestamp() - $2::interval WHERE consumer_group = $1",
        *(billing.group, BROKEN.window - timedelta(seconds=1)),
    )
    tried = billing.tried[(orders[3], 1)]

    async def tried_for_longer_than_that() -> bool:
        return billing.tried[(orders[3], 1)] > tried + 40

    await until(tried_for_longer_than_that, seconds=40)
    assert len(await billing.letters()) == 3
    billing.stopping.set()
    assert await applying is None


@pytest.mark.parametrize("ahead", [timedelta(hours=1), timedelta(hours=-1)])
async def test_the_limit_counts_by_the_databases_clock_alone(
    billing: Billing, monkeypatch: pytest.MonkeyPatch, ahead: timedelta
) -> None:
    class OtherClock(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return datetime.now(tz) + ahead

    for module in (applying, failures):
        monkeypatch.setattr(module, "datetime", OtherClock)
    orders = [uuid4() for _ in range(5)]
    billing.poison = {(order, 1) for order in orders}
    old = billing.event(orders[0], 1)
    await billing.apply(old, retries=BROKEN)
    await billing.pool.execute(
        "UPDATE dead_letters SET dead_lettered_at = clock_timestamp() - $2::interval WHERE consumer_group = $1",
        *(billing.group, BROKEN.window + timedelta(minutes=1)),
    )
    going = asyncio.create_task(billing.apply(*(billing.event(order, 1) for order in orders[1:]), retries=BROKEN))
    await stopped(billing)
    assert len(await billing.letters()) == 4, "the one from before the window does not count, three in it do"
    billing.stopping.set()
    assert await going is None


async def test_the_limit_is_the_groups_and_outlives_a_restart(billing: Billing) -> None:
    orders = [uuid4() for _ in range(4)]
    billing.poison = {(order, 1) for order in orders}
    records = [billing.event(order, 1) for order in orders]
    await billing.apply(*records[:3], retries=BROKEN)
    again = asyncio.create_task(billing.apply(*records, retries=BROKEN))
    await stopped(billing)
    billing.stopping.set()
    assert await again is None
    assert len(await billing.letters()) == 3


async def test_followers_do_not_count_and_a_redrive_makes_room(billing: Billing) -> None:
    orders = [uuid4() for _ in range(4)]
    billing.poison = {(order, 1) for order in orders}
    await billing.apply(*(billing.event(orders[0], version) for version in range(1, 9)), retries=BROKEN)
    await billing.apply(billing.event(orders[1], 1), billing.event(orders[2], 1), retries=BROKEN)
    applying = asyncio.create_task(billing.apply(billing.event(orders[3], 1), retries=BROKEN))
    await stopped(billing)
    billing.poison = {(orders[3], 1)}
    await billing.redrive(order_id=str(orders[1]))
    letters = await applying
    assert letters is not None
    assert [letter.subject for letter in letters] == [str(orders[3])]


async def test_no_dead_letters_at_all_is_a_limit_of_zero(billing: Billing) -> None:
    order = uuid4()
    billing.poison = {(order, 1)}
    applying = asyncio.create_task(billing.apply(billing.event(order, 1), retries=Retries(1, 0.01, 0.05, limit=0)))
    await stopped(billing)
    assert await billing.letters() == []
    billing.poison.clear()
    assert await applying == []


async def test_what_is_no_event_is_set_aside_at_once_and_holds_nobody_whatever_its_key(billing: Billing) -> None:
    order, other = uuid4(), uuid4()
    letters = await billing.apply(
        billing.record(b"x", b"not an event"),
        billing.event(order, 1),
        billing.record(str(order).encode(), None, [("ce_specversion", b"1.0")]),
        billing.event(order, 2),
        billing.event(other, 1),
    )
    assert letters is not None
    assert [(letter.subject, letter.kind, letter.attempts) for letter in letters] == [(None, "undecodable", 1)] * 2
    assert billing.told == letters
    assert await billing.effects(order) == [1, 2]
    assert await billing.effects(other) == [1]
    result = await billing.redrive()
    assert (result.applied, len(result.failed)) == (0, 2)
    assert [letter.attempts for letter in await billing.letters()] == [2, 2]
    await discard(billing.pool.acquire, billing.group, letters[1].id)
    assert [letter.key for letter in await billing.letters()] == [b"x"]


async def test_what_the_consumer_does_not_accept_is_no_event(billing: Billing) -> None:
    order, other = uuid4(), uuid4()

    def accept(envelope: Envelope) -> None:
        if envelope.version > 5:
            raise EnvelopeError("no order has so many versions")

    letters = await billing.apply(
        billing.event(order, 1), billing.event(order, 1_000_000), billing.event(order, 2), accept=accept
    )
    assert letters is not None
    assert [(one.subject, one.kind, one.reason) for one in letters] == [
        (None, "undecodable", "EnvelopeError: no order has so many versions")
    ]
    assert (await billing.effects(order), billing.gaps) == ([1, 2], [])
    assert await billing.apply(billing.event(other, 1), accept=accept) == []


async def test_many_records_that_are_no_events_beside_one_whose_effect_fails(billing: Billing) -> None:
    order, poisoned = uuid4(), uuid4()
    billing.poison = {(poisoned, 1)}
    junk = [billing.record(str(order).encode(), b"junk") for _ in range(300)]
    letters = await billing.apply(*junk[:150], billing.event(poisoned, 1), *junk[150:], billing.event(order, 1))
    assert letters is not None
    assert sorted(letter.kind for letter in letters) == ["failed"] + ["undecodable"] * 300
    assert [await billing.effects(one) for one in (order, poisoned)] == [[1], []]
    assert billing.tried[order, 1] <= 2, "what is no event is set aside together, not between the events"


async def test_a_subjectless_record_that_comes_again_at_the_limit_is_no_further_one(billing: Billing) -> None:
    record = billing.record(None, b"garbage")
    once = Retries(limit=1)
    assert await billing.apply(record, retries=once) == await billing.apply(record, retries=once)


async def test_strict_gaps_stop_at_the_gap_and_default_reports_it(billing: Billing) -> None:
    order, other = uuid4(), uuid4()
    records = [billing.event(order, 1), billing.event(order, 3), billing.event(other, 1)]
    strict = asyncio.create_task(billing.apply(*records, strict_gaps=True))
    await stopped(billing)
    said = f"stopped at a gap: orders/{order}/3 came, and of its order only up to 1"
    assert ConsumerState(StateKind.STOPPED, said) in billing.states
    assert await billing.effects(order) == [1]
    assert await billing.effects(other) == []
    billing.stopping.set()
    assert await strict is None
    billing.stopping.clear()
    assert await billing.apply(*records) == []
    assert await billing.effects(order) == [1, 3]
    assert [gap.last_seen for gap in billing.gaps] == [1]
    assert await billing.letters() == []


async def test_a_redrive_of_what_fails_again_keeps_its_order_and_frees_the_others(billing: Billing) -> None:
    bad, good = uuid4(), uuid4()
    billing.poison = {(bad, 1), (good, 1)}
    await billing.apply(*(billing.event(order, version) for version in (1, 2) for order in (bad, good)))
    billing.poison, billing.error = {(bad, 1)}, ValueError("another\x00 bug")
    result = await billing.redrive()
    assert result.applied == 2
    [(failed, reason)] = result.failed
    assert (failed.subject, reason) == (str(bad), "ValueError: another\\x00 bug")
    assert await billing.effects(good) == [1, 2]
    assert await billing.effects(bad) == []
    assert [(letter.attempts, letter.kind) for letter in await billing.letters()] == [(4, "failed"), (0, "follows")]


async def test_an_interrupted_redrive_is_repeated_and_each_effect_happens_once(billing: Billing) -> None:
    order = uuid4()
    billing.poison = {(order, 1)}
    await billing.apply(*(billing.event(order, version) for version in range(1, 6)))
    billing.poison.clear()
    reached = asyncio.Event()

    async def hangs_at_three(connection: Connection, envelopes: Sequence[Envelope]) -> None:
        await each(billing.bill)(connection, envelopes)
        if envelopes[0].version == 3:
            reached.set()
            await asyncio.Event().wait()

    interrupted = asyncio.create_task(billing.redrive(effect=hangs_at_three))
    await asyncio.wait_for(reached.wait(), 30)
    interrupted.cancel()
    await asyncio.wait([interrupted])
    assert await billing.effects(order) == [1, 2]
    assert [letter.decode().version for letter in await billing.letters()] == [3, 4, 5]
    await billing.apply(billing.event(order, 6))
    assert await billing.effects(order) == [1, 2]
    assert (await billing.redrive()).applied == 4
    assert await billing.effects(order) == [1, 2, 3, 4, 5, 6]


async def test_a_redrive_without_a_database_raises_and_changes_nothing(billing: Billing) -> None:
    order = uuid4()
    billing.poison = {(order, 1)}
    await billing.apply(billing.event(order, 1))
    billing.error = ConnectionResetError("gone")
    with pytest.raises(Interruption):
        await billing.redrive()
    assert [letter.attempts for letter in await billing.letters()] == [3]


async def test_redrives_beside_a_running_consumer_keep_every_order(billing: Billing) -> None:
    orders = [uuid4() for _ in range(6)]
    billing.poison = {(order, 2) for order in orders}
    finished = asyncio.Event()

    async def redriving() -> None:
        while not finished.is_set() or await billing.letters():
            await billing.redrive()

    async def consume() -> None:
        for version in range(1, 16):
            await billing.apply(*(billing.event(order, version) for order in orders))
            if version == 4:
                billing.poison.clear()
        finished.set()

    await asyncio.wait_for(asyncio.gather(consume(), redriving(), redriving()), 60)
    for order in orders:
        assert await billing.effects(order) == list(range(1, 16))


async def test_an_event_that_comes_while_the_last_letter_is_redriven_waits_for_it(billing: Billing) -> None:
    order = uuid4()
    billing.poison = {(order, 1)}
    await billing.apply(billing.event(order, 1))
    billing.poison.clear()
    inside, go_on = asyncio.Event(), asyncio.Event()

    async def slow(connection: Connection, envelopes: Sequence[Envelope]) -> None:
        inside.set()
        await go_on.wait()
        await each(billing.bill)(connection, envelopes)

    redriving = asyncio.create_task(billing.redrive(effect=slow))
    await asyncio.wait_for(inside.wait(), 30)
    applying = asyncio.create_task(billing.apply(billing.event(order, 2)))

    async def waits_for_the_row() -> bool:
        return bool(await billing.pool.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"))

    try:
        await until(waits_for_the_row, seconds=30)
    finally:
        go_on.set()
        await redriving
    assert await applying == []
    assert await billing.effects(order) == [1, 2]


async def test_old_entries_are_pruned_the_oldest_first_and_only_the_groups(billing: Billing) -> None:
    order = uuid4()
    await billing.apply(*(billing.event(order, version) for version in range(1, 8)))
    another = Billing(billing.pool)
    await another.apply(another.event(order, 1))
    await billing.pool.execute(
        "UPDATE processed_messages SET processed_at = processed_at - interval '16 days' "
        "WHERE subject = $1 AND sequence <= 5",
        str(order),
    )
    async with billing.pool.acquire() as connection:
        for expected in (3, 2, 0):
            assert await prune(connection, billing.group, timedelta(days=15), at_most=3) == expected
    left = await billing.pool.fetch(
        "SELECT consumer_group, sequence FROM processed_messages WHERE subject = $1 ORDER BY sequence", str(order)
    )
    assert [tuple(row) for row in left] == [(another.group, 1), (billing.group, 6), (billing.group, 7)]


async def test_a_read_only_connection_is_waited_for_and_never_used_twice(postgres: PostgresServer) -> None:
    """As a failover leaves it in a pool: nothing is set aside, and the next connection is a new one."""
    databases = await postgres.fresh_databases()
    order = uuid4()
    async with asyncpg.create_pool(databases.as_admin("orders"), min_size=1, max_size=1) as pool:
        await pool.execute("CREATE TABLE effects (n bigserial, order_id uuid, version int)")
        billing = Billing(pool)

        async def met_it() -> bool:
            """Not only one that was ended."""
            return any(state.kind is StateKind.FAILING and "read-only" in state.detail for state in billing.states)

        async with read_only(databases.as_admin("orders")):
            applying = asyncio.create_task(billing.apply(billing.event(order, 1), billing.event(order, 2)))
            await until(met_it)
        assert await applying == []
        assert await billing.effects(order) == [1, 2]
    await postgres.drop(databases)


async def test_large_records_that_are_no_events_are_set_aside_in_parts(billing: Billing) -> None:
    value = bytes(1_500_000)
    inserts: list[int] = []

    class Counting:
        """A connection that notes how many rows are entered at once."""

        def __init__(self, connection: Any) -> None:
            self._connection = connection

        def __getattr__(self, name: str) -> Any:
            return getattr(self._connection, name)

        async def fetchmany(self, query: str, rows: Sequence[Any]) -> Any:
            inserts.append(len(rows))
            return await self._connection.fetchmany(query, rows)

    @asynccontextmanager
    async def connect() -> AsyncIterator[Any]:
        async with billing.pool.acquire() as connection:
            yield Counting(connection)

    letters = await billing.apply(*(billing.record(b"k", value) for _ in range(6)), connect=connect)
    assert letters is not None
    assert [(letter.offset, len(letter.value or b"")) for letter in letters] == [(n, 1_500_000) for n in range(6)]
    assert inserts == [2, 2, 2], "more than 4 MiB may take longer than a command may"


async def test_a_large_record_that_takes_too_long_is_shortened_and_holds_up_nobody(
    billing: Billing, postgres: PostgresServer
) -> None:
    order = uuid4()
    databases = await postgres.fresh_databases()
    async with asyncpg.create_pool(databases.as_admin("orders"), min_size=1, command_timeout=0.5) as pool:
        await pool.execute("CREATE TABLE effects (n bigserial, order_id uuid, version int)")
        await pool.execute("""
            CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN PERFORM pg_sleep(CASE WHEN octet_length(NEW.record_value) > 5000000 THEN 60 ELSE 0 END); RETURN NEW;
            END $$
        """)
        await pool.execute("CREATE TRIGGER slow BEFORE INSERT ON dead_letters FOR EACH ROW EXECUTE FUNCTION slow()")
        slow = Billing(pool)
        letters = await slow.apply(
            slow.record(b"k", b"hello"), slow.record(b"k", bytes(6_000_000)), slow.event(order, 1)
        )
        assert letters is not None
        assert [(letter.value, "could not be kept" in letter.reason) for letter in letters] == [
            (b"hello", False),
            (None, True),
        ]
        assert await slow.effects(order) == [1]
        assert slow.states == [OK], "nothing was tried again"
    await postgres.drop(databases)


async def test_of_a_record_of_many_headers_the_first_are_kept_and_it_is_no_event(billing: Billing) -> None:
    event = billing.event(uuid4(), 1)
    many = [*event.headers, *(("x", b"") for _ in range(MOST_HEADERS))]
    letters = await billing.apply(billing.record(event.key, event.value, many))
    assert letters is not None
    [letter] = letters
    assert (letter.kind, letter.subject, len(letter.headers)) == ("undecodable", None, MOST_HEADERS)
    assert letter.reason == (
        f"EnvelopeError: it has {len(many)} headers, more than {MOST_HEADERS} "
        f"(the first {MOST_HEADERS} of its {len(many)} headers are kept)"
    )


async def test_an_effect_that_goes_on_after_an_error_of_its_own_is_at_fault_and_not_a_pooler(billing: Billing) -> None:
    order, other = uuid4(), uuid4()

    async def swallows(connection: Connection, envelope: Envelope) -> None:
        if envelope.order_id == order:
            with suppress(asyncpg.DivisionByZeroError):
                await connection.execute("SELECT 1 / 0")
        await billing.bill(connection, envelope)

    letters = await billing.apply(billing.event(order, 1), billing.event(other, 1), effect=each(swallows))
    assert letters is not None
    [letter] = letters
    assert (letter.subject, letter.kind, letter.attempts) == (str(order), "failed", 3)
    assert await billing.effects(other) == [1]
