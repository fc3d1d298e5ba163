"""A dead letter is shown whatever its record is: what nobody can read is what becomes one."""

import json
from datetime import UTC, datetime

import pytest
from typer.testing import CliRunner

from cli.pages.dead_letters import MOST_NESTED, document
from cli.screen import json_text
from orderflow_events.dead_letters import DeadLetter

AT = datetime(2026, 11, 23, tzinfo=UTC)


def letter(value: bytes | None, *headers: tuple[str, bytes | None]) -> DeadLetter:
    said = ("undecodable", "EnvelopeError: no", 1, AT, AT, AT, "order.events", 3, 41, 0)
    return DeadLetter(7, "order-tracking", None, *said, None, value, headers)  # type: ignore[arg-type]


def nested(levels: int) -> bytes:
    return b"[" * levels + b"]" * levels


def test_a_null_is_null_in_its_document() -> None:
    said = document(letter(None, ("a", None), ("b", b"\xff")), whole=True)
    assert (said["key"], said["headers"], said["value"]) == (None, {"a": None, "b": "\ufffd"}, "")


@pytest.mark.parametrize("levels", [MOST_NESTED + 1, 400, 2_000, 100_000])
@pytest.mark.parametrize("around", [b"%s", b'{"data": %s}'])
def test_a_value_that_is_nested_too_deep_is_its_text(levels: int, around: bytes) -> None:
    value = around % nested(levels)
    said = document(letter(value), whole=True)
    assert said["value"] == value.decode()
    assert json.loads(json_text([said], indent=2)) == [said]


@pytest.mark.parametrize("inside", [b"", b"1, {}", b'"x"'])
def test_a_value_that_is_not_is_its_json(inside: bytes) -> None:
    value = nested(MOST_NESTED - 1).replace(b"[]", b"[" + inside + b"]")
    said = document(letter(value), whole=True)
    assert said["value"] == json.loads(value)
    assert json.loads(json_text([said], indent=2)) == [said]


def test_a_null_is_shown_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    async def read(*_: object, **__: object) -> list[DeadLetter]:
        return [letter(nested(2_000), ("a", None))]

    monkeypatch.setattr("operations.dead_letters.read", read)
    monkeypatch.setattr("cli.dlq.running_settings", lambda: None)
    from cli.dlq import app

    shown = CliRunner().invoke(app, ["show", "7"])
    assert (shown.exception, shown.exit_code) == (None, 0)
    assert "  a: -\n" in shown.output
