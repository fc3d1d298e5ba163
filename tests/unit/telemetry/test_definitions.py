"""The names: by Prometheus' conventions, documented, and from closed lists."""

import re
import subprocess
import sys

import pytest

from orderflow.telemetry import metrics
from orderflow.telemetry.meters import DEFINITIONS, PREFIX, Definition, Pools
from tools.generate.statements import statements

#: What a gauge or a histogram is counted in; a thing that is counted is its own unit.
UNITS = (
    *("_seconds", "_records", "_entries", "_orders", "_partitions", "_connections", "_waiting", "_leader"),
    "orderflow_orders",
)


@pytest.fixture(params=DEFINITIONS, ids=lambda definition: definition.name)
def definition(request: pytest.FixtureRequest) -> Definition:
    found: Definition = request.param
    return found


def test_a_name_says_what_is_counted_in_which_unit(definition: Definition) -> None:
    assert re.fullmatch(rf"{PREFIX}[a-z]+(_[a-z]+)*", definition.name)
    assert definition.name.endswith("_total") == (definition.kind == "counter")
    if definition.kind != "counter":
        assert definition.name.endswith(UNITS)


def test_it_says_what_it_is_and_how_to_ask_for_it(definition: Definition) -> None:
    assert definition.help.endswith(".")
    assert definition.item
    assert definition.name in definition.query


def test_labels_have_no_name_that_prometheus_keeps_for_itself(definition: Definition) -> None:
    for label in definition.labels:
        assert re.fullmatch(r"[a-z]+(_[a-z]+)*", label)
        assert label not in ("le", "quantile", "job", "instance")


def test_every_metric_stands_in_the_one_file() -> None:
    constants = [value.definition for value in vars(metrics).values() if hasattr(value, "definition")]
    assert constants == DEFINITIONS
    assert isinstance(metrics.POOL, Pools)
    assert len({definition.name for definition in DEFINITIONS}) == len(DEFINITIONS)


def test_no_two_statements_of_the_store_have_the_same_name_and_the_same_sentence() -> None:
    found = [statement for own in statements().values() for statement in own]
    assert len(found) > 80
    assert len({(statement.name, statement.about) for statement in found}) == len(found)
    assert "outbox.pending" in {statement.name for statement in found}


def test_nothing_is_counted_until_it_is_switched_on() -> None:
    counting = """
from orderflow.telemetry import meters, metrics
metrics.STOCK_REJECTIONS.add("out_of_stock")
metrics.LOCK_WAIT_SECONDS.observe(1.0)
metrics.ORDERS.set(1, "DRAFT")
seen = [s.value for f in meters.REGISTRY.collect() for s in f.samples if not s.name.endswith("_created")]
assert not any(seen), seen
meters.switch_on()
metrics.STOCK_REJECTIONS.add("out_of_stock")
assert meters.REGISTRY.get_sample_value("orderflow_stock_rejections_total", {"reason": "out_of_stock"}) == 1
"""
    subprocess.run([sys.executable, "-c", counting], check=True, env={"PYTHONPATH": ":".join(sys.path)})
