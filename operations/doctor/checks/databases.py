"""The three databases: server, migrations, clock, what stands in the outbox, and what Temporal was not told."""

import re
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Final

from operations.doctor.check import Check, Checked, clock, now
from operations.words import duration, one_or_many, waiting
from orderflow.domain.errors import AccessDenied, Unavailable
from orderflow.postgres.databases import open_database
from orderflow.postgres.grants import GRANTS
from orderflow.postgres.roles import ROLES, SERVICE_GROUP, group
from orderflow.settings import SERVICES, Service, Settings
from orderflow.store.coverage import Forgotten, forgotten
from orderflow.store.database import Database
from orderflow.store.errors import lacks_a_table
from orderflow.store.handovers import HandoverDepth, Handovers
from orderflow.store.outbox_status import UNPUBLISHED, Status, relay_connections, relay_name, status
from orderflow.store.statements import Statement
from orderflow.store.truncation import Cause, Stop

#: PostgreSQL's major versions that the tests run on.
OLDEST, NEWEST = 15, 18
COMMAND_SECONDS: Final = 5.0
#: A dispatcher's longest pause is half of it.
LATE: Final = timedelta(seconds=60)

#: So far back each event is compared with outbox and publications; reconciliation looks further.
FORGOTTEN_WITHIN: Final = timedelta(hours=1)
#: So many orders, or privileges, are named.
NAMED: Final = 3

_SERVER = Statement(
    "databases.server",
    "Reads the server's version and its clock, and whether a new connection may write.",
    """
SELECT current_setting('server_version_num')::int AS number, clock_timestamp() AS at,
       current_setting('transaction_read_only')::bool AS read_only, pg_is_in_recovery() AS standby""",
)
#: Who may do what all roles may is nobody's login any more once each kind of process has one. Superusers and the owner,
#: who may do more, are others' to watch; everybody may read these catalogs.
_OLD_LOGINS = Statement(
    "databases.old_logins",
    "Reads the logins that may do all processes' work here, where each kind of process has a login of its own.",
    """
WITH logins AS (
    SELECT r.oid, r.rolname, g.rolname AS kind FROM pg_roles r
    JOIN pg_roles g ON g.rolname = ANY ($kinds::text[] || $all::text) AND pg_has_role(r.oid, g.oid, 'USAGE')
    WHERE r.rolcanlogin AND NOT r.rolsuper AND has_database_privilege(r.oid, current_database(), 'CONNECT')
)
SELECT quote_ident(rolname) AS name, (
           SELECT count(*) FROM pg_stat_activity a WHERE a.usesysid = logins.oid AND a.datname = current_database()
       ) AS connections
FROM logins WHERE kind = $all AND ARRAY (SELECT kind::text FROM logins) @> $kinds ORDER BY rolname""",
)
#: Who belongs to no group of ours may well be read-only. What is set for this database counts before what is set for
#: all; what is set for everybody is seen in our own connection.
_READ_ONLY_LOGINS = Statement(
    "databases.read_only_logins",
    "Reads the logins of processes that write here, and whose new connections are read-only, by a setting of theirs.",
    """
SELECT name, database FROM (
    SELECT DISTINCT ON (r.oid) quote_ident(r.rolname) AS name, quote_ident(d.datname) AS database,
           split_part(entry, '=', 2) AS value
    FROM pg_db_role_setting s JOIN pg_roles r ON r.oid = s.setrole CROSS JOIN unnest(s.setconfig) AS entry
    LEFT JOIN pg_database d ON d.oid = s.setdatabase
    WHERE (s.setdatabase = 0 OR d.datname = current_database())
      AND split_part(entry, '=', 1) = 'default_transaction_read_only'
      AND r.rolcanlogin AND NOT r.rolsuper AND has_database_privilege(r.oid, current_database(), 'CONNECT')
      AND EXISTS (
          SELECT FROM pg_roles g WHERE g.rolname = ANY ($groups::text[]) AND pg_has_role(r.oid, g.oid, 'USAGE')
      )
    ORDER BY r.oid, s.setdatabase DESC
) s WHERE value::bool ORDER BY name""",
)
#: What is not there is the migrations' to say.
_LACKING = Statement(
    "databases.lacking",
    "Reads which of the privileges that are wanted a group lacks; without an attribute they are the whole table's.",
    """
SELECT grantee, privilege || coalesce(' (' || quote_ident(attribute) || ')', '') || ' on ' || relation AS privilege
FROM unnest($grantees::text[], $relations::text[], $privileges::text[], $attributes::text[])
     AS wanted (grantee, relation, privilege, attribute)
JOIN pg_roles g ON g.rolname = grantee
JOIN pg_class c ON c.relname = relation AND c.relnamespace = 'public'::regnamespace
LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = attribute
WHERE NOT CASE
    WHEN c.relkind = 'S' THEN has_sequence_privilege(g.oid, c.oid, privilege)
    WHEN attribute IS NULL THEN has_table_privilege(g.oid, c.oid, privilege)
    ELSE a.attnum IS NULL OR has_column_privilege(g.oid, c.oid, a.attnum, privilege)
END
ORDER BY grantee, relation, privilege, attribute""",
)
_APPLIED = Statement(
    "databases.applied", "Reads which migrations were applied.", "SELECT version FROM schema_migrations"
)


