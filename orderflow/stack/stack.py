"""The whole stack on one machine: servers, setup, gateway simulator, API and workers, for ``orderflow up``, the demo
and the tests.

It promises: one stack a data dir; the next start continues with the same data, on the same ports where they are
free, and on others where somebody takes one meanwhile; whatever a killed supervisor left running is stopped first;
``stop`` leaves no process behind.
"""

import contextlib
import json
import os
import secrets
import shutil
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from pydantic import SecretStr

from orderflow.postgres.roles import ROLES
from orderflow.rates import OFF
from orderflow.security.keyring import ensure_keyring
from orderflow.security.sealing import KeyFileError
from orderflow.settings import SERVICES, DatabaseRole, Service, Settings
from orderflow.stack import placement
from orderflow.stack.apache import ApacheBroker
from orderflow.stack.environment import FILE, as_environment, urls_opened_by, write_environment
from orderflow.stack.errors import StackError
from orderflow.stack.kafka import NoidaBroker
from orderflow.stack.ports import LOOPBACK, MovedPort, choose_ports, is_free
from orderflow.stack.postgres import Postgres
from orderflow.stack.probes import child_environment, http_answers, parts_work
from orderflow.stack.processes import Event, Process, Spec
from orderflow.stack.records import Identity, Record, exclusive, stop_left, write_private
from orderflow.stack.supervisor import Supervisor
from orderflow.stack.temporal import TemporalServer

RECORD = "stack.json"
CREDENTIALS = "credentials.json"
LEDGER = "gateway-ledger"
SETUP_SECONDS = 120.0
START_ATTEMPTS = 3


