"""Statements are counted from the metrics that a process shows."""

from bench.statements import counted

PAGE = """\
# TYPE orderflow_statement_duration_seconds histogram
orderflow_statement_duration_seconds_bucket{database="orders",statement="orders.place",le="0.001"} 2.0
orderflow_statement_duration_seconds_count{database="orders",statement="orders.place"} 3.0
orderflow_statement_duration_seconds_sum{database="orders",statement="orders.place"} 0.01
orderflow_statement_duration_seconds_count{database="orders",statement="database.notify"} 4.0
orderflow_statement_duration_seconds_count{database="payments",statement="database.notify"} 5.0
"""


def test_a_statement_counts_once_however_many_databases_get_it() -> None:
    assert counted(PAGE) == {"orders.place": 3, "database.notify": 9}
