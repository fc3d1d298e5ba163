"""Databases, and the processes that use them: do they answer, how fast, and who waits for a connection or a lock?"""

from typing import Final

from tools.grafana.panels import Board, Panel, Query, Row, quantile, quantiles, rate

HERE: Final = '{instance=~"$instance"}'
STATEMENTS: Final = "orderflow_statement_duration_seconds"
FAILURES: Final = "orderflow_statement_failures_total"


def _connections(state: str) -> str:
    where = f'{{instance=~"$instance", state="{state}"}}'
    return f"sum by (instance, database) (orderflow_pool_connections{where})"


_NOW = Row(
    "Do they answer?",
    (
        Panel(
            "Statements without an answer",
            "Which connections get nothing? relay-payments are the relay's to the payments database.",
            [Query(rate(FAILURES, "database", where='{instance=~"$instance", failure="unavailable"}'), "{{database}}")],
            unit="ops",
            runbook="Database away",
        ),
        Panel(
            "Connections in use",
            "Is a pool at its end? At 100 % requests wait.",
            [Query(f"{_connections('in_use')} / {_connections('max')}", "{{instance}} {{database}}")],
            unit="percentunit",
            runbook="Pool exhausted",
            bad=0.9,
            highest=1,
        ),
        Panel(
            "Waiting for a connection, p95",
            "How long do they wait for one? Half a second pages.",
            [
                Query(
                    quantile(0.95, "orderflow_pool_wait_seconds", "instance", "database", where=HERE),
                    "{{instance}} {{database}}",
                )
            ],
            unit="s",
            runbook="Pool exhausted",
            bad=0.5,
        ),
    ),
)

_STATEMENTS = Row(
    "Which statements?",
    (
        Panel(
            "The ten slowest, p95",
            "Which statement is slow? Waiting for a connection is not in it.",
            [Query(f"topk(10, {quantile(0.95, STATEMENTS, 'database', 'statement', where=HERE)})", "{{statement}}")],
            unit="s",
            bad=1,
        ),
        Panel(
            "The ten that take most of the time",
            "What keeps the databases busy? Seconds of statements a second: the connections that they take.",
            [Query(f"topk(10, {rate(f'{STATEMENTS}_sum', 'database', 'statement', where=HERE)})", "{{statement}}")],
            unit="s",
        ),
        Panel(
            "Statements that fail",
            "And why? lost_race is repeated at once, rejected is an answer, error is a bug.",
            [Query(rate(FAILURES, "database", "failure", where=HERE), "{{database}}: {{failure}}")],
            unit="ops",
            runbook="Database away",
        ),
        Panel(
            "Statements a second",
            "How much is asked of each?",
            [Query(rate(f"{STATEMENTS}_count", "database", where=HERE), "{{database}}")],
            unit="ops",
        ),
        Panel(
            "Inventory lock wait",
            "Do many orders want the same SKUs? From a reservation's arrival until it holds all its row locks.",
            quantiles("orderflow_inventory_lock_wait_seconds"),
            unit="s",
            bad=1,
        ),
        Panel(
            "Waits that were given up",
            "Has anybody not got a connection at all?",
            [
                Query(
                    "sum by (instance, database) "
                    '(increase(orderflow_pool_timeouts_total{instance=~"$instance"}[$__rate_interval]))',
                    "{{instance}} {{database}}",
                )
            ],
            runbook="Pool exhausted",
        ),
    ),
)

_PROCESSES = Row(
    "Processes",
    (
        Panel(
            "Connections",
            "How many does each process hold?",
            [
                Query(_connections("in_use"), "{{instance}} {{database}} in use"),
                Query(_connections("idle"), "{{instance}} {{database}} idle"),
            ],
            stacked=True,
        ),
        Panel(
            "CPU",
            "Is a process at the end of its core?",
            [
                Query(
                    'rate(process_cpu_seconds_total{job="orderflow", instance=~"$instance"}[$__rate_interval])',
                    "{{process}} {{instance}}",
                )
            ],
            unit="percentunit",
            bad=0.9,
        ),
        Panel(
            "Memory",
            "Does a process grow?",
            [
                Query(
                    'process_resident_memory_bytes{job="orderflow", instance=~"$instance"}', "{{process}} {{instance}}"
                )
            ],
            unit="bytes",
        ),
        Panel(
            "Open files",
            "Does a process lose connections?",
            [Query('process_open_fds{job="orderflow", instance=~"$instance"}', "{{process}} {{instance}}")],
            width=12,
        ),
        Panel(
            "Gauges that cannot be read",
            "Which alerts are blind?",
            [Query(rate("orderflow_sample_failures_total", "sample", where=HERE), "{{sample}}")],
            unit="ops",
            runbook="Gauges unreadable",
            width=12,
        ),
    ),
)

DATABASES: Final = Board(
    "databases",
    "OrderFlow: databases",
    "Do the databases answer, how fast, and who waits for a connection or a lock?",
    (_NOW, _STATEMENTS, _PROCESSES),
    by_instance=True,
)
