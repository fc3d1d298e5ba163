"""The figures: percentiles, rounds put together, CPU time that misses no child."""

import subprocess
import sys
from uuid import UUID

import pytest

from bench.measure import CpuMeter, Lap, Phase, Ratio, percentile, together, used

BURN = "import time; until = time.process_time() + 0.5\nwhile time.process_time() < until: pass"
PARENT = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {BURN!r}]); print(flush=True); input()"


def phase(*seconds: float, took: float, cpu: float) -> Phase:
    laps = [Lap(UUID(int=0), lifecycle_seconds=s, to_fulfilling_seconds=s / 2) for s in seconds]
    return Phase("ours", "at once", took, laps, {"api": cpu})


@pytest.mark.parametrize(("share", "expected"), [(0.5, 2.5), (0.95, 4.0), (0.25, 1.0), (0.0, 1.0), (1.0, 4.0)])
def test_a_percentile_is_a_value_that_was_measured_and_the_median_the_middle(share: float, expected: float) -> None:
    assert percentile([4.0, 1.0, 3.0, 2.0], share) == expected


def test_a_percentile_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="nothing"):
        percentile([], 0.5)


def test_rounds_together_weigh_every_order_the_same() -> None:
    both = together([phase(0.1, took=1.0, cpu=0.2), phase(0.2, 0.3, 0.4, took=1.0, cpu=0.6)])

    assert both.orders_per_second == 2.0
    assert both.lifecycle_ms(0.5) == pytest.approx(250)
    assert both.to_fulfilling_ms(0.5) == pytest.approx(125)
    assert both.cpu_ms_an_order == pytest.approx(200)


def test_a_ratio_shows_its_spread() -> None:
    ratio = Ratio([1.5, 0.5, 0.75])

    assert (ratio.median, ratio.least, ratio.most) == (0.75, 0.5, 1.5)


def test_the_cpu_time_of_a_child_that_has_ended_counts() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdin is not None
        assert parent.stdout is not None
        meter = CpuMeter({"parent": parent.pid})
        before = meter.read()
        parent.stdout.readline()

        spent = used(before, meter.read())

        parent.stdin.close()
    assert spent["parent"] >= 0.5
    assert spent["client"] < 0.4, "this process has only waited; its children are not its own work"
