"""Runs named tests in a scratch copy, and judges what they say about a planted bug.

A bug counts as caught when the named test failed: not when it could not be collected or set up, and not by the kind
of error that a patch which breaks the code altogether would cause. What was started is ended, with all its servers.
"""

import asyncio
import contextlib
import os
import re
import signal
import sys
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psutil

from tools.mutants.patches import Mutant, PatchError, apply, function_of

#: For one test with the servers that it needs; more than pytest's own time-out, which says where a test hangs.
TEST_SECONDS = 150.0
#: How long an interrupted pytest may take to stop its servers.
STOP_SECONDS = 20.0
#: What a failing test ends with when the patch broke the code instead of a guarantee.
CRASHES = frozenset(
    {
        *("AttributeError", "ImportError", "IndentationError", "ModuleNotFoundError", "NameError", "SyntaxError"),
        *("TypeError", "UnboundLocalError", "PostgresSyntaxError", "UndefinedColumnError", "UndefinedTableError"),
        *("AmbiguousColumnError", "DatatypeMismatchError", "GroupingError", "UndefinedFunctionError"),
    }
)

State = Literal["caught", "SURVIVED", "BROKEN"]


@dataclass(frozen=True, slots=True)
class Case:
    """One test as pytest reports it; ``said`` is its failure's or error's first line."""

    name: str
    state: Literal["passed", "failed", "error", "skipped"]
    said: str


@dataclass(frozen=True, slots=True)
class Ran:
    """One run of pytest. ``code`` is None when the time was up."""

    code: int | None
    cases: tuple[Case, ...]
    seconds: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the tests of a planted bug say. ``why``: the failure that caught it, or what went wrong."""

    mutant: Mutant
    state: State
    why: str
    seconds: float


async def judge(mutant: Mutant, copy: Path, output: Path) -> Verdict:
    """Plant ``mutant`` in ``copy`` and run each of its tests by itself; stops at the first that does not catch it."""
    started = time.monotonic()

    def verdict(state: State, why: str) -> Verdict:
        return Verdict(mutant, state, why, time.monotonic() - started)

    try:
        apply(mutant, copy)
    except PatchError as error:
        return verdict("BROKEN", str(error))
    said = []
    for node_id in mutant.caught_by:
        ran = await run_tests(copy, [node_id], output, "-x", seconds=TEST_SECONDS)
        state, why = judged(ran, node_id)
        if state != "caught":
            return verdict(state, why)
        said.append(why)
    return verdict("caught", said[0])


def judged(ran: Ran, node_id: str) -> tuple[State, str]:
    """Whether ``ran``, a run of ``node_id`` alone, has caught something, and why (not)."""
    name = function_of(node_id)
    if ran.code is None:
        return "BROKEN", f"{name} has not ended after {TEST_SECONDS:.0f} s"
    failed = next((case for case in ran.cases if case.state == "failed" and case.name.partition("[")[0] == name), None)
    if ran.code == 1 and failed is not None:
        kind = re.match(r"[\w.]+", failed.said)
        if kind and kind[0].rpartition(".")[2] in CRASHES:
            return "BROKEN", f"{name}: {failed.said}"
        return "caught", f"{name}: {failed.said}"
    if ran.code == 0:
        return "SURVIVED", f"{name} passed"
    problems = [f"{case.name}: {case.said}" for case in ran.cases if case.state != "passed"]
    return "BROKEN", f"{name}: pytest ended with {ran.code}; {'; '.join(problems) or 'see its output'}"


async def run_tests(copy: Path, node_ids: Sequence[str], output: Path, *options: str, seconds: float) -> Ran:
    """Run tests of ``copy`` on its own code, in ``seconds`` at most; what pytest prints is added to ``output``."""
    started = time.monotonic()
    temporary = copy.with_name(f"{copy.name}-temporary")
    temporary.mkdir(mode=0o711, exist_ok=True)  # Postgres may run as another user in there
    report = temporary / "report.xml"
    report.unlink(missing_ok=True)
    command = [
        sys.executable,
        "-m",
        "pytest",
        *node_ids,
        "-n",
        "0",
        "-p",
        "no:cacheprovider",
        "-p",
        "tools.mutants.own_code",
    ]
    command += [f"--junitxml={report}", *options]
    with output.open("a") as out:
        process = await asyncio.create_subprocess_exec(
            *command, cwd=copy, env=environment(copy, temporary), stdin=asyncio.subprocess.DEVNULL,
            stdout=out, stderr=asyncio.subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
    code: int | None = None
    try:
        with contextlib.suppress(TimeoutError):
            code = await asyncio.wait_for(asyncio.shield(process.wait()), seconds)
    finally:
        await end(process)
    return Ran(code, tuple(read_report(report)), time.monotonic() - started)


def environment(copy: Path, temporary: Path) -> dict[str, str]:
    """This process's, with the copy's code first on the path, whatever the interpreter has installed."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ORDERFLOW_", "PYTEST_", "GIT_"))}
    path = os.pathsep.join(str(folder) for folder in (copy, copy / "events", copy / "tests"))
    return kept | {"PYTHONPATH": path, "TMPDIR": str(temporary)}


async def end(process: asyncio.subprocess.Process) -> None:
    """End pytest, if it runs, and all that it has started: by an interrupt, so that it stops its own servers."""
    if process.returncode is None:
        try:
            started = psutil.Process(process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            started = []
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGINT)
        waiting = asyncio.ensure_future(process.wait())
        await asyncio.wait({waiting}, timeout=STOP_SECONDS)
        if not waiting.done():
            with contextlib.suppress(psutil.NoSuchProcess):
                started += psutil.Process(process.pid).children(recursive=True)
            process.kill()
            await waiting
        for one in started:  # psutil knows a process by its start, too: a pid that is used again is left alone
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()
        await asyncio.to_thread(psutil.wait_procs, started, timeout=3)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def read_report(report: Path) -> list[Case]:
    """What pytest wrote for each test; nothing if it did not come so far."""
    if not report.exists():
        return []
    cases = []
    for case in ElementTree.parse(report).iter("testcase"):  # noqa: S314 - pytest has just written it
        worst = next(
            (found for kind in ("error", "failure", "skipped") if (found := case.find(kind)) is not None), None
        )
        state = "passed" if worst is None else {"failure": "failed"}.get(worst.tag, worst.tag)
        said = "" if worst is None else (worst.get("message") or "").strip().partition("\n")[0]
        cases.append(Case(case.get("name", ""), state, said))  # type: ignore[arg-type]
    return cases
