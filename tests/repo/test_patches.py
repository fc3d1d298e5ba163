"""The planted bugs are fit to be planted: ``make mutants`` does so, and takes minutes."""

import re
from pathlib import Path

import pytest

from tools.mutants.patches import ROOT, PatchError, apply, function_of, load, read
from tools.mutants.run import Case, Ran, judged

MUTANTS = load()
SOUND = """breaks: Stock is never oversold.
bug: A constraint was dropped.
caught-by: tests/integration/store/test_invariants.py::test_stock_is_never_negative_nor_oversold

--- a/migrations/inventory/20261123000010_inventory.sql
+++ b/migrations/inventory/20261123000010_inventory.sql
"""


def test_each_patch_applies_to_the_code_as_it_is() -> None:
    refused = []
    for mutant in MUTANTS:
        try:
            apply(mutant, ROOT, check=True)
        except PatchError as error:
            refused.append(str(error))
    assert refused == []


def test_each_patch_names_tests_that_exist() -> None:
    missing = []
    for node_id in {node_id for mutant in MUTANTS for node_id in mutant.caught_by}:
        file = ROOT / node_id.partition("::")[0]
        source = file.read_text(encoding="utf-8") if file.exists() else ""
        if not re.search(rf"^(?:async )?def {function_of(node_id)}\(", source, re.MULTILINE):
            missing.append(node_id)
    assert missing == []


def test_there_are_enough_and_no_two_are_the_same() -> None:
    assert len(MUTANTS) >= 20
    diffs = [mutant.path.read_text(encoding="utf-8").partition("\n--- a/")[2] for mutant in MUTANTS]
    assert len(set(diffs)) == len(MUTANTS)


@pytest.mark.parametrize(
    ("change", "refusal"),
    [
        (("caught-by", "found-by"), "not a line of a patch's head"),
        (("bug: A constraint was dropped.\n", ""), "it needs one breaks"),
        (("tests/integration/store", "store"), "not the name of a test"),
        (("+++ b/migrations/", "+++ b/tests/"), "no product code"),
        (("--- a/", "~~~ a/"), "no unified diff"),
    ],
)
def test_a_patch_that_is_not_as_agreed_is_named(tmp_path: Path, change: tuple[str, str], refusal: str) -> None:
    path = tmp_path / "oversold.patch"
    path.write_text(SOUND)
    assert read(path).slug == "oversold"
    path.write_text(SOUND.replace(*change))
    with pytest.raises(PatchError, match=f"oversold.patch.*{refusal}"):
        read(path)


def test_a_patch_that_no_longer_applies_is_named(tmp_path: Path) -> None:
    with pytest.raises(PatchError, match=f"{MUTANTS[0].slug}.patch no longer applies"):
        apply(MUTANTS[0], tmp_path)


@pytest.mark.parametrize(
    ("code", "case", "state"),
    [
        (1, Case("test_x[1]", "failed", "AssertionError: assert 2 == 1"), "caught"),
        (1, Case("test_x", "failed", "TimeoutError: not in 10 s"), "caught"),
        (1, Case("test_x", "failed", "ImportError: cannot import name"), "BROKEN"),
        (1, Case("test_x", "failed", "asyncpg.exceptions.PostgresSyntaxError: at or near"), "BROKEN"),
        (1, Case("test_x", "error", "failed on setup with RuntimeError"), "BROKEN"),
        (1, Case("test_xy", "failed", "AssertionError: assert 2 == 1"), "BROKEN"),
        (0, Case("test_x", "passed", ""), "SURVIVED"),
        (0, Case("test_x", "skipped", "no Java"), "SURVIVED"),
        (2, Case("", "error", "collection failure"), "BROKEN"),
        (None, Case("test_x", "passed", ""), "BROKEN"),
    ],
)
def test_only_a_failure_of_the_named_test_catches_a_bug(code: int | None, case: Case, state: str) -> None:
    assert judged(Ran(code, (case,), 1.0), "tests/a/test_b.py::test_x")[0] == state
