"""The tracking's process: a member of its consumer group, ready once it has partitions."""

import asyncio
from collections.abc import Callable

import structlog

from orderflow.domain.errors import Unavailable
from orderflow.pauses import Backoff, pause
from orderflow.postgres.databases import open_database
from orderflow.settings import Settings
from orderflow.store.database import Database
from orderflow.store.deployment import deployment_id
from orderflow.stream.gauges import ConsumerLagGauges, DeadLetterGauges, OrderGauges
from orderflow.stream.sharing import group_clients, of_others
from orderflow.stream.sharing import in_words as in_words_of_sharing
from orderflow.stream.topic import check_topic, in_words
from orderflow.stream.tracking import make_consumer
from orderflow.telemetry.health import Health
from orderflow.telemetry.meters import sampled
from orderflow.telemetry.metrics import GROUP_OTHERS
from orderflow.telemetry.readiness import STARTING, PartKind, PartState
from workers.shared import Shared

PART = "tracking"
#: Between two looks at the group's members.
SHARING_SECONDS = 30.0

log = structlog.get_logger(__name__)


async def serve(settings: Settings, stopping: asyncio.Event, health: Health, _: Shared) -> None:
    """Track until ``stopping`` is set."""

    def report(state: PartState) -> None:
        health.set(PART, state)

    report(STARTING)
    await _topic_as_it_should_be(settings, stopping, report)
    database = open_database(settings, "orders", "tracking", name=PART, pool_size=2)
    group = settings.tracking_group
    try:
        deployment = await _deployment(database, stopping, report)
        if deployment is None:
            return
        sharing = Sharing(settings, deployment, report)
        consumer = make_consumer(settings, database, sharing.report, deployment=deployment)
        with (
            sampled("consumer_lag", ConsumerLagGauges(group, consumer)),
            sampled("dead_letters", DeadLetterGauges(group, database)),
            # The orders are shown here too: this process has their database, and is one of few.
            sampled("orders", OrderGauges(database)),
        ):
            looking = asyncio.create_task(sharing.look())
            try:
                await consumer.run(stopping)
            finally:
                looking.cancel()
                await asyncio.gather(looking, return_exceptions=True)
                GROUP_OTHERS.forget(group)
    finally:
        await database.close()


class Sharing:
    """Sees now and again whether somebody else is in the group; meanwhile the tracking is not ready, and goes on."""

    def __init__(self, settings: Settings, deployment: str, report: Callable[[PartState], None]) -> None:
        self._settings = settings
        self._deployment = deployment
        self._report = report
        self._state = STARTING
        self._others: list[str] = []

    def report(self, state: PartState) -> None:
        """How the consumer stands."""
        self._state = state
        if state.kind is PartKind.OK and self._others:
            state = PartState(PartKind.WAITING, in_words_of_sharing(self._settings.tracking_group, self._others))
        self._report(state)

    async def look(self) -> None:
        """Until cancelled. What Kafka does not answer is asked again the next time."""
        while True:
            try:
                others = of_others(await group_clients(self._settings), self._deployment)
            except Unavailable as error:
                log.info("group_not_seen", group=self._settings.tracking_group, detail=error.detail)
                GROUP_OTHERS.forget(self._settings.tracking_group)
            except Exception:
                log.exception("unexpected_error", where="looking who is in the group")
                GROUP_OTHERS.forget(self._settings.tracking_group)
            else:
                GROUP_OTHERS.set(len(others), self._settings.tracking_group)
                if others and others != self._others:
                    log.error("group_is_shared", group=self._settings.tracking_group, others=others)
                if others != self._others:
                    self._others = others
                    self.report(self._state)
            await asyncio.sleep(SHARING_SECONDS)


async def _deployment(database: Database, stopping: asyncio.Event, report: Callable[[PartState], None]) -> str | None:
    """Which stack this is; None: stopped before the database said so."""
    backoff = Backoff()
    while not stopping.is_set():
        try:
            return await deployment_id(database)
        except Unavailable as error:
            report(PartState(PartKind.WAITING, f"{error.dependency} {error.complaint}: {error.detail}"))
            await pause(backoff.next(), stopping)
    return None


async def _topic_as_it_should_be(
    settings: Settings, stopping: asyncio.Event, report: Callable[[PartState], None]
) -> None:
    # Subscribing to a topic that is not there can create it, with the broker's defaults.
    backoff = Backoff()
    while not stopping.is_set():
        try:
            differences = await check_topic(settings)
            problem = in_words(differences)
            if not any(difference.stops for difference in differences):
                if problem:
                    log.warning("topic_differs", topic=settings.kafka_topic, differences=problem)
                return
        except Exception as error:
            problem = f"{type(error).__name__}: {error}"
        report(PartState(PartKind.WAITING, f"topic {settings.kafka_topic}: {problem}"))
        log.warning("topic_not_ready", topic=settings.kafka_topic, problem=problem)
        await pause(backoff.next(), stopping)
