"""How the stack of this folder looks on a terminal. Nothing here asks anybody anything."""

import shlex
import sys
from collections.abc import Iterable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Final

from rich import box
from rich.console import RenderableType
from rich.table import Column, Table
from rich.text import Text

from operations.words import duration
from orderflow.settings import Settings
from orderflow.stack.control import Running

WHAT: Final = {
    "postgres": "PostgreSQL",
    "temporal": "Temporal and its Web UI",
    "kafka": "Kafka-protocol broker",
    "gateway": "Payment gateway simulator",
    "workers": "Workers of the three queues",
    "orders": "Worker: orders",
    "payments": "Worker: payments",
    "inventory": "Worker: inventory",
    "relay": "Relay and tracking",
    "codec": "Opens payloads for the Web UI",
    "api": "HTTP API",
}


def started(processes: Iterable[str], links: Mapping[str, str]) -> RenderableType:
    """What runs, and where it is reached."""
    table = Table("", "what", Column("where", overflow="fold"), box=box.SIMPLE)
    for name in processes:
        table.add_row(name, WHAT[name], _link(links.get(name, "")))
    return table


def export(settings: Settings) -> str:
    """The line to paste into another terminal: the commands' folder, the addresses, and the file with a key."""
    addresses = {
        "API": settings.api_url,
        "AUTH": f"@{settings.api_key_file}",
        "KAFKA": settings.kafka_bootstrap_servers,
        "TEMPORAL_ADDRESS": settings.temporal_address,
    }
    folder = Path(sys.executable).parent  # not resolved: a virtual environment's python is a link
    variables = " ".join(f"{name}={shlex.quote(value)}" for name, value in addresses.items())
    return f'export PATH={shlex.quote(str(folder))}:"$PATH" {variables}'


def running(processes: Iterable[Running]) -> RenderableType:
    """Each process with its pid, state, age and memory."""
    table = Table("", "pid", "state", "for", "memory", Column("where", overflow="fold"), box=box.SIMPLE)
    for process in processes:
        state = Text("runs", "green") if process.alive else Text("gone", "red")
        if process.frozen:
            state = Text("frozen", "red")
        memory = f"{process.memory_bytes / 2**20:.0f} MiB"
        table.add_row(
            process.name,
            str(process.pid),
            state,
            duration(timedelta(seconds=process.seconds)),
            memory,
            _link(process.link),
        )
    return table


def _link(where: str) -> Text:
    return Text(where, f"link {where}" if where.startswith("http") else "")
