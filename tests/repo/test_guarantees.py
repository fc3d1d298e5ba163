"""Each promise in docs/guarantees.md names a test that exists."""

import re

from support.paths import ROOT

PAGE = (ROOT / "docs" / "guarantees.md").read_text()


def test_every_test_that_is_named_exists() -> None:
    sources = [*ROOT.glob("tests/**/test_*.py"), *ROOT.glob("events/tests/**/test_*.py")]
    defined = {name for path in sources for name in re.findall(r"def (test_\w+)", path.read_text())}
    named = set(re.findall(r"`(test_\w+)`", PAGE))
    assert len(named) > 15
    assert named - defined == set()


def test_every_file_that_is_named_exists() -> None:
    assert [path for path in re.findall(r"`(tests/[\w/]+\.py)`", PAGE) if not (ROOT / path).exists()] == []


def test_every_promise_has_a_test() -> None:
    promises = [line for line in PAGE.split("## When")[0].splitlines() if line.startswith("| **")]
    assert len(promises) >= 12
    assert all("`test_" in line.rsplit("|", 2)[1] for line in promises)
