"""Real servers for the tests: started once a session, on free ports, away from any running stack.

Each is an async context manager; ``support/fixtures.py`` makes fixtures of them. Everything of one session lies in
one temporary folder with a record of its processes. A session that was killed could not clean up: the next one
finds its folder, stops what still runs and removes it.
"""

import contextlib
import os
import shutil
import tempfile
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import psutil

from orderflow import bootstrap
from orderflow.postgres.roles import ROLES
from orderflow.postgres.setup import restrict_database
from orderflow.settings import SERVICES, DatabaseRole, Service, Settings
from orderflow.stack import placement
from orderflow.stack.kafka import NoidaBroker
from orderflow.stack.ports import free_port
from orderflow.stack.postgres import Postgres, clear_remains
from orderflow.stack.records import Identity, Record, stop_left
from orderflow.stack.supervisor import Supervisor
from orderflow.stack.temporal import TemporalServer
from support.keys import put_key
from support.paths import MIGRATIONS

PREFIX = f"orderflow-tests-{os.getuid()}-"
#: A file system in memory, where Linux has one. Each test copies three databases and drops them, a thousand files: ext4
#: takes three quarters of such a test for inodes that were freed a moment ago.
MEMORY = Path("/dev/shm")  # noqa: S108 - a folder of a name of its own is made there
#: What a session may need there.
MEMORY_BYTES = 4 * 2**30
#: A service's own login, and one of each role.
LOGINS: dict[Service, list[str]] = {
    service: [service, *(f"{service}_{role}" for role in ROLES[service])] for service in SERVICES
}
ADMIN_PASSWORD = "admin-test-password"


@dataclass(frozen=True)
class Databases:
    """Three fresh, migrated databases. ``orders``, ``payments``, ``inventory``: URLs as the service's own login.

    ``settings``: the same as settings, and the URLs of all roles, which a process of ours uses.
    ``admin`` is the admin's URL of the server; ``as_admin("orders")`` the admin's of one of the three.
    """

    orders: str
    payments: str
    inventory: str
    admin: str
    _admin: dict[Service, str]

    def url(self, service: Service, role: DatabaseRole | None = None) -> str:
        """The URL of ``service``, as ``role``; without one as its own login, which may do what all roles may."""
        own = str(getattr(self, service))
        return own if role is None else own.replace(_credentials(service), _credentials(f"{service}_{role}"))

    @property
    def settings(self) -> dict[str, Any]:
        """The URLs by the names of their settings."""
        own = {f"{service}_database_url": self.url(service) for service in SERVICES}
        return own | {
            f"{service}_{role}_database_url": self.url(service, role) for service in SERVICES for role in ROLES[service]
        }

    def as_admin(self, service: Service) -> str:
        """The URL of the database of ``service``, as the server's admin (no grant stands in the way)."""
        return self._admin[service]


@dataclass
class PostgresServer:
    """The session's Postgres, with one migrated template database a service."""

    server: Postgres

    @property
    def admin(self) -> str:
        """The admin's URL."""
        return self.server.url()

    async def prepare_templates(self) -> None:
        """Roles, and the three templates, by the code that ``orderflow setup`` runs."""
        urls = {service: self._url(service, f"template_{service}") for service in SERVICES}
        templates = Databases(**urls, admin=self.admin, _admin={})
        given = {**templates.settings, "orders_admin_url": self.admin, "migrations_dir": MIGRATIONS}
        given["database_server_is_shared"] = False
        for service in SERVICES:
            # The service's own login is made where a role has no URL.
            for left_out in ({}, {f"{service}_reader_database_url": None}):
                settings = Settings(_env_file=None, **(given | left_out))
                await bootstrap.setup_database(settings, service, lambda _: None)
        await put_key(self.server.url("template_orders"))

    async def fresh_databases(self) -> Databases:
        """Copy the three templates. FILE_COPY: twice as fast as by WAL where nothing waits for the disk."""
        suffix = uuid.uuid4().hex[:12]
        admin = await asyncpg.connect(self.admin)
        try:
            for service in SERVICES:
                name = f"{service}_{suffix}"
                await admin.execute(f"CREATE DATABASE {name} TEMPLATE template_{service} STRATEGY FILE_COPY")
                await restrict_database(admin, name, LOGINS[service])
        finally:
            await admin.close()
        urls = {service: self._url(service, f"{service}_{suffix}") for service in SERVICES}
        admins = {service: self.server.url(f"{service}_{suffix}") for service in SERVICES}
        return Databases(**urls, admin=self.admin, _admin=admins)

    def _url(self, service: Service, database: str) -> str:
        return self.server.url(database, user=service, password=f"{service}-password")

    async def drop(self, databases: Databases) -> None:
        """Drop what ``fresh_databases`` made, whoever is still connected."""
        admin = await asyncpg.connect(self.admin)
        try:
            for service in SERVICES:
                name = databases.url(service).rpartition("/")[2].partition("?")[0]
                await admin.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        finally:
            await admin.close()


