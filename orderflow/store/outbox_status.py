"""What an operator wants to know of an outbox: how much waits, who publishes it, and what stands still."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from orderflow.store import outbox, truncation
from orderflow.store.database import Database
from orderflow.store.outbox import Depth
from orderflow.store.statements import Statement
from orderflow.store.truncation import Stop

#: A relay publishes within a second, and its longest pause after a failure is 5 s.
UNPUBLISHED: Final = timedelta(seconds=20)


@dataclass(frozen=True, slots=True)
class Leader:
    """The relay that publishes; ``seconds_left`` until another may take over, unless it renews."""

    holder: str
    seconds_left: float


@dataclass(frozen=True, slots=True)
class Parked:
    """An order that waits for a person, because Kafka refuses the record of ``version``."""

    order_id: UUID
    version: int
    error: str
    parked_at: datetime
    #: Its pending events, the refused one included.
    entries: int


@dataclass(frozen=True, slots=True)
class Status:
    """One service's outbox. ``leader``: None when nobody publishes; ``parked``: the oldest first.

    ``unpublished_for``: how long the oldest event waits that nothing but the relay keeps back; zero: there is none.
    """

    depth: Depth
    unpublished_for: timedelta
    leader: Leader | None
    parked: list[Parked]
    stopped: list[Stop]

    @property
    def publishes(self) -> bool:
        """Whether somebody leads, and all goes out that can."""
        return self.leader is not None and self.unpublished_for <= UNPUBLISHED

    @property
    def refuses_many(self) -> bool:
        """So many orders were parked at once that the topic or a clock is at fault, and nothing more is parked."""
        times = [parked.parked_at for parked in self.parked]
        within = timedelta(seconds=outbox.AT_ONCE_SECONDS)
        return any(
            last - first <= within for first, last in zip(times, times[outbox.PARKED_AT_ONCE - 1 :], strict=False)
        )


_LEADER = Statement(
    "outbox_status.leader",
    "Reads who holds the relay's lease, and for how long.",
    """
SELECT holder, extract(epoch FROM expires_at - clock_timestamp())::float AS seconds_left
FROM relay_lease WHERE name = 'relay' AND expires_at > clock_timestamp()""",
)

_PARKED = Statement(
    "outbox_status.parked",
    "Reads the parked orders with the number of their entries, the oldest first.",
    """
SELECT p.order_id, p.version, p.error, p.parked_at,
       (SELECT count(*) FROM outbox o WHERE o.order_id = p.order_id) AS entries
FROM parked_orders p ORDER BY p.parked_at""",
)


_UNPUBLISHED_FOR = Statement(
    "outbox_status.unpublished_for",
    "Says how long the oldest entry waits of an order that is not parked and whose partition does not stand still.",
    """
SELECT coalesce((
    SELECT greatest(clock_timestamp() - e.recorded_at, interval '0')
    FROM (SELECT order_id, version FROM outbox
          WHERE NOT EXISTS (SELECT FROM parked_orders p WHERE p.order_id = outbox.order_id)
            AND NOT EXISTS (SELECT FROM waiting_orders w WHERE w.order_id = outbox.order_id)
          ORDER BY position LIMIT 1) o
    JOIN events e USING (order_id, version)
), interval '0') AS unpublished_for""",
)

_RELAYS = Statement(
    "outbox_status.relays",
    "Counts the connections of relays, whether one of them leads or not.",
    """
SELECT count(*) AS connections FROM pg_stat_activity
WHERE datname = current_database() AND application_name = $name::text""",
)


def relay_name(service: str) -> str:
    """What Postgres calls the connections of the relay of ``service`` (their application_name)."""
    return f"relay-{service}"


async def relay_connections(database: Database, service: str) -> int:
    """How many connections the relays of ``service`` have to its database: a frozen one keeps its own."""
    row = await database.one(_RELAYS, {"name": relay_name(service)})
    return row["connections"] if row else 0


async def unpublished_for(database: Database) -> timedelta:
    """How long the oldest event waits that the relay could publish; zero: there is none."""
    row = await database.one(_UNPUBLISHED_FOR, {})
    waited: timedelta = row["unpublished_for"] if row else timedelta()
    return waited


async def leader(database: Database) -> Leader | None:
    """Who holds the relay's lease, if anybody does."""
    row = await database.one(_LEADER, {})
    return Leader(**row) if row else None


async def parked(database: Database) -> list[Parked]:
    """The orders that Kafka refuses, the oldest first."""
    return [Parked(**row) for row in await database.all(_PARKED, {})]


async def status(database: Database) -> Status:
    """All of it, read one after the other."""
    return Status(
        await outbox.depth(database),
        await unpublished_for(database),
        await leader(database),
        await parked(database),
        await truncation.stops(database),
    )
