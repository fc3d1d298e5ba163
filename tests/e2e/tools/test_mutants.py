"""Tests of a scratch copy run the copy's code, also in the processes that they start, and leave nothing behind."""

import asyncio
from pathlib import Path

import psutil
import pytest
import pytest_asyncio

from support.waiting import until
from tools.mutants.copies import NoCheckout, snapshot
from tools.mutants.patches import ROOT
from tools.mutants.run import run_tests

PLANTED = "PLANTED = True\n"
SAME_CODE = """
import os, subprocess, sys
import orderflow, orderflow_events, cli.main, support.stack, workers
from orderflow.stack.stack import EmbeddedStack

def test_planted():
    assert orderflow.PLANTED and orderflow_events.PLANTED and workers.PLANTED
    # As the embedded stack starts our processes: from elsewhere, with this path.
    script = "import cli.main, orderflow, orderflow_events as events, workers"
    script += "; print(orderflow.PLANTED, events.PLANTED, workers.PLANTED)"
    command = [sys.executable, "-P", "-c", script]
    done = subprocess.run(command, cwd="/", env=EmbeddedStack._code(), capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True"] * 3
"""
OTHER_CODE = f"""
import sys
from importlib.util import module_from_spec, spec_from_file_location

def test_planted():
    sys.modules["workers"] = module_from_spec(spec_from_file_location("workers", {str(ROOT / "workers/__init__.py")!r}))
"""
HANGS = """
import subprocess, sys, time
from pathlib import Path

def test_planted():
    server = subprocess.Popen(["sleep", "600"], start_new_session=True)
    Path("server.pid").write_text(str(server.pid))
    time.sleep(600)
"""
NAME = "tests/test_planted.py::test_planted"


@pytest_asyncio.fixture(scope="module")
async def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout, each package of which says that it is one."""
    copy = tmp_path_factory.mktemp("mutants") / "copy"
    try:
        snapshot(copy)
    except NoCheckout as error:
        pytest.skip(str(error))
    for package in ("events/orderflow_events", "orderflow", "workers"):
        with (copy / package / "__init__.py").open("a") as source:
            source.write(PLANTED)
    return copy


def plant(copy: Path, test: str) -> Path:
    (copy / "tests" / "test_planted.py").write_text(test)
    return copy.with_name("output.txt")


async def test_a_copy_runs_its_own_code_and_so_do_its_processes(copy: Path) -> None:
    output = plant(copy, SAME_CODE)
    ran = await run_tests(copy, [NAME], output, seconds=60)
    assert (ran.code, [case.state for case in ran.cases]) == (0, ["passed"]), output.read_text()


async def test_a_run_that_used_other_code_counts_for_nothing(copy: Path) -> None:
    output = plant(copy, OTHER_CODE)
    ran = await run_tests(copy, [NAME], output, seconds=60)
    assert ran.code == pytest.ExitCode.USAGE_ERROR
    assert "code from outside" in output.read_text()


async def test_what_is_interrupted_is_ended_with_what_it_has_started(copy: Path) -> None:
    output = plant(copy, HANGS)
    pid_file = copy / "server.pid"

    async def has_started_it() -> bool:
        return pid_file.exists() and bool(pid_file.read_text())

    running = asyncio.create_task(run_tests(copy, [NAME], output, seconds=100))
    await until(has_started_it, seconds=60)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    pid = int(pid_file.read_text())
    # Until init has taken note of its end, it is a zombie.
    assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_a_folder_that_is_no_checkout_is_named(tmp_path: Path) -> None:
    with pytest.raises(NoCheckout, match="is not a git checkout"):
        snapshot(tmp_path / "copy", tmp_path)
