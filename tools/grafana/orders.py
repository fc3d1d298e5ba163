"""Orders: is anybody hurt, where do orders stand, and who keeps them waiting?"""

from typing import Final

from tools.grafana.panels import Board, Panel, Query, Row, alert_query, quantile, quantiles, rate

SECONDS_OF_STEPS: Final = "orderflow_step_duration_seconds"
SECONDS_OF_GATEWAY: Final = "orderflow_gateway_call_duration_seconds"

_NOW = Row(
    "Is anybody hurt?",
    (
        Panel(
            "Alerts that fire",
            "What is wrong, by the rules in deploy/prometheus/rules.yml?",
            [Query(alert_query(), "{{alertname}}")],
            kind="stat",
            bad=1,
            none="none",
            width=6,
        ),
        Panel(
            "Requests that fail",
            "Which share of requests was answered with a 5xx in the last five minutes? The objective is 0.1 %.",
            [Query("orderflow:http_errors:ratio_rate5m", "5xx")],
            unit="percentunit",
            runbook="Errors",
            kind="stat",
            warn=0.001,
            bad=0.0144,
            none="no requests",
            width=4,
        ),
        Panel(
            "Slower than a second",
            "Which share of requests took longer than a second? The objective is 1 %.",
            [Query("orderflow:http_slow:ratio_rate5m", "slow")],
            unit="percentunit",
            runbook="Latency",
            kind="stat",
            warn=0.01,
            bad=0.144,
            none="no requests",
            width=4,
        ),
        Panel(
            "Longest APPROVED",
            "How long has an approved order waited for payment and stock? It takes well below a second.",
            [Query('max(orderflow_order_oldest_age_seconds{status="APPROVED"})', "APPROVED")],
            unit="s",
            runbook="Orders stuck",
            kind="stat",
            warn=60,
            bad=300,
            none="none",
            width=4,
        ),
        Panel(
            "Processes down",
            "Which of our processes cannot be scraped?",
            [Query('sum(up{job="orderflow"} == bool 0)', "down")],
            runbook="Process down",
            kind="stat",
            bad=1,
            none="none is scraped",
            width=3,
        ),
        Panel(
            "Orders a minute",
            "Do orders come in?",
            [Query('60 * sum(rate(orderflow_transitions_total{aggregate="order", command="place"}[5m]))', "placed")],
            kind="stat",
            none="none yet",
            width=3,
        ),
    ),
)

_ORDERS = Row(
    "Where do orders stand?",
    (
        Panel(
            "Orders by status",
            "Where do orders pile up? Only those to which something can still happen.",
            [Query("max by (status) (orderflow_orders)", "{{status}}")],
            stacked=True,
        ),
        Panel(
            "Age of the oldest by status",
            "Who waits longest? APPROVED waits for services of ours or the gateway, all others for a customer.",
            [Query("max by (status) (orderflow_order_oldest_age_seconds)", "{{status}}")],
            unit="s",
            runbook="Orders stuck",
            bad=300,
        ),
        Panel(
            "Approve to FULFILLING",
            "How long do payment and stock take together?",
            quantiles("orderflow_order_approve_to_fulfilling_seconds"),
            unit="s",
            bad=5,
        ),
        Panel(
            "Transitions",
            "Do orders go on?",
            [Query(rate("orderflow_transitions_total", "to", where='{aggregate="order"}'), "{{to}}")],
            unit="ops",
        ),
        Panel(
            "Cancellations",
            "Why do orders end? cancel: the customer or an operator; fail: a step said no; expire: an old draft.",
            [
                Query(
                    rate("orderflow_transitions_total", "command", where='{aggregate="order", to="CANCELLED"}'),
                    "{{command}}",
                )
            ],
            unit="ops",
        ),
        Panel(
            "Declined and out of stock",
            "Is it the customers' cards, or our stock?",
            [
                Query(
                    rate("orderflow_transitions_total", "to", where='{aggregate="payment", to="DECLINED"}'),
                    "payment declined",
                ),
                Query(rate("orderflow_stock_rejections_total", "reason"), "{{reason}}"),
            ],
            unit="ops",
        ),
    ),
)

