"""`orderflow replay` and `orderflow debug`, from files: what replays, and how a difference is named."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path

import pytest
import typer
from temporalio.client import WorkflowHistory

from cli.replaying import _span
from operations.replaying.difference import Difference, describe, difference
from operations.replaying.replayer import failing_task, replay
from support.terminal import Terminal
from tools.histories.golden import files, load
from unit.workflows import test_gate as changes

HAPPY, HAPPY_FAR = files("happy_path")[0], files("happy_path_far")[0]
#: Of an order that no change here concerns.
OTHER = files("cancelled_before_its_first_task")[0]
Patch = pytest.MonkeyPatch


async def histories(*paths: Path) -> AsyncIterator[WorkflowHistory]:
    for path in paths:
        yield load(path)


async def test_all_recorded_histories_replay_in_one_go() -> None:
    done = await replay(histories(*files()))
    assert (done.count, done.failed) == (len(files()), 0)
    assert done.events > 500
    assert done.rate > 1


@pytest.mark.parametrize(
    ("change", "history", "recorded", "wanted"),
    [
        (
            changes._two_steps_reordered,
            HAPPY_FAR,
            "ACTIVITY_TASK_SCHEDULED authorize_payment",
            "activity command reserve_inventory",
        ),
        (
            changes._two_steps_reordered,
            HAPPY,
            "MARKER_RECORDED authorize_payment",
            "local activity command reserve_inventory",
        ),
        (changes._a_timer_more, HAPPY_FAR, "ACTIVITY_TASK_SCHEDULED authorize_payment", "timer command"),
        (changes._a_step_less, HAPPY_FAR, "ACTIVITY_TASK_SCHEDULED commit_inventory", "no command"),
        # Local activities are counted: what comes after a missing one has its number.
        (changes._a_step_less, HAPPY, "MARKER_RECORDED end_ship", "no command"),
    ],
)
async def test_the_first_event_that_differs_is_named(
    change: Callable[[Patch], None], history: Path, recorded: str, wanted: str, monkeypatch: Patch
) -> None:
    change(monkeypatch)
    done = await replay(histories(history, OTHER))
    assert (done.count, done.failed) == (2, 1)
    found = done.failures[0].difference
    assert (found.recorded, found.wanted) == (recorded, wanted)
    assert found.event_id == next(e.event_id for e in load(history).events if describe(e) == recorded)
    assert "TMPRL1100" in found.message


async def test_code_that_fails_is_told_from_code_that_differs(monkeypatch: Patch) -> None:
    changes._answers_that_cannot_be_read(monkeypatch)
    [failure] = (await replay(histories(HAPPY))).failures
    assert not failure.difference.nondeterministic
    assert failure.difference.event_id == 4
    assert "validation error" in failure.difference.message


async def test_the_failing_task_is_found_among_all(monkeypatch: Patch) -> None:
    changes._a_step_less(monkeypatch)
    window = await failing_task(load(HAPPY_FAR))
    assert "ACTIVITY_TASK_SCHEDULED commit_inventory" in [describe(event) for event in window]
    assert len(window) < 15


def test_a_message_that_says_nothing_of_an_event_is_still_shown() -> None:
    found = difference(RuntimeError('Nondeterminism { message: "something \\"new\\"" }'), [])
    assert found == Difference(None, None, None, 'something "new"')


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("90s", timedelta(seconds=90)),
        ("15m", timedelta(minutes=15)),
        ("1h", timedelta(hours=1)),
        ("2d", timedelta(days=2)),
        ("1h30m", timedelta(minutes=90)),
    ],
)
def test_a_span_of_time(text: str, span: timedelta) -> None:
    assert _span(text) == span


@pytest.mark.parametrize("text", ["", "soon", "15", "h", "1h!", "-1h", "9999999999d"])
def test_what_is_no_span_of_time(text: str) -> None:
    with pytest.raises(typer.Exit) as leaving:
        _span(text)
    assert leaving.value.exit_code == 2


async def test_files_from_the_terminal(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path)
    said = await terminal.run("replay", "--file", str(HAPPY), "--file", str(OTHER))
    assert (said.code, said.out.partition(",")[0]) == (0, "2 histories")
    (tmp_path / "other.json").write_text('{"events": []}')
    (tmp_path / "none.json").write_text("no")
    for name, why in (("other.json", "holds no history from"), ("none.json", "holds no history"), ("away", "No such")):
        said = await terminal.run("replay", "--file", name, "--json")
        assert said.code == 1
        assert why in said.err
    assert (await terminal.run("replay", "--file", str(HAPPY), "--since", "1h")).code == 2


async def test_pdb_stops_at_the_first_line_of_run(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path)
    debugging = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "cli.main", "debug", "--pdb", "--file", str(HAPPY)),
        cwd=tmp_path,
        env=terminal.env,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, _ = await asyncio.wait_for(debugging.communicate(b"p self._status\nc\n"), 60)
    said = out.decode()
    assert "order_workflow.py" in said
    assert "if not self._is_an_order:" in said
    assert "(Pdb) None" in said
    assert said.endswith("replayed: the code does what was recorded\n")
    assert debugging.returncode == 0


async def test_json_of_a_failure_names_the_event(tmp_path: Path) -> None:
    """A history whose steps were recorded the other way round: as if the code had been reordered."""
    recorded = json.loads(HAPPY_FAR.read_text())
    names = {"authorize_payment": "reserve_inventory", "reserve_inventory": "authorize_payment"}
    for event in recorded["events"]:
        scheduled = event.get("activityTaskScheduledEventAttributes")
        if scheduled and scheduled["activityType"]["name"] in names:
            scheduled["activityType"]["name"] = names[scheduled["activityType"]["name"]]
    (tmp_path / "swapped.json").write_text(json.dumps(recorded))
    said = await Terminal(tmp_path).run("replay", "--file", "swapped.json", "--json")
    assert said.code == 1
    [failure] = json.loads(said.out)["failures"]
    assert failure["recorded"] == "ACTIVITY_TASK_SCHEDULED reserve_inventory"
    assert failure["wanted"] == "activity command authorize_payment"
    page = await Terminal(tmp_path).run("replay", "--file", "swapped.json")
    assert "first difference: event 6, ACTIVITY_TASK_SCHEDULED reserve_inventory" in page.out
    assert "WARN" not in page.err
