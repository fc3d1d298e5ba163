"""The generated schemas say what the models accept, and break no released one."""

import copy
import json
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar, Literal
from uuid import UUID

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft7Validator
from pydantic import ValidationError

from events.compatibility import incompatibilities
from events.generate import HERE, RELEASED, asyncapi, broken, schemas, value_schema
from orderflow_events.envelope import encode
from orderflow_events.models import EVENTS, Event, OrderStateChanged, PaymentFailed, Reason, Refusals, parse_data

Schemas = dict[str, dict[str, Any]]


def test_no_released_schema_is_broken() -> None:
    assert broken(schemas()) == []
    assert sorted(path.name for path in RELEASED.glob("*.json"))


def plant(change: Callable[[dict[str, Any]], Any], name: str = "PAYMENT_FAILED.1.json") -> list[str]:
    """What the check says when the released schemas' ``data`` had been changed so in a new release."""
    current: Schemas = {path.name: json.loads(path.read_text()) for path in RELEASED.glob("*.json")}
    assert broken(current) == []
    changed = copy.deepcopy(current[name])
    change(changed["properties"]["data"])
    assert changed != current[name]
    return broken(current | {name: changed})


def rename(data: dict[str, Any]) -> None:
    data["properties"]["cents"] = data["properties"].pop("amount")
    data["required"] = ["cents", "currency", "reason"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda data: data["properties"].pop("reason"), "has lost reason"),
        (rename, "has lost amount"),
        (lambda data: data["properties"]["amount"].update(type="number"), "type of data.amount was integer"),
        (lambda data: data["properties"]["amount"].update(type=["integer", "null"]), "type of data.amount"),
        (lambda data: data["properties"]["amount"].update(minimum=1), "minimum of data.amount"),
        (lambda data: data["required"].remove("amount"), "amount is no longer required"),
        (lambda data: data["properties"]["reason"].update(enum=["fraud"]), "enum of data.reason"),
        (
            lambda data: (data["properties"].update(issuer={"type": "string"}), data["required"].append("issuer")),
            "issuer is required",
        ),
        (lambda data: data.update(additionalProperties=False), "additionalProperties"),
    ],
)
def test_an_incompatible_change_is_found(change: Callable[[dict[str, Any]], Any], said: str) -> None:
    problems = plant(change)
    assert problems
    assert all(problem.startswith("PAYMENT_FAILED.1.json: ") for problem in problems)
    assert said in "\n".join(problems)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda data: data["properties"]["lines"]["items"]["properties"].pop("sku"), "has lost sku"),
        (lambda data: data["properties"]["lines"].update(items={"type": "string"}), "has lost quantity"),
        (
            lambda data: data["properties"]["reference"].update(anyOf=[{"type": "integer"}, {"type": "null"}]),
            "data.reference was null or string, and is integer or null",
        ),
        (lambda data: data["properties"]["reference"].update(default=""), "default of data.reference"),
    ],
)
def test_an_incompatible_change_further_down_is_found(change: Callable[[dict[str, Any]], Any], said: str) -> None:
    assert said in "\n".join(plant(change, "ORDER_CREATED.1.json"))


def test_a_type_that_is_gone_is_found() -> None:
    current = schemas()
    del current["PAYMENT_VOIDED.1.json"]
    assert broken(current) == ["PAYMENT_VOIDED.1.json: it is released, and gone"]


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data["properties"].update(issuer={"type": "string", "default": None}),
        lambda data: data.update(description="Said better."),
        lambda data: data["properties"]["reason"]["examples"].append("fraud"),
    ],
)
def test_a_compatible_change_passes(change: Callable[[dict[str, Any]], Any]) -> None:
    assert plant(change) == []


def test_an_optional_property_deep_inside_passes() -> None:
    def change(data: dict[str, Any]) -> None:
        [refusals, _] = data["properties"]["refusals"]["anyOf"]
        refusals["description"] = "Said better."
        refusals["properties"]["fraud"] = {"type": "boolean", "default": False}

    assert plant(change, "ORDER_STATE_CHANGED.1.json") == []


def test_a_changed_model_is_judged_by_its_schema() -> None:
    class Renamed(Event):
        type: ClassVar[str] = "PAYMENT_FAILED"
        source: ClassVar[str] = "/orderflow/payments"
        cents: int
        currency: str
        reason: Reason

    class ClosedReasons(PaymentFailed):
        reason: Literal["payment_declined", "fraud"]

    class Wider(PaymentFailed):
        """The authorization was declined; the bank may say more."""

        issuer: str | None = None

    released = value_schema(PaymentFailed)
    assert incompatibilities(released, value_schema(Renamed))
    assert incompatibilities(released, value_schema(ClosedReasons))
    assert incompatibilities(released, value_schema(Wider)) == []


