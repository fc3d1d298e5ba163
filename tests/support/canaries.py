"""Where a word lies in a stack that runs: each place that keeps or shows something, read as a whole."""

import asyncio
import base64
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import asyncpg
import httpx
import psutil
from aiokafka import AIOKafkaConsumer, TopicPartition

from orderflow.settings import SERVICES
from orderflow.stack.ports import private_port
from orderflow.stack.stack import EmbeddedStack
from orderflow.stream.clients import connection_options
from support.keys import bearer_of
from support.whole_stack import owner_url

#: Processes of ours that serve metrics.
SCRAPED: Final = ("api", "workers", "relay", "gateway")
_TABLES: Final = """
    SELECT format('%I.%I', schemaname, tablename) AS name FROM pg_tables
    WHERE schemaname NOT IN ('pg_catalog', 'information_schema') ORDER BY 1
"""


async def places(stack: EmbeddedStack) -> dict[str, bytes]:
    """All that lies in each place, by its name. The gateway's ledger is left out: it is the gateway's."""
    databases = await asyncio.gather(*(_rows(owner_url(stack, service)) for service in SERVICES))
    return {
        **{f"database {service}": rows for service, rows in zip(SERVICES, databases, strict=True)},
        "topic": await _topic(stack),
        "temporal": _files(sorted(stack.data_dir.glob("temporal.db*"))),
        "logs": _files(sorted((stack.data_dir / "logs").iterdir())),
        "traces": _files(sorted((stack.data_dir / "traces").iterdir())),
        "metrics": b"".join([await _metrics(stack, name) for name in SCRAPED]),
        "argv": _of_processes(stack, "cmdline"),
        "environment": _of_processes(stack, "environ"),
    }


def hits(word: str, found: dict[str, bytes]) -> set[str]:
    """The places where ``word`` lies, in any of its ``shapes``."""
    return {place for place, content in found.items() if any(shape in content for shape in shapes(word))}


def shapes(word: str) -> list[bytes]:
    """As it stands, and as base64 at any offset: the groups of three bytes that are all its own."""
    plain = word.encode()
    found = [plain]
    for before in range(3):
        whole = (before + len(plain)) // 3 * 3
        found.append(base64.b64encode((b"." * before + plain)[:whole])[4 if before else 0 :])
    return found


async def _rows(url: str) -> bytes:
    """Every row of every table, as text."""
    connection = await asyncpg.connect(url)
    try:
        tables = [row["name"] for row in await connection.fetch(_TABLES)]
        rows = [row[0] for table in tables for row in await connection.fetch(f"SELECT t::text FROM {table} t")]
    finally:
        await connection.close()
    return "\n".join(rows).encode()


async def _topic(stack: EmbeddedStack) -> bytes:
    """Keys, values and headers of all records."""
    consumer = AIOKafkaConsumer(**connection_options(stack.settings), auto_offset_reset="earliest")
    await consumer.start()
    try:
        topic = stack.settings.kafka_topic
        parts = [TopicPartition(topic, number) for number in range(stack.settings.kafka_partitions)]
        consumer.assign(parts)
        await consumer.seek_to_beginning(*parts)
        ends = await consumer.end_offsets(parts)
        found = []
        while any([await consumer.position(part) < ends[part] for part in parts]):
            for records in (await consumer.getmany(timeout_ms=500)).values():
                for record in records:
                    headers = [text for name, value in record.headers for text in (name.encode(), value)]
                    found += [record.key or b"", record.value or b"", *headers]
        return b"\n".join(found)
    finally:
        await consumer.stop()


def _files(paths: Iterable[Path]) -> bytes:
    return b"\n".join(path.read_bytes() for path in paths if path.is_file())


async def _metrics(stack: EmbeddedStack, name: str) -> bytes:
    url = f"http://127.0.0.1:{private_port(stack.ports, name)}/metrics"
    async with httpx.AsyncClient(trust_env=False, timeout=10, headers=bearer_of(stack.settings)) as client:
        return (await client.get(url)).raise_for_status().content


def _of_processes(stack: EmbeddedStack, what: str) -> bytes:
    """``cmdline`` or ``environ`` of every process that the stack started, and of theirs."""
    found = []
    for process in psutil.Process(os.getpid()).children(recursive=True):
        try:
            found.append(Path(f"/proc/{process.pid}/{what}").read_bytes())
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has just ended
    return b"\n".join(found)
