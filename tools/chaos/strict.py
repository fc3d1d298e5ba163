"""The strict gear's Temporal: the server itself, built from its source, on a Postgres of its own.

Its Go code comes through the Go module proxy and is built once, into the user's cache folder (2-3 minutes on two
cores). The development server keeps everything in one SQLite file; this one is what production runs.
"""

import asyncio
import contextlib
import dataclasses
import os
import shutil
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Final, Self
from unittest.mock import patch

import asyncpg
import yaml
from google.protobuf.duration_pb2 import Duration
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest, RegisterNamespaceRequest
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from orderflow.stack.errors import StackError
from orderflow.stack.ports import LOOPBACK, free_port
from orderflow.stack.postgres import Postgres
from orderflow.stack.probes import child_environment, port_answers
from orderflow.stack.processes import Event, Process, Spec
from orderflow.stack.supervisor import Supervisor
from orderflow.stack.temporal import GO_MEMORY, TemporalServer

#: Later ones want a newer Go, or miss a module.
VERSION: Final = "1.30.1"
STORES: Final = {"temporal": "temporal", "temporal_visibility": "visibility"}
PASSWORD: Final = "temporal-on-loopback"
NAMESPACE: Final = "default"
#: As the server of docker-compose.yml is configured.
DYNAMIC: Final = Path(__file__).parents[2] / "deploy" / "temporal" / "dynamicconfig.yaml"


class TemporalOnPostgres:
    """The Postgres and the configuration of a Temporal server; ``StrictTemporal`` is the server on top of them.

    ``jwks_url``: where the keys are that it verifies bearers with; without one it takes everybody.
    """

    def __init__(self, folder: Path, on_event: Callable[[Event], None], jwks_url: str | None = None) -> None:
        self.folder = folder / "temporal"
        self.binaries = _cache()
        self.port = free_port()
        self.jwks_url = jwks_url
        self.config = self.folder / "temporal.yaml"
        self._supervisor = Supervisor(self.folder / "logs", on_event=on_event)

    async def __aenter__(self) -> Self:
        await _build(self.binaries)
        self.folder.mkdir(mode=0o711)
        postgres = Postgres(self.folder, free_port(), PASSWORD)
        await postgres.initialise()
        try:
            await self._supervisor.start(dataclasses.replace(postgres.spec(), name="temporal-postgres"))
            await self._make_schemas(postgres)
        except BaseException:
            await self._supervisor.stop()
            raise
        self._write_configuration(postgres.port)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._supervisor.stop()

    @property
    def processes(self) -> Mapping[str, Process]:
        """Its Postgres."""
        return self._supervisor.processes

    async def _make_schemas(self, postgres: Postgres) -> None:
        admin = await asyncpg.connect(postgres.url())
        try:
            for database in STORES:
                await admin.execute(f"CREATE DATABASE {database}")
        finally:
            await admin.close()
        for database, store in STORES.items():
            tool = (
                *(str(self.binaries / "sql"), "--plugin", "postgres12", "--endpoint", LOOPBACK),
                *("--port", str(postgres.port), "--user", "postgres", "--password", PASSWORD, "--database", database),
            )
            await _run(*tool, "setup-schema", "--version", "0.0")
            await _run(*tool, "update-schema", "--schema-name", f"postgresql/v12/{store}")

    def _write_configuration(self, postgres_port: int) -> None:
        def store(database: str, connections: int) -> dict[str, object]:
            return {
                "sql": {
                    "pluginName": "postgres12",
                    "databaseName": database,
                    "connectAddr": f"{LOOPBACK}:{postgres_port}",
                    "connectProtocol": "tcp",
                    "user": "postgres",
                    "password": PASSWORD,
                    "maxConns": connections,
                    "maxIdleConns": connections,
                    "maxConnLifetime": "1h",
                }
            }

        def service(port: int) -> dict[str, object]:
            return {"rpc": {"grpcPort": port, "membershipPort": free_port(), "bindOnLocalHost": True}}

        # The server's own workers go through a frontend of their own, which asks nobody who they are.
        internal = ("internal-frontend",) if self.jwks_url else ()
        frontend = {"enabled": True, "initialFailoverVersion": 1, "rpcName": "frontend"}
        configuration = {
            "log": {"stdout": True, "level": "warn"},
            "persistence": {
                "defaultStore": "default",
                "visibilityStore": "visibility",
                "numHistoryShards": 4,
                "datastores": {"default": store("temporal", 20), "visibility": store("temporal_visibility", 5)},
            },
            "global": {
                "membership": {"maxJoinDuration": "30s", "broadcastAddress": LOOPBACK},
                **({"authorization": authorization(self.jwks_url)} if self.jwks_url else {}),
            },
            "services": {
                "frontend": service(self.port),
                **{name: service(free_port()) for name in ("matching", "history", "worker", *internal)},
            },
            "clusterMetadata": {
                "enableGlobalNamespace": False,
                "failoverVersionIncrement": 10,
                "masterClusterName": "active",
                "currentClusterName": "active",
                "clusterInformation": {"active": {**frontend, "rpcAddress": f"{LOOPBACK}:{self.port}"}},
            },
            "dynamicConfigClient": {"filepath": str(DYNAMIC), "pollInterval": "10s"},
        }
        self.config.write_text(yaml.safe_dump(configuration))


