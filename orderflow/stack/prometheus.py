"""A Prometheus beside an embedded stack: it scrapes the stack's processes and evaluates alert rules.

The binary is the Debian package's; it is no Python package, so ``orderflow up`` does without. Targets stand in a file
of their own, which Prometheus reads again when it changes: a stack that is started again elsewhere is found again.
"""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx

from orderflow.stack.errors import StackError
from orderflow.stack.ports import LOOPBACK, private_port
from orderflow.stack.probes import child_environment, http_answers
from orderflow.stack.processes import Spec
from orderflow.stack.records import Record, write_private

BINARY: Final = "prometheus"
#: The jobs of ``deploy/prometheus/prometheus.yml``.
JOB: Final = "orderflow"
SIMULATOR_JOB: Final = "gateway-simulator"
#: Of the stack's processes those that serve no metrics of ours.
SERVERS: Final = ("postgres", "temporal", "kafka", "codec")
RETENTION: Final = "15d"


@dataclass(frozen=True, slots=True)
class Prometheus:
    """One server. ``home``: its folder, for data, configuration and targets. ``rules``: a file of alert rules.

    ``scrape_seconds`` is also how often rules are evaluated, unless ``evaluate_seconds`` says.
    """

    home: Path
    port: int
    rules: Path
    scrape_seconds: float = 5.0
    evaluate_seconds: float | None = None

    @property
    def url(self) -> str:
        """Its page and its API."""
        return f"http://{LOOPBACK}:{self.port}"

    def prepare(self, record: Record) -> None:
        """Write what it reads at its start. ``record``: the stack's."""
        self.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        # JSON is YAML.
        write_private(self.home / "prometheus.yml", json.dumps(self._configuration(), indent=2))
        self.retarget(record)

    def retarget(self, record: Record) -> None:
        """Scrape the processes of ``record`` from now on."""
        for job, targets in targets_of(record).items():
            groups = [
                {"targets": [f"{LOOPBACK}:{port}"], "labels": {"process": name}} for name, port in targets.items()
            ]
            write_private(self.home / f"{job}.json", json.dumps(groups, indent=2))

    def spec(self) -> Spec:
        """How to run it, after ``prepare``. Raises StackError, which says what to install, without the binary."""
        return Spec(
            name="prometheus",
            argv=[
                str(binary()),
                *("--config.file", str(self.home / "prometheus.yml"), "--storage.tsdb.path", str(self.home / "data")),
                *("--storage.tsdb.retention.time", RETENTION, "--web.listen-address", f"{LOOPBACK}:{self.port}"),
                *("--log.level", "warn"),
            ],
            env=child_environment(),
            cwd=self.home,
            ready=http_answers(self.port, "/-/ready"),
        )

    def _configuration(self) -> Mapping[str, Any]:
        return {
            "global": {
                "scrape_interval": _duration(self.scrape_seconds),
                "scrape_timeout": _duration(min(self.scrape_seconds, 5.0)),
                "evaluation_interval": _duration(self.evaluate_seconds or self.scrape_seconds),
            },
            "rule_files": [str(self.rules)],
            "scrape_configs": [
                {
                    "job_name": job,
                    "file_sd_configs": [{"files": [str(self.home / f"{job}.json")], "refresh_interval": "5s"}],
                }
                for job in (JOB, SIMULATOR_JOB)
            ],
        }


@dataclass(frozen=True, slots=True)
class Alert:
    """An alert that fires: its name, what it says, and where the runbook tells what to do."""

    name: str
    summary: str
    runbook_url: str


async def firing(client: httpx.AsyncClient) -> dict[str, Alert]:
    """The alerts that fire now, by their labels; ``client`` leads to the Prometheus. Raises httpx.HTTPError."""
    alerts = (await client.get("/api/v1/alerts")).raise_for_status().json()["data"]["alerts"]
    return {
        str(sorted(alert["labels"].items())): Alert(
            alert["labels"]["alertname"], alert["annotations"]["summary"], alert["annotations"]["runbook_url"]
        )
        for alert in alerts
        if alert["state"] == "firing"
    }


def targets_of(record: Record) -> dict[str, dict[str, int]]:
    """By job: the port of each process that serves metrics, also of those that are down now."""
    served = [name for name in record.links if name in record.ports and name not in SERVERS]
    ports = {name: private_port(record.ports, name) for name in served}
    simulator = {name: ports.pop(name) for name in ("gateway",) if name in ports}
    return {JOB: ports, SIMULATOR_JOB: simulator}


def binary() -> Path:
    """Where it is. Raises StackError with what to install."""
    found = shutil.which(BINARY)
    if found is None:
        raise StackError(
            "prometheus is not installed: `apt-get install prometheus` (or another system's package of that name), "
            "or `docker compose up prometheus grafana` for the stack of docker-compose.yml"
        )
    return Path(found)


def _duration(seconds: float) -> str:
    return f"{round(seconds * 1000)}ms"
