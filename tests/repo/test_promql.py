"""The reader of PromQL that other tests rely on: it finds every name, and refuses what it does not know."""

import pytest

from support.promql import named


def test_names_selectors_and_groupings_are_told_apart() -> None:
    found = named(
        'histogram_quantile(0.95, sum by (le, route) (rate(seconds_bucket{le!="1.0", route=~"a{2}, (by)"}[5m])))'
        " / on (route) group_left (method) requests_total offset 15m > 14.4 * 0.001 unless a:rule:rate5m == bool 0"
    )
    assert found.selected == [
        ("seconds_bucket", frozenset({"le", "route"})),
        ("requests_total", frozenset()),
        ("a:rule:rate5m", frozenset()),
    ]
    assert found.grouped == {"le", "route", "method"}


@pytest.mark.parametrize("expression", ["ratee(x[5m])", "x{y}", "x{y=1}", "x{", "x @ 5", "sum by (le"])
def test_what_it_does_not_know_is_refused(expression: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        named(expression)
