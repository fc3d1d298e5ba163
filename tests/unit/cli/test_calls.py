"""How a refusal is shown, whatever shape its document has."""

from typing import Any

import pytest

from cli.calls import show_problem


@pytest.mark.parametrize(
    ("problem", "said"),
    [
        ({"errors": [{"message": "x"}]}, "error: refused (409): \n  ?: x (?)\n"),
        ({"errors": ["x", None]}, "error: refused (409): \n  ?: ? (?)\n  ?: ? (?)\n"),
        ({"errors": "x", "title": ["T"]}, "error: ['T'] (409): \n"),
        ({"errors": 5, "detail": {"a": 1}}, "error: refused (409): {'a': 1}\n"),
        ({"allowed_actions": 5}, "error: refused (409): \n  allowed now: nothing\n"),
        ({"allowed_actions": ["ship", 5]}, "error: refused (409): \n  allowed now: ship, 5\n"),
    ],
)
def test_a_problem_of_any_shape_is_shown(
    problem: dict[str, Any], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    show_problem(409, problem)
    assert capsys.readouterr().err == said
