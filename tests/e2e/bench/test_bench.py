"""The benches as a person runs them, as small as it gets: everything runs, and figures are kept."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from support.paths import ROOT


def run(tmp_path: Path, module: str, *arguments: str) -> tuple[str, Path]:
    """The output, and the folder that it kept its figures in."""
    code = os.pathsep.join(str(folder) for folder in (ROOT, ROOT / "events"))
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ORDERFLOW_")}
    results = tmp_path / "results"
    with subprocess.Popen(
        [sys.executable, "-m", module, *arguments, "--results", str(results)],
        cwd=ROOT,
        env=kept | {"PYTHONPATH": code, "TMPDIR": str(tmp_path)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as child:
        try:
            output, _ = child.communicate(timeout=200)
        finally:
            child.terminate()  # in order: it stops its stack
    assert child.returncode == 0, output
    [folder] = results.iterdir()
    assert not list(tmp_path.glob("orderflow-bench-*")), "the stack's folder is left"
    return output, folder


@pytest.mark.timeout(240)
def test_a_bench_compares_the_sides_and_keeps_a_page(tmp_path: Path) -> None:
    output, folder = run(tmp_path, "bench", "--orders", "4", "--rounds", "2", "--at-once", "2", "--idle", "0.5")

    text = (folder / "page.md").read_text()
    for title in ("One at a time", "2 at once", "CPU an order by process", "history in Temporal", "Ours alone"):
        assert title in text
        assert title in output
    for process in ("postgres", "temporal", "kafka", "gateway", "workers", "relay", "api", "client"):
        assert re.search(rf"^\| {process} \|.*\d\.\d", text, re.MULTILINE), f"no CPU time of {process}:\n{text}"
    for picture in re.findall(r"!\[\S+\]\((\S+)\)", text):
        assert (folder / picture).exists()
    found = json.loads((folder / "figures.json").read_text())
    assert list(found["phases"]["at once"]) == ["ours", "naive", "floor"]
    assert set(found["phases"]["one at a time"]["ours"][0]["p50"]) == {
        *("place", "approve", "to FULFILLING", "ship", "complete", "lifecycle")
    }
    assert found["statements"]["orders.place"] == 1
    assert found["arrivals"] == 9
    ours, floor = found["histories"]["ours"], found["histories"]["floor"]
    for figure in ("events", "workflow_tasks", "activities", "local_activities", "actions"):
        assert ours[figure] == floor[figure], "the floor has another shape than ours"
    assert floor["kilobytes"] == pytest.approx(ours["kilobytes"], rel=0.05)


@pytest.mark.timeout(240)
def test_a_growth_bench_can_be_run_in_parts(tmp_path: Path) -> None:
    output, folder = run(tmp_path, "bench.growth", "backlog", "--share", "0.01")

    backlog = json.loads((folder / "figures.json").read_text())["backlog"]
    assert backlog["events"] == 1998
    assert backlog["relay_rate"] > 0
    assert backlog["raw_rate"] > 0
    assert "A backlog for the relay" in output