def checks(settings: Settings) -> list[Check]:
    """One for each service's database: server, clock, migrations, outbox; handovers in that of orders."""
    return [
        Check(
            f"{service} database",
            lambda service=service: _look(settings, service),  # type: ignore[misc]
            f"start it, or set {settings.database_variable(service, 'reader')}; "
            "`orderflow setup` makes role and database",
        )
        for service in SERVICES
    ]


async def _look(settings: Settings, service: Service) -> Sequence[Checked]:
    async with open_database(settings, service, "reader", pool_size=1, command_timeout=COMMAND_SECONDS) as database:
        asked = now()
        try:
            row = await database.one(_SERVER, {})
        except AccessDenied as error:
            variable = settings.database_variable(service, "reader")
            fix = f"set the user and password in {variable} right; `orderflow setup` gives the role that password"
            return [Checked(f"{service} database", False, error.detail, fix)]
        except Unavailable as error:
            raise ConnectionError(error.detail) from error
        if row is None:
            raise AssertionError("a SELECT without FROM has a row")
        major = row["number"] // 10_000
        lines = [
            _server(service, major, row["number"] % 10_000),
            *_read_only(service, read_only=row["read_only"], standby=row["standby"]),
            clock(f"the {service} database", row["at"], asked, now()),
            await _migrations(settings.migrations_dir, service, database),
            *await _old_logins(settings, service, database),
            *await _read_only_logins(service, database),
            *await _lacking(service, database),
        ]
        try:
            found = await status(database)
            relays = 0 if found.leader else await relay_connections(database, service)
            lines += _outbox(settings, service, found, relays)
            lines += _forgotten(service, await forgotten(database, FORGOTTEN_WITHIN))
            if service == "orders":
                lines.append(_handovers(await Handovers(database).depth()))
        except Unavailable as error:
            lines.append(_unread(f"{service} outbox", error))
        return lines


def _unread(about: str, error: Unavailable) -> Checked:
    """What a database that has answered just now does not tell."""
    if lacks_a_table(error):
        return Checked(about, False, error.detail, "apply the migrations: `orderflow setup`")
    fix = (
        "unless it says why: the database is frozen, or somebody holds a lock: "
        "`SELECT pid, relation::regclass, mode FROM pg_locks WHERE granted`"
    )
    return Checked(about, False, error.detail, fix)


def _server(service: str, major: int, minor: int) -> Checked:
    about, said = f"{service} database", f"PostgreSQL {major}.{minor}"
    if OLDEST <= major <= NEWEST:
        return Checked(about, True, said)
    fix = f"use PostgreSQL {OLDEST} to {NEWEST}; others are not tested"
    return Checked(about, False, said, fix)


def _read_only(service: str, *, read_only: bool, standby: bool) -> list[Checked]:
    if not read_only:
        return []
    why = "it is a standby" if standby else "default_transaction_read_only is on"
    said = f"connections are read-only ({why}): no command is taken, and nothing is published"
    fix = f"have ORDERFLOW_{service.upper()}_DATABASE_URL lead to the primary, or turn the setting off"
    return [Checked(f"{service} database writes", False, said, fix)]


