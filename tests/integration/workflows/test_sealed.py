"""Temporal holds nothing that it could read, and nobody but our workers answers a step."""

import base64
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.json_format import MessageToJson
from temporalio import activity, workflow
from temporalio.api.common.v1 import Payload
from temporalio.client import Client
from temporalio.common import RawValue
from temporalio.exceptions import ApplicationError
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from operations.replaying.replayer import make_replayer
from orderflow.domain.errors import Unavailable
from orderflow.security.keyring import Keyring, ensure_keyring, key_ids, rotate_key
from orderflow.security.sealing import KeyFileError
from orderflow.settings import Settings
from orderflow.temporal.client import connect
from orderflow.temporal.codec import ENCODING, KEY_ID, SEALED_FOR
from orderflow.temporal.converter import data_converter, keyring_of
from orderflow.temporal.names import PAYMENTS_QUEUE
from support.runs import ended, failures_of_the_code, history, settled
from support.stack import Databases
from support.waiting import until
from support.world import Handle, World, a_world, order_id

far = pytest.mark.parametrize("steps", ["far"], indirect=True)
both_ways = pytest.mark.parametrize("steps", ["near", "far"], indirect=True)
#: Of our own code's answers: nobody outside it may read them.
CANARIES = ["bread", "EUR", "authorize payment", "total", "sealed_token", "correlation"]


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step without an answer is started again soon."""
    monkeypatch.setattr("workflows.order_workflow.AFTER_A_BUG", timedelta(seconds=0.3))


async def _whole_life(world: World) -> Handle:
    handle = await world.place()
    await world.ask(handle, "approve")
    await world.reaches(handle, "FULFILLING")
    await world.ask(handle, "ship")
    assert await ended(handle) == ("SHIPPED", 4)
    return handle


def _readable(text: str) -> list[str]:
    """The canaries in a history as JSON, plain or as base64 at any offset."""
    shapes = {
        word: [word, *(base64.b64encode(b"." * n + word.encode() + b"..")[4:-4].decode() for n in range(3))]
        for word in CANARIES
    }
    return [word for word, found in shapes.items() if any(len(shape) > 3 and shape in text for shape in found)]


@both_ways
async def test_a_history_shows_nothing_that_steps_were_given_or_answered(world: World) -> None:
    handle = await _whole_life(world)
    events = await history(handle)
    shown = "".join(MessageToJson(event) for event in events)
    assert _readable(shown) == []
    replayer = make_replayer(converter=world.client.data_converter)
    await replayer.replay_workflow(await handle.fetch_history())
    # The same with a converter that reads plain only: so these words would be seen.
    told = "".join(MessageToJson(event) for event in await world.runs.history(order_id(handle), _run(events)))
    assert _readable(told)


def _run(events: Sequence[Any]) -> str:
    return str(events[0].workflow_execution_started_event_attributes.original_execution_run_id)


async def test_a_history_without_its_key_is_not_replayed_and_says_which_it_needs(world: World, tmp_path: Path) -> None:
    handle = await _whole_life(world)
    other = tmp_path / "ring"
    ensure_keyring(other)
    replayer = make_replayer(converter=data_converter(Keyring(other)))
    found = await replayer.replay_workflow(await handle.fetch_history(), raise_on_replay_failure=False)
    mine = world.settings.payload_keyring_file
    assert mine is not None
    assert f"sealed with key {key_ids(mine)[0]}, which this keyring lacks" in str(found.replay_failure)


@far
async def test_an_order_in_flight_outlives_a_rotation(
    settings: Settings, databases: Databases, tmp_path: Path, impatient: None
) -> None:
    """The API's side and the workers' read the same file, each when it looks."""
    ring = tmp_path / "ring"
    ensure_keyring(ring)
    [old] = key_ids(ring)
    own = settings.model_copy(update={"payload_keyring_file": ring})
    async with a_world(await connect(own), databases, own) as world:
        await world.stock(bread=10)
        gate = world.gateway.hold("authorize")
        handle = await world.place()
        await world.ask(handle, "approve")
        await world.gateway_is_asked("authorize")
        new = rotate_key(ring)
        gate.set()
        await world.reaches(handle, "FULFILLING")
        await world.stop_all()  # nothing is cached: the order is replayed, with payloads of both keys
        for service in ("orders", "payments", "inventory"):
            await world.start_worker(service)
        await until(lambda: _seals_with(own, new))
        await world.ask(handle, "ship")
        assert await ended(handle) == ("SHIPPED", 4)
        events = await history(handle)
    used = {key for event in events for key in (old, new) if key.encode() in event.SerializeToString()}
    assert used == {old, new}
    assert failures_of_the_code(events) == []


async def _seals_with(settings: Settings, key_id: str) -> bool:
    ring = keyring_of(settings.payload_keyring_file)
    return ring is not None and ring.newest[0] == key_id


async def test_a_keyring_that_everybody_may_read_starts_nothing(settings: Settings, tmp_path: Path) -> None:
    ring = tmp_path / "ring"
    ensure_keyring(ring)
    ring.chmod(0o644)
    with pytest.raises(Unavailable, match=r"payload keyring cannot be used: .*0600 or 0640") as refused:
        await connect(settings.model_copy(update={"payload_keyring_file": ring}))
    assert isinstance(refused.value.__cause__, KeyFileError)


# --- Strangers who answer steps ---

Answering = Callable[[Sequence[RawValue]], Any]


def _plain(data: bytes, **metadata: bytes) -> RawValue:
    return RawValue(Payload(metadata={"encoding": b"json/plain", **metadata}, data=data))


def _ok(handle_id: str) -> bytes:
    order = handle_id.removeprefix("order-")
    return f'{{"state":"ok","order_id":"{order}","step":"authorize_payment"}}'.encode()


def _sealed_by_nobody(_: Sequence[RawValue]) -> RawValue:
    place = f"{activity.info().workflow_id}|authorize_payment".encode()
    about = {"encoding": ENCODING, KEY_ID: b"2026-01-01-00000000", SEALED_FOR: place}
    return RawValue(Payload(metadata=about, data=b"x" * 80))


def _fails(_: Sequence[RawValue]) -> None:
    raise ApplicationError("no", _plain(b"{not json"), type="x", non_retryable=True)


ANSWERS: dict[str, Answering] = {
    "ok": lambda given: {"state": "ok"},
    "a plain ok that names step and order": lambda given: _plain(_ok(activity.info().workflow_id or "")),
    "one that says it was opened": lambda given: _plain(
        _ok(activity.info().workflow_id or ""), **{"orderflow-opened-with": b"2026-01-01-00000000"}
    ),
    "nothing": lambda given: None,
    "a word": lambda given: "ok",
    "what it was given": lambda given: given[0],
    "no JSON": lambda given: _plain(b"{"),
    "no encoding": lambda given: RawValue(Payload(data=b"?")),
    "sealed with a key that nobody has": _sealed_by_nobody,
    "in a storage that nobody has": lambda given: RawValue(
        Payload(metadata={"encoding": b"json/external-storage-reference"}, data=b"{}")
    ),
    "in another storage that nobody has": lambda given: _plain(b"{}", __temporal_external_storage_reference=b"true"),
    "a failure that cannot be read": _fails,
}


@asynccontextmanager
async def a_stranger(settings: Settings, answering: Answering) -> AsyncIterator[list[str]]:
    """Polls ``payments``, without a key of ours; the steps that it took."""
    taken: list[str] = []

    @activity.defn(dynamic=True)
    async def anything(given: Sequence[RawValue]) -> Any:
        taken.append(activity.info().activity_type)
        return answering(given)

    client = await Client.connect(settings.temporal_address, namespace=settings.temporal_namespace)
    async with Worker(client, task_queue=PAYMENTS_QUEUE, activities=[anything]):
        yield taken


@far
@pytest.mark.parametrize("answer", ANSWERS, ids=lambda answer: answer.replace(" ", "_"))
async def test_what_a_stranger_answers_moves_no_order(
    world: World, settings: Settings, answer: str, impatient: None
) -> None:
    await world.stop_worker("payments")
    handle = await world.place()
    async with a_stranger(settings, ANSWERS[answer]) as taken:
        await world.ask(handle, "approve")
        await until(lambda: _is(len(taken) >= 2), seconds=30)  # taken, and started again
        assert await world.statuses(handle) == ["DRAFT", "APPROVED"]
        assert world.gateway.calls == []
    await world.start_worker("payments")
    await world.reaches(handle, "FULFILLING")
    await world.ask(handle, "ship")
    assert await ended(handle) == ("SHIPPED", 4)
    assert [name for name, _ in world.gateway.calls] == ["authorize", "capture"]
    events = await history(handle)
    assert failures_of_the_code(events) == []
    await make_replayer(converter=world.client.data_converter).replay_workflow(await handle.fetch_history())


async def _is(found: bool) -> bool:
    return found


@far
async def test_what_was_no_answer_stays_none_when_its_key_comes(
    settings: Settings, databases: Databases, tmp_path: Path, impatient: None
) -> None:
    """A worker of ours whose new key has not reached the others yet: their choice is recorded, and replays with it."""
    here, there = tmp_path / "here", tmp_path / "there"
    ensure_keyring(here)
    there.write_text(here.read_text())
    there.chmod(0o600)
    rotate_key(there)
    own = settings.model_copy(update={"payload_keyring_file": here})
    async with a_world(await connect(own), databases, own) as world:
        await world.stock(bread=10)
        await world.stop_worker("payments")
        theirs = await connect(settings.model_copy(update={"payload_keyring_file": there}))
        mine, world.client = world.client, theirs
        await world.start_worker("payments")
        world.client = mine
        handle = await world.place()
        await world.ask(handle, "approve")
        await until(lambda: _no_answers(handle, 2), seconds=30)
        here.write_text(there.read_text())  # it reaches the orders worker
        await world.reaches(handle, "FULFILLING")
        await world.stop_worker("orders")  # replayed from its beginning, all of it readable now
        await world.start_worker("orders")
        await world.ask(handle, "ship")
        assert await ended(handle) == ("SHIPPED", 4)
        assert failures_of_the_code(await history(handle)) == []


async def _no_answers(handle: Handle, number: int) -> bool:
    marks = [event for event in await history(handle) if event.HasField("timer_fired_event_attributes")]
    return len(marks) >= number


# --- Strangers who ask for steps ---


@workflow.defn(name="Forged")
class Forged:
    """Runs under an order's id, on a queue of its own, and asks our workers for a capture."""

    @workflow.run
    async def run(self, asked: dict[str, Any]) -> None:
        await workflow.execute_activity(
            "capture_payment", asked, task_queue=PAYMENTS_QUEUE, start_to_close_timeout=timedelta(seconds=5)
        )


