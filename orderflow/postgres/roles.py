"""Who is who in Postgres: a role for each kind of process and database, so that each can do its own work only.

A process logs in with the URL of its role (``ORDERFLOW_<SERVICE>_<ROLE>_DATABASE_URL``). That login belongs to the
group of its kind, such as ``orderflow_relay``; what a group may do in each table stands in ``grants.py``. ``orderflow
setup`` makes both. Where a kind has no URL, its processes use the service's (``ORDERFLOW_<SERVICE>_DATABASE_URL``),
whose login may do all of it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from orderflow.settings import DatabaseRole, Service, Settings

#: What a service's own login belongs to, which may do what all its roles may.
SERVICE_GROUP: Final = "orderflow_service"

#: The roles that each database knows.
ROLES: Final[Mapping[Service, tuple[DatabaseRole, ...]]] = {
    "orders": ("api", "worker", "relay", "tracking", "operator", "reader", "keys", "codec"),
    "payments": ("worker", "relay", "operator", "reader"),
    "inventory": ("api", "worker", "relay", "operator", "reader"),
}

#: What each process opens: the API, and the worker roles by name. A process with several roles opens all of theirs.
OPENED_BY: Final[Mapping[str, tuple[tuple[Service, DatabaseRole], ...]]] = {
    "api": (("orders", "api"), ("inventory", "api")),
    "codec": (("orders", "codec"),),
    "orders": (("orders", "worker"),),
    "payments": (("payments", "worker"),),
    "inventory": (("inventory", "worker"),),
    "relay": (("orders", "relay"), ("payments", "relay"), ("inventory", "relay")),
    "tracking": (("orders", "tracking"),),
    "reconciliation": (("orders", "operator"), ("payments", "operator"), ("inventory", "operator")),
}


@dataclass(frozen=True, slots=True)
class Limits:
    """What one login may take of its server. Times in seconds.

    ``lock_seconds``: None where who waits for a lock is a person, or nobody.
    """

    connections: int
    statement_seconds: int
    lock_seconds: int | None = None
    #: A transaction of ours is a few statements, and no gateway or broker is asked within one.
    idle_in_transaction_seconds: int = 10


def group(role: DatabaseRole) -> str:
    """The group that the logins of ``role`` belong to, in every database."""
    return f"orderflow_{role}"


def limits(role: DatabaseRole, settings: Settings) -> Limits:
    """What a login of ``role`` may take.

    A role whose load grows with the orders gets a whole pool, and one connection to listen with, for each of
    ``database_processes``. The rest is few connections: a relay has 4, a tracking 3, a command of the CLI at most 4.
    """
    pooled = settings.database_processes * (settings.database_pool_size + 1)
    by_role: Mapping[DatabaseRole, Limits] = {
        # Below a statement's 4 s, so that who gives up knows that it was a lock.
        "api": Limits(pooled, statement_seconds=10, lock_seconds=3),
        "worker": Limits(pooled, statement_seconds=10, lock_seconds=3),
        "relay": Limits(8, statement_seconds=60),
        "tracking": Limits(8, statement_seconds=60),
        "operator": Limits(8, statement_seconds=60),
        "reader": Limits(8, statement_seconds=60),
        "keys": Limits(4, statement_seconds=10),
        "codec": Limits(4, statement_seconds=10),
    }
    return by_role[role]
