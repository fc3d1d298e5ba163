"""The names: by Prometheus' conventions, documented, and from closed lists."""

import re
import subprocess
import sys

from orderflow.telemetry import metrics
from orderflow.telemetry.meters import DEFINITIONS, PREFIX, Definition, Pools
from tools.generate.statements import statements

#: What a gauge or a histogram is counted in; a thing that is counted is its own unit.
UNITS = (
    *("_seconds", "_records", "_entries", "_orders", "_partitions", "_connections", "_waiting", "_leader", "_stacks"),
    "orderflow_orders",
)


def test_a_name_says_what_is_counted_in_which_unit() -> None:
    def is_well_named(definition: Definition) -> bool:
        ending = "_total" if definition.kind == "counter" else UNITS
        return (
            re.fullmatch(rf"{PREFIX}[a-z]+(_[a-z]+)*", definition.name) is not None
            and definition.name.endswith(ending)
            and definition.name.endswith("_total") == (definition.kind == "counter")
        )

    assert [definition.name for definition in DEFINITIONS if not is_well_named(definition)] == []


def test_it_says_what_it_is_and_how_to_ask_for_it() -> None:
    def is_told(definition: Definition) -> bool:
        return definition.help.endswith(".") and bool(definition.item) and definition.name in definition.query

    assert [definition.name for definition in DEFINITIONS if not is_told(definition)] == []


def test_labels_have_no_name_that_prometheus_keeps_for_itself() -> None:
    labels = {(definition.name, label) for definition in DEFINITIONS for label in definition.labels}
    kept = ("le", "quantile", "job", "instance")
    assert {each for each in labels if not re.fullmatch(r"[a-z]+(_[a-z]+)*", each[1]) or each[1] in kept} == set()


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