class EmbeddedStack:
    """``async with EmbeddedStack(settings, data_dir) as stack``: everything runs inside, nothing after.

    ``processes="servers"`` starts Postgres, Temporal and Kafka and runs setup; ``"all"`` also the gateway simulator,
    the API (``api``), the workers (``workers``, or one process a task queue) and relay and tracking (``relay``).
    ``ports="free"`` never takes a usual port, for tests. ``sealed=False``: there is no keyring for Temporal.
    Inside, ``stack.settings`` and ``stack.env`` lead to it.
    """

    def __init__(
        self,
        settings: Settings,
        data_dir: Path | None = None,
        *,
        processes: Literal["all", "servers"] = "all",
        ports: Literal["usual", "free"] = "usual",
        fresh: bool = False,
        durable: bool = True,
        gateway_seed: int = 1,
        sealed: bool = True,
        on_event: Callable[[Event], None] = lambda _: None,
    ) -> None:
        self.data_dir = Path(os.path.abspath(data_dir or settings.data_dir))
        self.settings = settings
        self.ports: dict[str, int] = {}
        self.links: dict[str, str] = {}
        #: Ports that were wanted and are taken by somebody else.
        self.moved_ports: list[MovedPort] = []
        self._given = settings
        self._all = processes == "all"
        self._free_ports = ports == "free"
        self._fresh = fresh
        self._durable = durable
        self._gateway_seed = gateway_seed
        self._sealed = sealed
        self._on_event = on_event
        self._phase = "stopped"
        self._ports_before: dict[str, int] = {}
        self._supervisor = Supervisor(self.data_dir / "logs", on_event=on_event, on_change=self._write_record)
        self._lock = contextlib.ExitStack()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    @property
    def env(self) -> dict[str, str]:
        """The environment of a process that belongs to this stack, as the API and the workers have it."""
        return child_environment(as_environment(self.settings) | self._code())

    def process(self, name: str) -> Process:
        """A process by name, to kill, freeze, stop or start it. Raises StackError for an unknown one."""
        try:
            return self._supervisor.processes[name]
        except KeyError:
            raise StackError(f"no process {name!r}: there are {', '.join(self._supervisor.processes)}") from None

    @property
    def processes(self) -> dict[str, Process]:
        """All processes by name."""
        return self._supervisor.processes

    async def start(self) -> None:
        """Start everything and wait until it is ready. Raises StackError, with nothing left running."""
        self._enter_data_dir()
        try:
            self._phase = "starting"
            before = await self._make_way()
            await self._start_on_free_ports(before)
            self._phase = "running"
            self._write_record()
        except BaseException:
            await self.stop()
            raise

    async def stop(self, *, grace_seconds: float | None = None) -> None:
        """Stop everything, workers before servers. ``grace_seconds`` replaces each process's own grace."""
        if self._phase == "stopped":
            self._lock.close()
            return
        self._phase = "stopping"
        self._write_record()
        await self._supervisor.stop(grace_seconds=grace_seconds)
        self._phase = "stopped"
        self._write_record()
        self._lock.close()

    def hurry(self) -> None:
        """Cut the grace of our own processes in a stop that is under way; the servers still get theirs, to flush."""
        for name, process in self.processes.items():
            if name not in ("postgres", "temporal", "kafka"):
                process.hurry()

    def _enter_data_dir(self) -> None:
        """Make the data dir, take its lock, and see that it is ours."""
        home = self.data_dir
        try:
            if not home.exists():
                home.mkdir(parents=True)
                # Root's Postgres runs as another user, which must pass; what lies inside has modes of its own.
                home.chmod(0o711 if os.geteuid() == 0 else 0o700)
            if home.stat().st_uid != os.geteuid():
                raise StackError(f"{home} belongs to another user: set ORDERFLOW_DATA_DIR to a folder of your own")
            supervisor = Record.read(home / RECORD).supervisor
            who = f" (pid {supervisor.pid})" if supervisor else ""
            runs = f"OrderFlow already runs from {home}{who}: `orderflow status` shows it, `orderflow down` stops it"
            self._lock.enter_context(exclusive(home / "lock", runs))
        except OSError as error:
            raise StackError(f"the data dir {home} cannot be used: {error.strerror}") from error

    async def _make_way(self) -> Mapping[str, int]:
        """Stop what a killed supervisor left, wipe what is to be fresh; the ports of the last run."""
        before = Record.read(self.data_dir / RECORD)
        self._ports_before = before.ports
        for name in await stop_left(before.children):
            self._on_event(Event(name, "stopped", "it was left running by a supervisor that was killed"))
        if self._fresh:
            wipe(self.data_dir)
        return before.ports

    async def _start_on_free_ports(self, before: Mapping[str, int]) -> None:
        """Start, and again on other ports when somebody took one between our look and our listening.

        Two copies that start in the same second see the same ports free.
        """
        for attempts_left in reversed(range(START_ATTEMPTS)):
            try:
                await self._start(before)
            except StackError:
                await self._supervisor.stop()
                # With nothing of ours running, who still listens there is somebody else.
                taken = [name for name, port in self.ports.items() if not is_free(port)]
                if not taken or not attempts_left:
                    raise
                for name in taken:
                    detail = f"somebody else took port {self.ports[name]} while it started: again, on another"
                    self._on_event(Event(name, "stopped", detail))
            else:
                return

    async def _start(self, before: Mapping[str, int]) -> None:
        home = self.data_dir
        explicit = {"api": self._given.api_port} if "api_port" in self._given.model_fields_set else {}
        self.ports, self.moved_ports = choose_ports(
            self._needed_ports(), before=before, explicit=explicit, usual=not self._free_ports
        )
        passwords = _passwords(home / CREDENTIALS)
        postgres = Postgres(home, self.ports["postgres"], passwords["admin"], durable=self._durable)
        codec_url = f"http://{LOOPBACK}:{self.ports['codec']}" if self._all and self._sealed else None
        temporal = TemporalServer(home, self.ports["temporal"], self.ports["temporal_ui"], codec_url=codec_url)
        broker: NoidaBroker | ApacheBroker
        if self._given.stack_kafka == "apache":
            broker = ApacheBroker(home, self.ports["kafka"], self.ports["kafka_controller"])
        else:
            broker = NoidaBroker(home, self.ports["kafka"])
        self.settings = self._settings(postgres, temporal, broker.bootstrap_servers, passwords)
        _make_keyring(self.settings)
        self.links = self._links()
        self._write_record()
        await postgres.initialise()
        await broker.initialise()
        await self._supervisor.start(postgres.spec(), temporal.spec(), broker.spec())
        write_environment(home, self.settings)
        await self._supervisor.run(self._setup_spec())
        if self._all:
            await self._supervisor.start(*self._application())

    def _needed_ports(self) -> list[str]:
        servers = ["postgres", "temporal", "temporal_ui", "kafka"]
        if self._given.stack_kafka == "apache":
            servers.append("kafka_controller")
        return (
            [*servers, "gateway", "api", "api_private", *self._worker_names(), "relay", "codec"]
            if self._all
            else servers
        )

    def _worker_names(self) -> tuple[str, ...]:
        return SERVICES if self._given.stack_split_workers else ("workers",)

    def _settings(
        self, postgres: Postgres, temporal: TemporalServer, kafka: str, passwords: dict[str, str]
    ) -> Settings:
        databases = {
            f"{service}_{role}_database_url": SecretStr(postgres.url(service, user=name, password=passwords[name]))
            for service, role, name in _logins()
        }
        # For people: what they open by the service's name, they read.
        databases |= {f"{service}_database_url": databases[f"{service}_reader_database_url"] for service in SERVICES}
        admins = {f"{service}_admin_url": SecretStr(postgres.url()) for service in SERVICES}
        here = {
            "database_server_is_shared": False,
            "temporal_address": temporal.address,
            "temporal_ui_url": temporal.ui_url,
            "temporal_namespace": "default",
            # The simulator's cards are nobody's: a developer declines as many as they like.
            "api_limit_declines": (
                self._given.api_limit_declines if "api_limit_declines" in self._given.model_fields_set else OFF
            ),
            "temporal_envconfig": False,
            "temporal_tls": False,
            "temporal_api_key": None,
            **dict.fromkeys(name for name in Settings.model_fields if name.startswith(("temporal_tls_", "kafka_ssl_"))),
            "kafka_bootstrap_servers": kafka,
            "kafka_security_protocol": "PLAINTEXT",
            "kafka_replication_factor": 1,
            "kafka_min_insync_replicas": 1,
            "health_host": LOOPBACK,
            "payload_keyring_file": self._keyring(),
            # The small broker never gives the partitions of a killed dynamic member to anybody else.
            "tracking_instance": "embedded",
            # noida-db answers empty fetches at once: unpaused, an idle consumer takes most of a core.
            "tracking_idle_seconds": 0.0 if self._given.stack_kafka == "apache" else 0.03,
            "data_dir": self.data_dir,
            "migrations_dir": self._given.migrations_dir.resolve(),
        }
        if self._all:
            api, gateway = self.ports["api"], self.ports["gateway"]
            here |= {"api_port": api, "api_url": f"http://{LOOPBACK}:{api}"}
            here |= {"api_key": None, "api_key_file": self.data_dir / "keys" / "merchant.header"}
            here |= {"gateway_url": f"http://{LOOPBACK}:{gateway}"}
            # Temporal's Web UI has no authentication here, so nothing that it could send on.
            here |= {"codec_host": LOOPBACK, "codec_port": self.ports["codec"], "codec_authentication": "off"}
        return self._given.model_copy(update={**databases, **admins, **here})

    def _keyring(self) -> Path | None:
        """What the settings name, else a keyring of the stack's own; None: nothing is to be sealed."""
        if not self._sealed:
            return None
        given = self._given.payload_keyring_file
        return self.data_dir / "keys" / "payload-keys" if given is None else given.resolve()

    def _links(self) -> dict[str, str]:
        servers = {
            "postgres": f"{LOOPBACK}:{self.ports['postgres']}",
            "temporal": self.settings.temporal_ui_url,
            "kafka": self.settings.kafka_bootstrap_servers,
        }
        if not self._all:
            return servers
        api = {"gateway": self.settings.gateway_url, "api": f"{self.settings.api_url}/docs"}
        workers = (*self._worker_names(), "relay")
        health = {name: f"http://{LOOPBACK}:{self.ports[name]}/health/ready" for name in workers}
        codec = {"codec": f"http://{LOOPBACK}:{self.ports['codec']}/health/live"} if self._sealed else {}
        return servers | api | health | codec

    def _setup_spec(self) -> Spec:
        async def ended() -> bool:
            return False

        return self._python(
            "setup",
            "cli.main",
            *("setup", "--development-keys"),
            ready=ended,
            ready_seconds=SETUP_SECONDS,
            opens=None,
            admin=True,
        )

    def _application(self) -> list[Spec]:
        gateway = self._python(
            "gateway",
            "orderflow.gateways.simulator",
            *("--host", LOOPBACK, "--port", str(self.ports["gateway"]), "--ledger", str(self.data_dir / LEDGER)),
            *("--decline-rate", str(self.settings.stack_decline_rate), "--seed", str(self._gateway_seed)),
            ready=http_answers(self.ports["gateway"], "/health"),
        )
        answers = http_answers(self.ports["codec"], "/health/live")
        codec = self._python("codec", "cli.main", "codec", ready=answers, opens=urls_opened_by("codec"))
        answers = http_answers(self.ports["api"], "/health/ready")
        api = self._python(
            "api",
            "cli.main",
            "api",
            ready=answers,
            opens=urls_opened_by("api"),
            health_port=self.ports["api_private"],
        )
        if self._given.stack_split_workers:
            workers = [self._worker(service, service) for service in SERVICES]
        else:
            workers = [self._worker("workers", *SERVICES)]
        relay = self._worker("relay", "relay", "tracking", "reconciliation")
        return [gateway, *workers, relay, *([codec] if self._sealed else []), api]

    def _worker(self, name: str, *roles: str) -> Spec:
        port = self.ports[name]
        return self._python(
            name,
            "cli.main",
            *("worker", *roles),
            ready=parts_work(port),
            opens=urls_opened_by(*roles),
            stop_grace_seconds=self.settings.worker_graceful_shutdown_seconds + 10,
            health_port=port,
        )

    def _python(
        self,
        name: str,
        module: str,
        *arguments: str,
        ready: Callable[[], Awaitable[bool]],
        ready_seconds: float = 60.0,
        stop_grace_seconds: float = 15.0,
        opens: Sequence[str] | None = (),
        admin: bool = False,
        **changes: object,
    ) -> Spec:
        """One of our processes. Its working directory is the data dir, where no ``.env`` file is."""
        return Spec(
            name=name,
            argv=[sys.executable, "-P", "-m", module, *arguments],
            env=child_environment(
                as_environment(self.settings.model_copy(update=changes), opens=opens, admin=admin)
                | self._code()
                | {"OTEL_SERVICE_NAME": name}
            ),
            cwd=self.data_dir,
            ready=ready,
            ready_seconds=ready_seconds,
            stop_grace_seconds=stop_grace_seconds,
        )

    @staticmethod
    def _code() -> dict[str, str]:
        """Children run the very code that runs here, installed or not."""
        folders: dict[str, None] = {}
        for package in ("orderflow", "orderflow_events"):
            found = find_spec(package)
            if found is not None and found.origin is not None:
                folders[str(Path(found.origin).parents[1])] = None
        return {"PYTHONPATH": os.pathsep.join(folders), "PYTHONUNBUFFERED": "1"}

    def _write_record(self) -> None:
        living = self._phase != "stopped"
        Record(
            supervisor=Identity.of(os.getpid()) if living else None,
            phase=self._phase,
            children=self._supervisor.left(),
            # A start of the servers alone does not forget where the rest was.
            ports=self._ports_before | self.ports,
            links=self.links,
        ).write(self.data_dir / RECORD)


