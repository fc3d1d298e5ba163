"""``docs/roles.md``: the roles in Postgres, from ``roles.py`` and ``grants.py`` of ``orderflow/postgres``."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from orderflow.postgres.grants import GRANTS
from orderflow.postgres.roles import OPENED_BY, ROLES, limits
from orderflow.settings import SERVICES, Service, Settings
from tools.generate.pages import NOTICE, table

_INTRODUCTION: Final = """# Roles in Postgres

Each kind of process logs in to each database that it works on as a role of its own, which may do that process's work
and nothing else. A process that is taken over can do what it does every day: a relay moves no order, the tracking
writes no order, an API takes no relay's lease. What no role may do at all, the owner included, is refused by triggers:
a move that is in no [lifecycle](lifecycle.md), another total, customer or line of an order, a version out of turn
(`migrations/common/20261130090000_lifecycle.sql` and the services' files of that name), an event that no row has moved
to.

`orderflow setup`, as the admin, makes the roles, the databases and the rights. It owns everything, and no process of
ours has its URL. A role is named by its URL, `ORDERFLOW_<SERVICE>_<ROLE>_DATABASE_URL`: any name and password will do,
one of each for each role of a database.

What a caller of the API may do is [another page](access.md); who may be hostile, and what stops them, is
[security](security.md); how a password is changed is [rotation](rotation.md#database-passwords)."""

_PROCESSES: Final = """## Who opens what

Give each process the URLs of its line only; the embedded stack and the Compose file do. A process with several worker
roles holds the URLs of all of them, and can do the work of all of them: that is what one process for everything costs.
The embedded stack runs `orders payments inventory` in one process and `relay tracking reconciliation` in another."""

_COMMANDS: Final = """The command line looks as `reader` (`explain`, `stuck`, `doctor`, `demo`, `outbox status`),
intervenes as `operator` (`order cancel`, `nudge`, `reset`, `reconcile`), repairs what was published as `relay` (`outbox
republish`, `outbox unpark`), and handles dead letters as `tracking` (`dlq`)."""

_LIMITS: Final = """## What a role may take

No role may connect to another service's database. It may hold so many connections, whoever uses its password, that
none can shut another out; `ORDERFLOW_DATABASE_PROCESSES` and `ORDERFLOW_DATABASE_POOL_SIZE` say how many. The server's
`max_connections` belongs above the sum of all roles, with some left for people: {total} with the settings' defaults.
The times end what was forgotten: a session can set them otherwise, so they stop nobody who means harm."""

_SERVER: Final = """Where the server is OrderFlow's alone, say `ORDERFLOW_DATABASE_SERVER_IS_SHARED=false` to
`orderflow setup`: then nobody but their owner may connect to the databases `postgres` and `template1` either. Where
others have databases there, that is theirs to decide."""

_GRANTS: Final = """## What a role may do

From `orderflow/postgres/grants.py`. Setup makes it true after every migration, in one transaction, and takes back what
is not in it. PUBLIC has nothing. Columns stand in parentheses where not the whole table is meant."""

_UPGRADE: Final = """## From one role a service to a role a process

Before, each service had one role, `ORDERFLOW_ORDERS_DATABASE_URL` and its like, which may do what all roles may. That
goes on: a process without a URL of its own uses the service's. To give each its own, one step after the other, while
everything runs:

1. Upgrade, and run `orderflow setup` as before: it applies the migrations, and the one role keeps its rights.
2. Add the URLs of all roles, with passwords of your own, to the settings of `orderflow setup`, and run it: it makes the
   roles. A service whose roles all have a URL needs no `ORDERFLOW_<SERVICE>_DATABASE_URL` any more.
3. Start each process again with the URLs of its line above, and without the services'.
4. When nothing connects as the old roles any more (`SELECT usename, application_name FROM pg_stat_activity`), shut
   them: `ALTER ROLE orders NOLOGIN`, and so on. Until then `orderflow doctor` names them, where
   it has a reader's URL and each kind of process has a login of its own, codec and keys too.

A new table in a migration needs a line in `orderflow/postgres/grants.py`, or a test fails; a changed lifecycle needs a
migration of `transitions`, and `make verify` says which."""


def files() -> dict[Path, str]:
    """The page."""
    return {Path("docs/roles.md"): roles_page()}


def roles_page() -> str:
    """All of it."""
    known = Settings.model_construct()
    total = sum(limits(role, known).connections for roles in ROLES.values() for role in roles)
    parts = [
        NOTICE,
        _INTRODUCTION,
        _PROCESSES,
        table(
            ("process", "its URLs"),
            (
                (
                    f"`orderflow {process}`" if process in ("api", "codec") else f"`orderflow worker {process}`",
                    ", ".join(f"`ORDERFLOW_{service}_{role}_DATABASE_URL`".upper() for service, role in opened),
                )
                for process, opened in OPENED_BY.items()
            ),
        ),
        _COMMANDS,
        _LIMITS.format(total=total),
        table(("role", "connections", "a statement", "a lock", "idle in a transaction"), _limits(known)),
        _SERVER,
        _GRANTS,
    ]
    for service in SERVICES:
        parts += [f"### The {service} database", table(("table", *ROLES[service]), _rights(service))]
    return "\n\n".join([*parts, _UPGRADE]) + "\n"


def _limits(known: Settings) -> Iterator[tuple[str, ...]]:
    for role in ROLES["orders"]:
        one = limits(role, known)
        times = (one.statement_seconds, one.lock_seconds, one.idle_in_transaction_seconds)
        yield (f"`{role}`", str(one.connections), *("none" if seconds is None else f"{seconds} s" for seconds in times))


def _rights(service: Service) -> Iterator[tuple[str, ...]]:
    for name, line in GRANTS[service].items():
        yield (f"`{name}`", *(line.get(role, "") for role in ROLES[service]))
