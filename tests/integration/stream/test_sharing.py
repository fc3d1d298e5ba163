"""Somebody else in the consumer group: orders would not be tracked in silence, so it is said."""

import asyncio
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaConsumer

from operations.doctor.checks import stream
from orderflow.stream.sharing import in_words, of_others
from orderflow.stream.topic import ensure_topic
from orderflow.telemetry import meters
from orderflow.telemetry.health import Health
from orderflow.telemetry.readiness import OK, PartKind, PartState
from support.relays import settings_for
from support.stack import Databases
from support.waiting import until
from workers import tracking
from workers.shared import Shared


def test_other_stacks_are_told_by_what_they_call_themselves() -> None:
    clients = ["orderflow-0a0a0a0a", "orderflow-0b0b0b0b", "orderflow-0b0b0b0b", "rdkafka"]
    assert of_others(clients, "0a0a0a0a") == ["orderflow-0b0b0b0b", "rdkafka"]
    said = in_words("order-tracking", of_others(clients, "0a0a0a0a"))
    assert "another stack is in the consumer group order-tracking (orderflow-0b0b0b0b): " in said
    assert "somebody else (client rdkafka) is in the consumer group order-tracking: " in said
    assert of_others(clients[:1], "0a0a0a0a") == []


def test_what_others_call_themselves_is_obeyed_by_no_terminal_and_bounded() -> None:
    others = of_others([f"\x1b]0;x\x07{n}" + "x" * 10_000 for n in range(1_000)], "0a0a0a0a")
    said = in_words("order-tracking", others)
    assert said.isprintable()
    assert " and 995 more) is in" in said
    assert len(said) < 1_000


@pytest.mark.parametrize("client", ["orderflow-feedbeef", "rdkafka"])
async def test_another_stack_in_the_group_is_named_in_readiness_and_by_the_doctor_while_it_is_there(
    databases: Databases, broker: str, monkeypatch: pytest.MonkeyPatch, client: str
) -> None:
    meters.switch_on()
    monkeypatch.setattr(tracking, "SHARING_SECONDS", 0.2)
    settings = settings_for(databases, broker, tracking_group=f"tracking-{uuid4().hex[:8]}")
    await ensure_topic(settings)
    states: dict[str, PartState] = {}

    class Told(Health):
        def set(self, part: str, state: PartState) -> None:
            states[part] = state

    async def ready() -> bool:
        return states.get("tracking") == OK

    async def says_so() -> bool:
        state = states["tracking"]
        return state.kind is PartKind.WAITING and client in state.detail

    async def counted(others: float | None) -> bool:
        """What the metric says; None: nothing."""
        labels = {"group": settings.tracking_group}
        return meters.REGISTRY.get_sample_value("orderflow_consumer_group_other_stacks", labels) == others

    stopping = asyncio.Event()
    serving = asyncio.create_task(tracking.serve(settings, stopping, Told(), Shared(settings, ())))
    await until(ready, seconds=40)
    await until(lambda: counted(0), seconds=40)
    assert await stream._sharing(settings) == []
    other = AIOKafkaConsumer(
        settings.kafka_topic,
        bootstrap_servers=broker,
        group_id=settings.tracking_group,
        client_id=client,
        enable_auto_commit=False,
    )
    await other.start()
    try:
        await until(says_so, seconds=40)
        await until(lambda: counted(1))
        [line] = await stream._sharing(settings)
        assert (line.ok, client in line.detail) == (False, True)
    finally:
        await other.stop()
    await until(ready, seconds=40)
    await until(lambda: counted(0))
    stopping.set()
    await asyncio.wait_for(serving, 15)
    assert await counted(None), "nobody looks any more"