def authorization(jwks_url: str) -> dict[str, object]:
    """The part of a Temporal server's configuration that has it ask for JWTs (RS256 or ES256) with ``permissions``."""
    return {
        "jwtKeyProvider": {"keySourceURIs": [jwks_url], "refreshInterval": "1m"},
        "permissionsClaimName": "permissions",
        "authorizer": "default",
        "claimMapper": "default",
        "audience": "temporal",
    }


class StrictTemporal(TemporalServer):
    """The server, in the place of the stack's development server. ``bearer``: an admin's, where it asks for one."""

    def __init__(self, temporal: TemporalOnPostgres, home: Path, bearer: str | None = None) -> None:
        super().__init__(home, temporal.port, None)
        self._temporal = temporal
        self._bearer = bearer

    def spec(self) -> Spec:
        """How to run it; ready once its namespace can be used."""
        services = ("frontend", "matching", "history", "worker", "internal-frontend")
        asked = (part for name in services for part in ("--service", name)) if self._temporal.jwks_url else ()
        return Spec(
            name="temporal",
            argv=[
                str(self._temporal.binaries / "server"),
                *("--config-file", str(self._temporal.config), "--allow-no-auth", "start", *asked),
            ],
            env=child_environment(GO_MEMORY),
            cwd=self._temporal.folder,
            ready=self._answers,
            ready_seconds=120,
            stop_grace_seconds=15,
        )

    async def _answers(self) -> bool:
        if not await port_answers(self.address):
            return False
        try:
            client = await Client.connect(self.address, api_key=self._bearer, tls=False)
            try:
                await client.workflow_service.describe_namespace(DescribeNamespaceRequest(namespace=NAMESPACE))
            except RPCError as error:
                if error.status is not RPCStatusCode.NOT_FOUND:
                    return False
                keep = Duration()
                keep.FromTimedelta(timedelta(days=7))
                await client.workflow_service.register_namespace(
                    RegisterNamespaceRequest(namespace=NAMESPACE, workflow_execution_retention_period=keep)
                )
            await client.count_workflows()
        except (RPCError, RuntimeError):
            return False
        return True


@contextlib.asynccontextmanager
async def strict_temporal(folder: Path, on_event: Callable[[Event], None]) -> AsyncIterator[TemporalOnPostgres]:
    """A stack that is started inside runs on this server, with its data in ``folder``. Raises StackError."""
    async with TemporalOnPostgres(folder, on_event) as temporal:

        def server(home: Path, *_ports: int, codec_url: str | None = None) -> TemporalServer:
            return StrictTemporal(temporal, home)

        with patch("orderflow.stack.stack.TemporalServer", server):
            yield temporal


def is_built() -> bool:
    """Whether the server is in the user's cache folder."""
    return not _missing(_cache())


def _missing(folder: Path) -> list[str]:
    return [name for name in ("cmd/server", "cmd/tools/sql") if not (folder / Path(name).name).exists()]


def _cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "orderflow" / f"temporal-{VERSION}"


async def _build(folder: Path) -> None:
    """Build the server and its schema tool, once. Raises StackError without Go or network."""
    missing = _missing(folder)
    if missing and shutil.which("go") is None:
        raise StackError("the strict gear builds the Temporal server and needs Go, and there is no `go`: install it")
    for package in missing:
        await _run("go", "install", f"go.temporal.io/server/{package}@v{VERSION}", GOBIN=str(folder))


async def _run(*argv: str, **environment: str) -> None:
    child = await asyncio.create_subprocess_exec(
        *argv,
        cwd="/",
        env=child_environment(environment),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output = (await child.communicate())[0].decode(errors="replace")
    if child.returncode != 0:
        raise StackError(f"{argv[0]} failed (exit code {child.returncode}): {output[-2000:]}")