_STEPS = Row(
    "Who keeps them waiting?",
    (
        Panel(
            "Attempts of steps that fail",
            "Which step does not get through? unavailable: what it needs is away; error: a bug, its log has it.",
            [
                Query(
                    rate(f"{SECONDS_OF_STEPS}_count", "step", "outcome", where='{outcome=~"unavailable|error"}'),
                    "{{step}}: {{outcome}}",
                )
            ],
            unit="ops",
            runbook="Orders stuck",
            width=6,
        ),
        Panel(
            "Near steps",
            "Do steps get their answer in the orders worker, at once? unanswered: what it needs is away or "
            "slow; not_here: another process has that service, or it gave no answer several times. Both go to their "
            "task queue.",
            [Query(rate("orderflow_near_steps_total", "step", "outcome"), "{{step}}: {{outcome}}")],
            unit="ops",
            width=6,
        ),
        Panel(
            "Retries of steps",
            "What is repeated?",
            [Query(rate("orderflow_step_retries_total", "step"), "{{step}}")],
            unit="ops",
            width=6,
        ),
        Panel(
            "Steps, p95",
            "Which step is slow?",
            [Query(quantile(0.95, SECONDS_OF_STEPS, "step"), "{{step}}")],
            unit="s",
            bad=5,
            width=6,
        ),
        Panel(
            "Gateway calls",
            "What does the payment gateway say?",
            [Query(rate(f"{SECONDS_OF_GATEWAY}_count", "operation", "outcome"), "{{operation}}: {{outcome}}")],
            unit="ops",
            runbook="Gateway away",
        ),
        Panel(
            "Gateway calls, p95",
            "Is the gateway slow? A call is given up after ORDERFLOW_GATEWAY_TIMEOUT_SECONDS (5 s).",
            [Query(quantile(0.95, SECONDS_OF_GATEWAY, "operation"), "{{operation}}")],
            unit="s",
            bad=5,
        ),
        Panel(
            "The gateway simulator's own view",
            "Where the gateway is our simulator: what came in, and what did it make of it?",
            [Query(rate("gateway_simulator_requests_total", "operation", "outcome"), "{{operation}}: {{outcome}}")],
            unit="ops",
        ),
    ),
)

_HTTP = Row(
    "HTTP",
    (
        Panel(
            "Requests by route",
            "Who asks for what?",
            [Query(rate("orderflow_http_requests_total", "method", "route"), "{{method}} {{route}}")],
            unit="reqps",
        ),
        Panel(
            "Problems by type",
            "What do clients get instead of what they asked for? 4xx are theirs, 5xx ours.",
            [Query(rate("orderflow_http_problems_total", "status", "problem"), "{{status}} {{problem}}")],
            unit="reqps",
            runbook="Errors",
        ),
        Panel(
            "Requests, p95 by route",
            "Which route is slow? Commands wait for their outcome, two seconds at most unless the client says.",
            [
                Query(
                    quantile(0.95, "orderflow_http_request_duration_seconds", "method", "route"), "{{method}} {{route}}"
                )
            ],
            unit="s",
            runbook="Latency",
            bad=1,
        ),
        Panel(
            "Error budget burn",
            "Does it still go on, and for how long has it? 1.44 % for an hour pages.",
            [Query(f"orderflow:http_errors:ratio_rate{window}", window) for window in ("5m", "30m", "1h", "6h")],
            unit="percentunit",
            runbook="Errors",
            bad=0.0144,
            width=12,
        ),
        Panel(
            "Latency budget burn",
            "How many take longer than a second, and for how long has it been so? 14.4 % for an hour pages.",
            [Query(f"orderflow:http_slow:ratio_rate{window}", window) for window in ("5m", "30m", "1h", "6h")],
            unit="percentunit",
            runbook="Latency",
            bad=0.144,
            width=12,
        ),
    ),
)

ORDERS: Final = Board(
    "orders",
    "OrderFlow: orders",
    "Start here. Is anybody hurt, where do orders stand, and who keeps them waiting?",
    (_NOW, _ORDERS, _STEPS, _HTTP),
)