def wipe(home: Path) -> None:
    """Remove what a stack keeps in its data dir, and nothing else that may lie there. The caller holds the lock."""
    placement.remove(home)
    for name in ("kafka", "kafka-apache", "keys", "logs", "traces"):
        shutil.rmtree(home / name, ignore_errors=True)
    for pattern in ("temporal.db*", f"{LEDGER}*", CREDENTIALS, FILE):
        for path in home.glob(pattern):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()


def _logins() -> list[tuple[Service, DatabaseRole, str]]:
    """Who logs in to the stack's Postgres: service, role, and the login's name."""
    return [(service, role, f"{service}_{role}") for service in SERVICES for role in ROLES[service]]


def _make_keyring(settings: Settings) -> None:
    """So that Temporal holds nothing in clear here either."""
    if settings.payload_keyring_file is not None:
        try:
            ensure_keyring(settings.payload_keyring_file)
        except KeyFileError as error:
            raise StackError(str(error)) from error


def _passwords(path: Path) -> dict[str, str]:
    """The stack's own passwords, made when they are first needed; mode 0600."""
    found: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}
    needed = ("admin", *(name for _, _, name in _logins()))
    made = found | {name: secrets.token_urlsafe(24) for name in needed if name not in found}
    if made != found:
        write_private(path, json.dumps(made, indent=2))
    return made
