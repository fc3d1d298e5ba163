"""The topic is deleted and made anew while relays are connected; then an operator does what the documentation says."""

import asyncio
import sys
import time
from typing import Final

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from orderflow.settings import SERVICES
from orderflow.stack.errors import StackError
from orderflow.stream.topic import TopicDiffers, ensure_topic
from tools.chaos.arena import Arena
from tools.chaos.databases import Databases

#: For what a broker does when it is asked to.
BROKER_SECONDS: Final = 60.0
#: Above the 30 s between two looks of a relay: what has not been noticed then is no loss.
NOTICED_WITHIN_SECONDS: Final = 40.0
REPAIRED_WITHIN_SECONDS: Final = 180.0
COMMAND_SECONDS: Final = 60.0
_REPUBLISH: Final = ("outbox", "republish", "--stopped", "--yes")


async def make_topic_anew(arena: Arena, databases: Databases, *, unseen: bool) -> int:
    """Delete the topic, make it again, and repair it: how often partitions were found stopped.

    ``unseen``: clients hear nothing between the two, and stay connected; the small broker makes a topic, as it thinks
    fit, for any client that asks for it. Raises RuntimeError if the topic cannot be made, or partitions stay stopped.
    """
    began = time.time()
    if unseen or not arena.strict:
        arena.proxy.hang()
    try:
        await _delete_and_make(arena)
    finally:
        arena.proxy.go_on()
    made_at = time.monotonic()
    found = 0
    while True:
        stopped = await stopped_partitions(databases)
        if stopped:
            found += stopped
            await republish_stopped(arena)
        elif time.monotonic() > made_at + NOTICED_WITHIN_SECONDS:
            break
        if time.monotonic() > made_at + REPAIRED_WITHIN_SECONDS:
            raise RuntimeError(f"{stopped} partitions are still stopped {REPAIRED_WITHIN_SECONDS:.0f} s later")
        await asyncio.sleep(1)
    arena.topic_made_anew.append((began, time.time()))
    return found


async def stopped_partitions(databases: Databases) -> int:
    """Of all three services."""
    found = [await databases.admin("SELECT FROM stopped_partitions", database=service) for service in SERVICES]
    return sum(map(len, found))


async def republish_stopped(arena: Arena) -> None:
    """``orderflow outbox republish --stopped``: again later where it could not, as another fault is under way."""
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "cli.main", *_REPUBLISH),
        cwd=arena.stack.data_dir,
        env=arena.stack.env,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(COMMAND_SECONDS):
            output, _ = await child.communicate()
    except TimeoutError:
        child.kill()
        await child.wait()
        output = b"it took too long"
    with (arena.folder / "operator.log").open("ab") as log:
        log.write(f"{time.time():.3f} orderflow {' '.join(_REPUBLISH)}: {child.returncode}\n".encode() + output)


async def _delete_and_make(arena: Arena) -> None:
    settings = arena.stack.settings.model_copy(update={"kafka_bootstrap_servers": arena.broker})
    deadline = time.monotonic() + BROKER_SECONDS
    admin = AIOKafkaAdminClient(bootstrap_servers=arena.broker)
    await admin.start()
    try:
        await admin.delete_topics([settings.kafka_topic])
        while settings.kafka_topic in await admin.list_topics():
            if time.monotonic() > deadline:
                raise RuntimeError("the broker does not delete the topic")
            await asyncio.sleep(0.05)
    finally:
        await admin.close()
    while True:
        try:
            # False: some client has asked for it by its name, and the broker's own defaults made it.
            if await ensure_topic(settings):
                return
            problem: Exception = StackError("somebody else made the topic")
        except (TopicDiffers, KafkaError, OSError) as error:  # Apache Kafka deletes in the background
            problem = error
        if time.monotonic() > deadline:
            raise RuntimeError("the topic cannot be made again") from problem
        await asyncio.sleep(0.2)