async def _migrations(folder: Path, service: Service, database: Database) -> Checked:
    about = f"{service} migrations"
    files = [path for part in ("common", service) for path in (folder / part).glob("*.sql")]
    wanted = {found[0]: path.name for path in files if (found := re.match(r"\d+", path.name))}
    if not wanted:
        return Checked(
            about, False, f"no migrations in {folder}", "set ORDERFLOW_MIGRATIONS_DIR to the folder with them"
        )
    try:
        applied = {row["version"] for row in await database.all(_APPLIED, {})}
    except Unavailable as error:
        return _unread(about, error)
    if missing := sorted(wanted[version] for version in wanted.keys() - applied):
        return Checked(about, False, f"not applied: {', '.join(missing)}", "apply them: `orderflow setup`")
    if unknown := sorted(applied - wanted.keys()):
        fix = "this program is older than the database: use the release that made them"
        return Checked(about, False, f"applied, and not known here: {', '.join(unknown)}", fix)
    return Checked(about, True, f"all {len(wanted)} applied")


async def _old_logins(settings: Settings, service: Service, database: Database) -> list[Checked]:
    """Nothing while we use such a login ourselves: then the processes have not all been moved."""
    if not settings.has_own_url(service, "reader"):
        return []
    values = {"all": SERVICE_GROUP, "kinds": [group(role) for role in ROLES[service]]}
    lines = []
    for row in await database.all(_OLD_LOGINS, values):
        name, used = row["name"], row["connections"]
        said = f"{name} may log in, and do what all processes may, which have roles of their own"
        fix = f"shut it, as the admin: `ALTER ROLE {name} NOLOGIN` (docs/roles.md)"
        if used:
            said += f"; {used} {one_or_many(used, 'connection uses', 'connections use')} it"
            fix = f"start who uses it (`pg_stat_activity`) with the URLs of its roles; then {fix}"
        lines.append(Checked(f"{service} login {name}", False, said, fix))
    return lines


async def _read_only_logins(service: Service, database: Database) -> list[Checked]:
    """A reader may be read-only."""
    values = {"groups": [SERVICE_GROUP, *(group(role) for role in ROLES[service] if role != "reader")]}
    lines = []
    for row in await database.all(_READ_ONLY_LOGINS, values):
        name, place = row["name"], f" IN DATABASE {row['database']}" if row["database"] else ""
        said = f"is read-only by default (ALTER ROLE {name}{place} SET default_transaction_read_only): it cannot write"
        fix = (
            f"as the admin: `ALTER ROLE {name}{place} RESET default_transaction_read_only`; connections that are open "
            "stay as they are until they are closed, as a process of ours does once it is refused a write"
        )
        lines.append(Checked(f"{service} role {name}", False, said, fix))
    return lines


async def _lacking(service: Service, database: Database) -> list[Checked]:
    """A line for each group that may not do all that ``grants.py`` says."""
    wanted = {
        (grantee, relation, privilege, attribute)
        for relation, line in GRANTS[service].items()
        for role, privileges in line.items()
        for privilege, attributes in re.findall(r"([A-Z]+)(?: \(([^)]+)\))?", privileges)
        for attribute in ([name.strip('" ') for name in attributes.split(",")] if attributes else [None])
        for grantee in (group(role), SERVICE_GROUP)
    }
    names = ("grantees", "relations", "privileges", "attributes")
    lacking: dict[str, list[str]] = {}
    for row in await database.all(_LACKING, dict(zip(names, zip(*wanted, strict=True), strict=True))):
        lacking.setdefault(row["grantee"], []).append(row["privilege"])
    return [
        Checked(
            f"{service} role {grantee}",
            False,
            f"lacks {', '.join(privileges[:NAMED])}{', …' if len(privileges) > NAMED else ''}",
            "grant it again, as the admin: `orderflow setup`",
        )
        for grantee, privileges in lacking.items()
    ]


def _handovers(found: HandoverDepth) -> Checked:
    about = "handovers"
    if not found.pending:
        return Checked(about, True, "Temporal has been told of every order")
    said = f"Temporal has not been told of {found.pending} {one_or_many(found.pending, 'order', 'orders')}"
    if found.refused:
        fix = "see what it says: `orderflow stuck`; no other order waits for these"
        return Checked(about, False, f"{said}, and refuses to be told of {found.refused}", fix)
    said += f", of the oldest for {duration(found.oldest_age)}"
    fix = "start an orders worker, which tells it: `orderflow worker orders`, or see its log and the line of Temporal"
    return Checked(about, found.oldest_age <= LATE, said, fix)


