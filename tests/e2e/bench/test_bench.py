"""``python -m bench`` as a person runs it, as small as it gets: everything runs, and a page is kept."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from support.paths import ROOT


@pytest.mark.timeout(240)
def test_a_bench_compares_both_sides_and_keeps_a_page(tmp_path: Path) -> None:
    code = os.pathsep.join(str(folder) for folder in (ROOT, ROOT / "events"))
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ORDERFLOW_")}
    with subprocess.Popen(
        [sys.executable, "-m", "bench", "--orders", "4", "--rounds", "2", "--at-once", "2", "--results", str(tmp_path)],
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
    [page] = tmp_path.glob("*.md")
    text = page.read_text()
    for title in ("One at a time", "2 at once", "CPU an order by process", "history in Temporal"):
        assert title in text
        assert title in output
    for process in ("postgres", "temporal", "kafka", "gateway", "workers", "relay", "api", "client", "naive worker"):
        assert re.search(rf"^\| {process} \|.*\d\.\d", text, re.MULTILINE), f"no CPU time of {process}:\n{text}"
    assert re.search(r"^\| ordinary activities \| 4 \| 9 \|$", text, re.MULTILINE), text
    assert not list(tmp_path.glob("orderflow-bench-*")), "the stack's folder is left"
