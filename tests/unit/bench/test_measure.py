"""The figures: percentiles, phases, CPU time that misses no child and books the meter to nobody."""

import subprocess
import sys
from uuid import UUID

import pytest

from bench.measure import CLIENT, CpuMeter, Lap, LapTimer, Phase, Spread, percentile, used

BURN = "import time; until = time.process_time() + 0.5\nwhile time.process_time() < until: pass"
PARENT = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {BURN!r}]); print(flush=True); input()"


@pytest.mark.parametrize(("share", "expected"), [(0.5, 2.5), (0.95, 4.0), (0.25, 1.0), (0.0, 1.0), (1.0, 4.0)])
def test_a_percentile_is_a_value_that_was_measured_and_the_median_the_middle(share: float, expected: float) -> None:
    assert percentile([4.0, 1.0, 3.0, 2.0], share) == expected


def test_a_percentile_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="nothing"):
        percentile([], 0.5)


def test_a_phase_has_a_figure_for_each_step_that_its_orders_have() -> None:
    laps = [Lap(UUID(int=0), {"ship": seconds, "lifecycle": 2 * seconds}) for seconds in (0.1, 0.2, 0.3)]
    phase = Phase("floor", "at once", 1.5, laps, {"temporal": 0.3, CLIENT: 0.06})

    assert phase.orders_per_second == 2.0
    assert phase.milliseconds("ship", 0.5) == pytest.approx(200)
    assert phase.milliseconds("lifecycle", 0.95) == pytest.approx(600)
    assert phase.milliseconds("place", 0.5) is None
    assert phase.cpu_ms_an_order(client=False) == pytest.approx(100)
    assert phase.cpu_ms_an_order(client=True) == pytest.approx(120)


def test_a_lap_times_steps_that_overlap() -> None:
    timer = LapTimer()
    timer.sending("approve", "to FULFILLING")
    timer.answered("approve")
    timer.answered("to FULFILLING")

    seconds = timer.lap(UUID(int=1)).seconds

    assert list(seconds) == ["approve", "to FULFILLING", "lifecycle"]
    assert 0 < seconds["approve"] < seconds["to FULFILLING"] < seconds["lifecycle"]


def test_a_spread_is_a_median_with_where_it_went() -> None:
    spread = Spread([1.5, 0.5, 0.75])

    assert (spread.median, spread.least, spread.most) == (0.75, 0.5, 1.5)


def test_the_cpu_time_of_a_child_that_has_ended_counts() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdin is not None
        assert parent.stdout is not None
        meter = CpuMeter({"parent": parent.pid})
        before = meter.begin()
        parent.stdout.readline()

        spent = used(before, meter.end())

        parent.stdin.close()
    assert spent["parent"] >= 0.5
    assert spent[CLIENT] < 0.4, "this process has only waited; its children are not its own work"


def test_what_the_meter_itself_costs_is_booked_to_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]

    def costly_look(_: CpuMeter) -> dict[str, float]:
        clock[0] += 0.3
        return {"api": 1.0}

    monkeypatch.setattr("bench.measure.time.process_time", lambda: clock[0])
    monkeypatch.setattr(CpuMeter, "_processes", costly_look)
    meter = CpuMeter({})
    before = meter.begin()
    clock[0] += 0.01

    assert used(before, meter.end()) == pytest.approx({"api": 0.0, CLIENT: 0.01})