def _credentials(login: str) -> str:
    return f"//{login}:{login}-password@"


@contextlib.asynccontextmanager
async def session_folder() -> AsyncIterator[Path]:
    """A temporary folder for servers; first, folders of sessions that were killed are cleaned up."""
    for abandoned in _abandoned_folders():
        with contextlib.suppress(OSError, psutil.Error):  # another session may be at it too
            await _remove(abandoned)
    folder = _new_folder()
    try:
        yield folder
    finally:
        await _remove(folder)


def _abandoned_folders() -> list[Path]:
    # Also where a session would not lie now: what a killed one left may be what takes the room.
    folders = (folder for place in (MEMORY, Path(tempfile.gettempdir())) for folder in place.glob(f"{PREFIX}*"))
    records = ((folder, Record.read(folder / "stack.json")) for folder in folders)
    return [folder for folder, record in records if record.supervisor is not None and not record.running]


def _place() -> Path:
    """Where session folders are made."""
    if os.access(MEMORY, os.W_OK):
        about = os.statvfs(MEMORY)
        # Postgres' programs may be copied there.
        if about.f_bavail * about.f_frsize >= MEMORY_BYTES and not about.f_flag & os.ST_NOEXEC:
            return MEMORY
    return Path(tempfile.gettempdir())


def _new_folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=_place()))
    if os.geteuid() == 0:
        folder.chmod(0o711)  # Postgres runs as another user then
    Record(supervisor=Identity.of(os.getpid()), phase="tests").write(folder / "stack.json")
    return folder


async def _remove(folder: Path) -> None:
    homes = [record.parent for record in _below(folder, "stack.json")]
    for home in homes:
        record = Record.read(home / "stack.json")
        if home == folder or not record.running:
            await stop_left(record.children)
    for pid_file in _below(folder, "postmaster.pid"):
        await clear_remains(pid_file.parent)
    for home in homes:
        placement.remove(home)
    shutil.rmtree(folder, ignore_errors=True)


def _below(folder: Path, name: str) -> list[Path]:
    return list(folder.rglob(name))


@contextlib.asynccontextmanager
async def _supervisor(folder: Path, name: str) -> AsyncIterator[Supervisor]:
    """A supervisor with a record of its own below the session's folder."""
    home = folder / name
    home.mkdir(mode=0o711)
    owner = Identity.of(os.getpid())

    def record() -> None:
        if home.exists():
            Record(owner, "tests", supervisor.left()).write(home / "stack.json")

    supervisor = Supervisor(home / "logs", on_change=record)
    try:
        yield supervisor
    finally:
        await supervisor.stop()
        placement.remove(home)


@contextlib.asynccontextmanager
async def postgres_server(folder: Path) -> AsyncIterator[PostgresServer]:
    """A Postgres that does not wait for the disk, with the templates made."""
    async with _supervisor(folder, "postgres-server") as supervisor:
        server = Postgres(supervisor.logs.parent, free_port(), ADMIN_PASSWORD, durable=False)
        await server.initialise()
        await supervisor.start(server.spec())
        started = PostgresServer(server)
        await started.prepare_templates()
        yield started


@contextlib.asynccontextmanager
async def temporal_dev_server(folder: Path) -> AsyncIterator[str]:
    """A Temporal dev server in memory, with our search attributes; its address."""
    async with _supervisor(folder, "temporal-server") as supervisor:
        server = TemporalServer(supervisor.logs.parent, free_port(), None, in_memory=True)
        await supervisor.start(server.spec())
        yield server.address


@contextlib.asynccontextmanager
async def kafka_broker(folder: Path) -> AsyncIterator[str]:
    """A Kafka-protocol broker without topics; its bootstrap address."""
    async with _supervisor(folder, "kafka-broker") as supervisor:
        broker = NoidaBroker(supervisor.logs.parent, free_port())
        await broker.initialise()
        await supervisor.start(broker.spec())
        yield broker.bootstrap_servers