@far
async def test_a_strangers_workflow_captures_nothing(world: World, settings: Settings) -> None:
    handle = await world.place()
    await world.ask(handle, "approve")
    await world.reaches(handle, "FULFILLING")
    asked = {"order_id": str(order_id(handle)), "command_id": "w:capture:c:forged", "trace": {}}
    stranger = await Client.connect(settings.temporal_address, namespace=settings.temporal_namespace)
    await stranger.get_workflow_handle(handle.id).terminate()
    runner = UnsandboxedWorkflowRunner()
    async with Worker(stranger, task_queue="theirs", workflows=[Forged], workflow_runner=runner):
        forged = await stranger.start_workflow("Forged", asked, id=handle.id, task_queue="theirs")

        async def refused() -> bool:
            pending = (await forged.describe()).raw_description.pending_activities
            return any(one.attempt >= 2 for one in pending)

        await until(refused, seconds=30)
        assert [name for name, _ in world.gateway.calls] == ["authorize"]
        await forged.terminate()
    assert (await world.statuses(handle, "payments"))[-1] == "AUTHORIZED"


# --- Strangers who signal ---


def _unreadable(workflow_id: str) -> list[Payload]:
    there = f"{workflow_id}|".encode()
    return [
        Payload(metadata={"encoding": ENCODING, KEY_ID: b"2026-01-01-00000000", SEALED_FOR: there}, data=b"x" * 80),
        Payload(metadata={"encoding": ENCODING, SEALED_FOR: there}, data=b""),
        Payload(metadata={"encoding": ENCODING}, data=b""),
        Payload(metadata={"encoding": b"json/external-storage-reference"}, data=b"{}"),
        Payload(metadata={"encoding": b"json/plain", "__temporal_external_storage_reference": b"true"}, data=b"{}"),
    ]


