"""What is made from code is as the code says, every file of it; and the check finds what is not."""

from functools import partial
from pathlib import Path

import pytest

from orderflow.domain.lifecycle import Lifecycle, Transition
from orderflow_events.models import OrderStateChanged
from tools.generate import __main__ as generate
from tools.generate import transitions
from tools.generate.__main__ import ROOT, State
from tools.generate.statements import statements


def test_everything_generated_is_current() -> None:
    assert [(str(path), state.value) for path, state, _ in generate.differences()] == [], "run: make generate"


def test_the_check_finds_what_is_missing_changed_or_left_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert generate.main(["--check"], tmp_path) == 1
    assert list(tmp_path.iterdir()) == []
    assert generate.main([], tmp_path) == 0
    assert generate.main(["--check"], tmp_path) == 0
    changed, left_over = Path("docs/metrics.md"), Path("events/schemas/ORDER_LOST.1.json")
    (tmp_path / changed).write_text("# Metrics")
    (tmp_path / left_over).write_text("{}")
    found = [(path, state) for path, state, _ in generate.differences(tmp_path)]
    assert found == [(changed, State.OUTDATED), (left_over, State.LEFT_OVER)]
    capsys.readouterr()
    assert generate.main(["--check"], tmp_path) == 1
    assert capsys.readouterr().out.splitlines() == [
        "docs/metrics.md: out of date",
        "events/schemas/ORDER_LOST.1.json: left over, no generator makes it",
        "run: make generate",
    ]
    assert generate.main([], tmp_path) == 0
    assert generate.differences(tmp_path) == []
    assert not (tmp_path / left_over).exists()


def test_a_schema_that_breaks_a_released_one_fails_the_check(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("events.generate.broken", lambda _: ["PAYMENT_CAPTURED.1.json: data has lost capture_id"])
    assert generate.main(["--check"]) == 1
    assert "data has lost capture_id" in capsys.readouterr().out


def test_a_lifecycle_that_no_migration_tells_the_database_fails_the_check(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert transitions.missing(ROOT / "migrations") == []
    known = transitions.LIFECYCLES["orders"]
    returned = Transition("return", ("SHIPPED",), "CANCELLED", OrderStateChanged)
    without_complete = [one for one in known.transitions if one.command != "complete"]
    changed = {**transitions.LIFECYCLES, "orders": Lifecycle("order", *without_complete, returned)}
    monkeypatch.setattr(transitions, "missing", partial(transitions.missing, lifecycles=changed))
    assert generate.main(["--check"]) == 1
    assert (
        "the LIFECYCLE of orders is not what its database allows: add a migration in migrations/orders with"
        " INSERT INTO transitions (from_status, to_status) VALUES ('SHIPPED', 'CANCELLED');"
        " DELETE FROM transitions WHERE (from_status, to_status) IN (('SHIPPED', 'COMPLETED'));"
    ) in capsys.readouterr().out


def test_later_migrations_add_to_the_transitions_and_take_from_them(tmp_path: Path) -> None:
    words = "INSERT INTO transitions (from_status, to_status) VALUES\n    ('', 'A'), -- made\n    ('A', 'B');"
    (tmp_path / "1_first.sql").write_text(f"-- migrate:up\n{words}\n-- migrate:down\nDELETE FROM transitions;\n")
    taken = "DELETE FROM transitions WHERE (from_status, to_status) IN (('A', 'B'));"
    added = "INSERT INTO transitions (from_status, to_status) VALUES ('A', 'C');"
    (tmp_path / "2_second.sql").write_text(f"-- migrate:up\n{added}\n{taken}\n-- migrate:down\n{words}\n")
    assert transitions.migrated(tmp_path) == {(None, "A"), ("A", "C")}


def test_every_statement_says_in_a_sentence_what_it_does_and_is_named_after_its_module() -> None:
    for module, own in statements().items():
        for statement in own:
            assert statement.name.partition(".")[0] == module.__name__.rpartition(".")[2]
            assert statement.about[0].isupper(), statement.name
            assert statement.about.endswith("."), statement.name
            assert statement.text, statement.name


def test_the_statements_that_are_made_from_a_lifecycle_are_among_them() -> None:
    names = {statement.name for own in statements().values() for statement in own}
    assert {"orders.approve", "payments.authorize", "reservations.commit", "order_views.page"} <= names