def _outbox(settings: Settings, service: str, found: Status, relays: int) -> list[Checked]:
    lines = [_relay(settings, service, found, relays), _waiting(settings, service, found)]
    if found.refuses_many:
        lines.append(_refuses_many(service, found))
    lines += [
        Checked(
            f"{service} order {parked.order_id}",
            False,
            f"parked at version {parked.version}: {parked.error}",
            f"raise the limit that it names, then `orderflow outbox unpark {parked.order_id}`",
        )
        for parked in found.parked
    ]
    return lines + [_stopped(service, stop) for stop in found.stopped]


def _forgotten(service: str, found: Sequence[Forgotten]) -> list[Checked]:
    if not found:
        return []
    events = sum(len(one.versions) for one in found)
    first = "; ".join(f"order {one.order_id}: {', '.join(map(str, one.versions[:5]))}" for one in found[:NAMED])
    said = f"{events} {one_or_many(events, 'is', 'are')} neither published nor in the outbox, by order and version: "
    more = "; …" if len(found) > NAMED else ""
    fix = "somebody deleted them there; `orderflow reconcile --repair` puts them back, and the relay sends them"
    return [Checked(f"{service} events", False, f"{said}{first}{more}", fix)]


def _stopped(service: str, stop: Stop) -> Checked:
    about = f"{service} partition {stop.partition}"
    if stop.cause is Cause.MADE_ANEW:
        said = "stands still: the topic was deleted and made anew, and lacks what was published before"
        return Checked(about, False, said, "when nobody deleted it by mistake: `orderflow outbox republish --stopped`")
    said = f"stands still: Kafka lost what it had acknowledged; at offset {stop.offset} is {stop.found}"
    return Checked(about, False, said, f"`orderflow outbox republish --partition {stop.partition}`")


def _refuses_many(service: str, found: Status) -> Checked:
    said = f"Kafka refuses records of many orders: {len(found.parked)} are parked, and no more will be"
    fix = "mend the topic's limits or the relay's clock, whatever the error names; then `orderflow outbox unpark --all`"
    return Checked(f"{service} parking", False, f"{said}; the last: {found.parked[-1].error}", fix)


def _relay(settings: Settings, service: str, found: Status, relays: int) -> Checked:
    """Judged by what it publishes: who holds the lease may do nothing else.

    ``relays``: how many connections they have while nobody leads.
    """
    about = f"{service} relay"
    if found.leader is None and relays:
        said = (
            "a relay is connected and does not renew its lease: it is frozen, or cannot write "
            "(a lock, read-only, a privilege)"
        )
        fix = (
            "see `orderflow status`, its /health/ready, and who blocks it: `pg_blocking_pids(pid)` of its connections "
            f"in pg_stat_activity (application_name {relay_name(service)}); where it is frozen, start another"
        )
        return Checked(about, False, said, fix)
    if found.leader is None:
        return Checked(about, False, "nobody leads: nothing is published", "start one: `orderflow worker relay`")
    said = f"{found.leader.holder[:8]} leads"
    if found.leader.seconds_left > 2 * settings.relay_lease_seconds:
        left = duration(timedelta(seconds=found.leader.seconds_left))
        said = f"the lease of {found.leader.holder[:8]} ends in {left}: the database's clock was ahead"
        fix = "start one, which takes it over at once: `orderflow worker relay`"
        return Checked(about, False, f"{said}, and no relay runs", fix)
    if found.unpublished_for > UNPUBLISHED:
        said += f", and publishes nothing: an event that could go out has waited for {duration(found.unpublished_for)}"
        fix = "see the lines of Kafka and the topic, then what the relay says: its /health/ready and its log"
        return Checked(about, False, said, fix)
    return Checked(about, True, said)


def _waiting(settings: Settings, service: str, found: Status) -> Checked:
    about, depth = f"{service} outbox", found.depth
    if not depth.entries:
        return Checked(about, True, "empty")
    age = depth.oldest_age
    said = f"{waiting(depth.entries, 'event')}, the oldest for {duration(age)}"
    return Checked(
        about, age.total_seconds() <= settings.reconcile_outbox_seconds, said, "see why: `orderflow outbox status`"
    )