async def test_a_signal_that_cannot_be_opened_is_a_look(world: World, settings: Settings) -> None:
    handle = await world.place()
    await world.ask(handle, "approve")
    await world.reaches(handle, "FULFILLING")
    stranger = await Client.connect(settings.temporal_address, namespace=settings.temporal_namespace)
    theirs = stranger.get_workflow_handle(handle.id)
    for payload in _unreadable(handle.id):
        for name in ("ship", "look"):
            await theirs.signal(name, RawValue(payload))
    state = await settled(handle)
    assert (state["status"], state["version"]) == ("FULFILLING", 3)
    await world.ask(handle, "cancel")
    assert await ended(handle) == ("CANCELLED", 4)
    assert failures_of_the_code(await history(handle)) == []


async def test_a_history_from_before_the_keyring_goes_on_with_it(settings: Settings, databases: Databases) -> None:
    """Plain until the workers have the keyring; sealed from then on."""
    plain = settings.model_copy(update={"payload_keyring_file": None})
    async with a_world(await connect(plain), databases, plain) as world:
        await world.stock(bread=10)
        handle = await world.place()
        await world.ask(handle, "approve")
        await world.reaches(handle, "FULFILLING")
        await settled(handle)
        await world.stop_all()
        world.client = await connect(settings)
        for service in ("orders", "payments", "inventory"):
            await world.start_worker(service)
        handle = world.client.get_workflow_handle(handle.id)
        await world.ask(handle, "ship")
        assert await ended(handle) == ("SHIPPED", 4)
        events = await history(handle)
        shown = b"".join(event.SerializeToString() for event in events)
        assert ENCODING in shown
        assert b"sealed_token" in shown
        assert failures_of_the_code(events) == []
        await make_replayer(converter=world.client.data_converter).replay_workflow(await handle.fetch_history())