def test_a_release_of_a_planted_change_is_refused(tmp_path: Path) -> None:
    events = tmp_path / "events"
    subprocess.run(["cp", "-r", str(HERE), str(events)], check=True)
    models = events / "orderflow_events" / "models.py"

    def release() -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, "-m", "events.generate", "--release"],
            cwd=tmp_path,
            env={"PYTHONPATH": f"{tmp_path}:{events}"},
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stderr

    assert release() == (0, "")
    models.write_text(models.read_text().replace("capture_id: str", "capture: str"))
    code, said = release()
    assert code == 1
    assert "PAYMENT_CAPTURED.1.json: data has lost capture_id" in said
    assert "capture_id" in (events / "schemas" / "released" / "PAYMENT_CAPTURED.1.json").read_text()


def value(model: type[Event], data: dict[str, Any]) -> dict[str, Any]:
    record = encode(
        source=model.source,
        type=model.type,
        order_id=UUID("6f2d1c3e-0000-4000-8000-000000000001"),
        version=1,
        status="X",
        recorded_at=datetime(2026, 11, 23, tzinfo=UTC),
        correlation_id="c",
        traceparent=None,
        data=data,
    )
    decoded: dict[str, Any] = json.loads(record.value)
    return decoded


@given(st.sampled_from(sorted(EVENTS)).flatmap(lambda name: st.builds(EVENTS[name])), st.booleans())
def test_what_is_sent_is_valid_with_and_without_its_nulls(event: Event, nulls: bool) -> None:
    validator = Draft7Validator(value_schema(type(event)), format_checker=Draft7Validator.FORMAT_CHECKER)
    data = event.model_dump(mode="json", exclude_none=not nulls)
    validator.validate(value(type(event), data))


def test_what_a_model_refuses_its_schema_refuses() -> None:
    validator = Draft7Validator(value_schema(OrderStateChanged))
    assert validator.is_valid(value(OrderStateChanged, {"from": "APPROVED", "to": "SHIPPED", "new": 1}))
    for data in ({"to": "SHIPPED"}, {"from": 1, "to": "SHIPPED"}, {"from": "A", "to": "B", "reason": 7}):
        assert not validator.is_valid(value(OrderStateChanged, data))


def test_the_asyncapi_document_names_every_event_and_every_reference_leads_somewhere() -> None:
    document = yaml.safe_load((HERE / "asyncapi.yaml").read_text())
    assert document == asyncapi()
    assert set(document["channels"]["orderEvents"]["messages"]) == set(EVENTS)

    def references(part: Any) -> list[str]:
        if isinstance(part, dict):
            own = [part["$ref"]] if isinstance(part.get("$ref"), str) else []
            return own + [reference for inner in part.values() for reference in references(inner)]
        return [reference for inner in part for reference in references(inner)] if isinstance(part, list) else []

    for reference in references(document):
        file, _, pointer = reference.partition("#")
        target: Any = json.loads((HERE / file).read_text()) if file else document
        for step in filter(None, pointer.split("/")):
            target = target[step]
        assert target


def test_a_word_that_a_newer_release_says_is_kept_as_it_came() -> None:
    """No consumer holds an order for it."""
    cancelled = OrderStateChanged.model_validate(
        {"from": "APPROVED", "to": "ON_HOLD", "reason": "fraud", "refusals": {"payment": "fraud", "inventory": None}}
    )
    assert (cancelled.to, cancelled.reason, cancelled.refusals) == ("ON_HOLD", "fraud", Refusals(payment="fraud"))
    failed = parse_data("INVENTORY_FAILED", {"reason": "recalled", "shortages": []})
    assert failed.model_dump()["reason"] == "recalled"
    for event in (cancelled, failed):
        Draft7Validator(value_schema(type(event))).validate(value(type(event), event.model_dump(mode="json")))


@pytest.mark.parametrize("reason", [7, None, ["fraud"], {"code": "fraud"}])
def test_what_is_no_word_is_refused(reason: object) -> None:
    with pytest.raises(ValidationError):
        parse_data("PAYMENT_FAILED", {"amount": 1, "currency": "USD", "reason": reason})
