"""The names of everything that OrderFlow measures, in one file; ``docs/metrics.md`` is generated from it.

Conventions: prefix ``orderflow_``; counters end in ``_total``, everything else in its unit, seconds where it is time.
Label values come from closed lists. What a metric counts, it counts once: a replay of a command is no transition.
"""

from typing import Final

from orderflow.telemetry.meters import COUNTS, FAST, LONG, WHOLE, Counter, Gauge, Histogram, Pools

# --- HTTP ---
HTTP_REQUESTS: Final = Counter(
    "http_requests_total",
    "Requests that were answered, by the route's template. Health checks and scrapes are left out.",
    ("method", "route", "status"),
    item="Request rate",
    query="sum by (method, route) (rate(orderflow_http_requests_total[5m]))",
)
HTTP_SECONDS: Final = Histogram(
    "http_request_duration_seconds",
    "From the request to the end of its answer, waiting for the outcome included.",
    ("method", "route"),
    buckets=WHOLE,
    item="Request latency, p50, p95, p99",
    query="histogram_quantile(0.95, "
    "sum by (le, method, route) (rate(orderflow_http_request_duration_seconds_bucket[5m])))",
)
HTTP_PROBLEMS: Final = Counter(
    "http_problems_total",
    "Answers that were problem documents, by the slug of the problem's type.",
    ("method", "route", "problem", "status"),
    item="Errors by route and problem type",
    query="sum by (route, problem) (rate(orderflow_http_problems_total[5m]))",
)

KEY_SET_FETCHES: Final = Counter(
    "key_set_fetches_total",
    "Fetches of an issuer's public keys, for access tokens: fetched, failed.",
    ("outcome",),
    item="Fetches of issuers' keys",
    query="sum by (outcome) (increase(orderflow_key_set_fetches_total[1h]))",
)
LIMITED: Final = Counter(
    "limited_requests_total",
    "Requests that were answered 429, by the limit: reads, writes, anonymous, failed_authentications, declines, "
    "handovers (one principal's, of which Temporal has not been told), "
    "in_hand (one principal's share of this process).",
    ("limit",),
    item="Requests over a limit",
    query="sum by (limit) (rate(orderflow_limited_requests_total[5m]))",
)
SHARED_LIMITS_AWAY: Final = Counter(
    "shared_limits_away_total",
    "Times that the server with the shared limits did not answer, and this process went on counting by itself.",
    item="Shared limits away",
    query="rate(orderflow_shared_limits_away_total[5m])",
)

# --- Orders ---
ORDERS: Final = Gauge(
    "orders",
    "Orders to which something can still happen, by status. For ended ones see the transitions: counting them would "
    "read every order that there ever was.",
    ("status",),
    item="Orders by status",
    query="max by (status) (orderflow_orders)",
)
ORDER_OLDEST_AGE: Final = Gauge(
    "order_oldest_age_seconds",
    "How long the order that entered this status first has been in it.",
    ("status",),
    item="Age of the oldest order by status",
    query="max by (status) (orderflow_order_oldest_age_seconds)",
)
ORDER_MEAN_AGE: Final = Gauge(
    "order_mean_age_seconds",
    "How long orders have been in this status, on average.",
    ("status",),
    item="Order age by status",
    query="max by (status) (orderflow_order_mean_age_seconds)",
)
TRANSITIONS: Final = Counter(
    "transitions_total",
    "Rows that were made (from is empty) or moved. Replays and refusals are not counted.",
    ("aggregate", "command", "from", "to"),
    item="Transitions",
    query='sum by (from, to) (rate(orderflow_transitions_total{aggregate="order"}[5m]))',
)
FULFILLING_SECONDS: Final = Histogram(
    "order_approve_to_fulfilling_seconds",
    "From the order's approval to FULFILLING, by the database's clock, once an order.",
    buckets=LONG,
    item="Time from approve to FULFILLING",
    query="histogram_quantile(0.95, sum by (le) (rate(orderflow_order_approve_to_fulfilling_seconds_bucket[5m])))",
)

# --- Handovers ---
HANDOVERS: Final = Gauge(
    "handovers_waiting",
    "Orders that Temporal must look at and has not been told of.",
    ("service",),
    item="Handovers that wait",
    query="max by (service) (orderflow_handovers_waiting)",
)
HANDOVERS_REFUSED: Final = Gauge(
    "handovers_refused_orders",
    "Those of them that Temporal does not take; it is asked again every half minute.",
    ("service",),
    item="Handovers that Temporal refuses",
    query="max by (service) (orderflow_handovers_refused_orders)",
)
HANDOVERS_OLDEST_AGE: Final = Gauge(
    "handovers_oldest_age_seconds",
    "How long the oldest has waited of those that Temporal does not refuse; 0: none waits.",
    ("service",),
    item="Age of the oldest handover",
    query="max by (service) (orderflow_handovers_oldest_age_seconds)",
)
HANDOVERS_TOLD: Final = Counter(
    "handovers_told_total",
    "Messages to Temporal by a dispatcher: told, unavailable (tried again), refused, error (a bug).",
    ("outcome",),
    item="Handovers by the dispatcher",
    query="sum by (outcome) (rate(orderflow_handovers_told_total[5m]))",
)

# --- Steps ---
STEP_SECONDS: Final = Histogram(
    "step_duration_seconds",
    "One attempt of a step of the workflow, by what came of it: the step's own answer (done, ok, refused, shut, "
    "too_late), rejected (never retried), unavailable (retried), not_here (a near attempt that was not made), error (a "
    "bug, retried), cancelled (its time was up).",
    ("step", "outcome"),
    buckets=WHOLE,
    item="Step duration and outcome",
    query="histogram_quantile(0.95, sum by (le, step) (rate(orderflow_step_duration_seconds_bucket[5m])))",
)
NEAR_STEPS: Final = Counter(
    "near_steps_total",
    "Steps that were tried near, in the orders worker: done; unanswered, not_here (its process does not have the "
    "service, or had no answer of it several times) and error (a bug), after which they go to their task queue.",
    ("step", "outcome"),
    item="Near steps",
    query="sum by (step, outcome) (rate(orderflow_near_steps_total[5m]))",
)
STEP_RETRIES: Final = Counter(
    "step_retries_total",
    "Attempts of a step that were not its first.",
    ("step",),
    item="Step retries",
    query="sum by (step) (rate(orderflow_step_retries_total[5m]))",
)

STEP_NO_ANSWERS: Final = Counter(
    "step_no_answers_total",
    "What came back from a step and is no answer of a worker of ours: not sealed, not readable, of another step or "
    "another order. The step is started again.",
    ("step",),
    item="Steps that strangers answered",
    query="sum by (step) (increase(orderflow_step_no_answers_total[1h]))",
)
PAYLOADS_NOT_OPENED: Final = Counter(
    "payloads_not_opened_total",
    "Sealed payloads from Temporal that this process could not open: unknown_key (its keyring lacks it), foreign "
    "(sealed for another order), damaged; or that came in clear and ask a step for something: unsealed.",
    ("reason",),
    item="Payloads that could not be opened",
    query="sum by (reason) (increase(orderflow_payloads_not_opened_total[1h]))",
)

# --- Kafka: consumer ---
CONSUMER_LAG: Final = Gauge(
    "consumer_lag_records",
    "Records of a partition that the group has not finished.",
    ("group", "partition"),
    item="Consumer lag",
    query="sum by (group) (max by (group, partition) (orderflow_consumer_lag_records))",
)
CONSUMED: Final = Counter(
    "consumed_records_total",
    "Records that are done with: they took effect, had done so before, or were set aside.",
    ("group",),
    item="Kafka throughput in",
    query="sum by (group) (rate(orderflow_consumed_records_total[5m]))",
)
CONSUMER_BATCH_SECONDS: Final = Histogram(
    "consumer_batch_duration_seconds",
    "From a batch's arrival to its being done with.",
    ("group",),
    buckets=WHOLE,
    item="Consumer batch duration",
    query="histogram_quantile(0.95, sum by (le, group) (rate(orderflow_consumer_batch_duration_seconds_bucket[5m])))",
)
DEAD_LETTERS: Final = Counter(
    "dead_letters_total",
    "Records that were set aside for a reason of their own; those that only follow are not counted.",
    ("group", "kind"),
    item="Dead letters",
    query="sum by (group, kind) (increase(orderflow_dead_letters_total[1h]))",
)
DEAD_LETTERS_PASSED: Final = Counter(
    "dead_letters_passed_total",
    "Records that could not be set aside, not even shortened, and were passed: without a row, or without the copy in "
    "the dead-letter topic.",
    ("group", "missing"),
    item="Dead letters passed",
    query="sum by (group, missing) (increase(orderflow_dead_letters_passed_total[1h]))",
)
DEAD_LETTERS_WAITING: Final = Gauge(
    "dead_letters_waiting",
    "Dead letters that stand in the table, waiting for a redrive.",
    ("group", "kind"),
    item="Dead letters that wait",
    query="max by (group, kind) (orderflow_dead_letters_waiting)",
)
GROUP_OTHERS: Final = Gauge(
    "consumer_group_other_stacks",
    "Other stacks, and other clients, in the tracking's consumer group: orders in their partitions are not tracked.",
    ("group",),
    item="Consumer group that is shared",
    query="max by (group) (orderflow_consumer_group_other_stacks)",
)

# --- Outbox and relay ---
OUTBOX_ENTRIES: Final = Gauge(
    "outbox_entries",
    "Events that are not on Kafka yet.",
    ("service",),
    item="Outbox depth",
    query="max by (service) (orderflow_outbox_entries)",
)
OUTBOX_OLDEST_AGE: Final = Gauge(
    "outbox_oldest_age_seconds",
    "How long the oldest of them has waited; 0: none waits.",
    ("service",),
    item="Age of the oldest outbox entry",
    query="max by (service) (orderflow_outbox_oldest_age_seconds)",
)
PARKED_ORDERS: Final = Gauge(
    "outbox_parked_orders",
    "Orders that are not published because Kafka refused a record of theirs.",
    ("service",),
    item="Parked orders",
    query="max by (service) (orderflow_outbox_parked_orders)",
)
STOPPED_PARTITIONS: Final = Gauge(
    "outbox_stopped_partitions",
    "Partitions that the service's relay has stopped, because Kafka lost what it had acknowledged there.",
    ("service",),
    item="Truncated topic",
    query="max by (service) (orderflow_outbox_stopped_partitions)",
)
PUBLISHED: Final = Counter(
    "relay_published_records_total",
    "Records that Kafka acknowledged.",
    ("service",),
    item="Kafka throughput out",
    query="sum by (service) (rate(orderflow_relay_published_records_total[5m]))",
)
RELAY_BATCH: Final = Histogram(
    "relay_batch_records",
    "Records that a round of the relay read.",
    ("service",),
    buckets=COUNTS,
    item="Relay batch size",
    query="sum by (service) (rate(orderflow_relay_batch_records_sum[5m])) "
    "/ sum by (service) (rate(orderflow_relay_batch_records_count[5m]))",
)
PUBLISH_SECONDS: Final = Histogram(
    "relay_publish_duration_seconds",
    "From sending a round's first record to the last acknowledgement.",
    ("service",),
    buckets=WHOLE,
    item="Relay publish latency",
    query="histogram_quantile(0.95, sum by (le, service) (rate(orderflow_relay_publish_duration_seconds_bucket[5m])))",
)
RELAY_FAILURES: Final = Counter(
    "relay_failures_total",
    "Rounds and lease renewals that failed and are tried again.",
    ("service", "what"),
    item="Relay failures",
    query="sum by (service, what) (rate(orderflow_relay_failures_total[5m]))",
)
RELAY_HELD_ORDERS: Final = Gauge(
    "relay_held_orders",
    "Orders that this process holds back: Kafka refuses a record of each, and they are too many to be parked.",
    ("service",),
    item="Orders held back",
    query="max by (service) (orderflow_relay_held_orders)",
)
RELAY_LEADS: Final = Gauge(
    "relay_leader",
    "1 where this process leads, 0 where it stands by.",
    ("service",),
    item="Relay leadership",
    query="sum by (service) (orderflow_relay_leader)",
)

# --- Reconciliation ---
FINDINGS: Final = Counter(
    "reconciliation_findings_total",
    "What reconciliations found, each time that they found it, by kind ([which there are](reconciliation.md)) and by "
    "what came of it: repaired, failed (tried again the next time), reported.",
    ("kind", "outcome"),
    item="Findings of reconciliation",
    query="sum by (kind, outcome) (increase(orderflow_reconciliation_findings_total[1h]))",
)

# --- Databases ---
STATEMENT_SECONDS: Final = Histogram(
    "statement_duration_seconds",
    "One statement, from sending it to its rows; waiting for a connection is not in it.",
    ("database", "statement"),
    buckets=FAST,
    item="Query latency by statement",
    query="histogram_quantile(0.95, sum by (le, statement) (rate(orderflow_statement_duration_seconds_bucket[5m])))",
)
STATEMENT_FAILURES: Final = Counter(
    "statement_failures_total",
    "Statements that failed: lost_race (tried again at once), unavailable, rejected, error (a bug).",
    ("database", "statement", "failure"),
    item="Failed queries",
    query="sum by (database, statement, failure) (rate(orderflow_statement_failures_total[5m]))",
)
POOL: Final = Pools(
    "pool_connections",
    "Connections of this process, in_use and idle; max is how many there may be.",
    item="Pool size, in use",
    query='sum by (database) (orderflow_pool_connections{state="in_use"}) '
    '/ sum by (database) (orderflow_pool_connections{state="max"})',
)
POOL_WAIT_SECONDS: Final = Histogram(
    "pool_wait_seconds",
    "Waiting for a free connection.",
    ("database",),
    buckets=FAST,
    item="Pool wait",
    query="histogram_quantile(0.95, sum by (le, database) (rate(orderflow_pool_wait_seconds_bucket[5m])))",
)
POOL_TIMEOUTS: Final = Counter(
    "pool_timeouts_total",
    "Waits for a free connection that were given up.",
    ("database",),
    item="Pool exhaustion",
    query="sum by (database) (rate(orderflow_pool_timeouts_total[5m]))",
)

# --- Inventory and payments ---
LOCK_WAIT_SECONDS: Final = Histogram(
    "inventory_lock_wait_seconds",
    "From the arrival of a reservation at Postgres until it holds the row locks of all its SKUs.",
    buckets=FAST,
    item="Inventory lock wait",
    query="histogram_quantile(0.95, sum by (le) (rate(orderflow_inventory_lock_wait_seconds_bucket[5m])))",
)
STOCK_REJECTIONS: Final = Counter(
    "stock_rejections_total",
    "Reservations that were rejected, by why.",
    ("reason",),
    item="Stock rejections",
    query="sum by (reason) (rate(orderflow_stock_rejections_total[5m]))",
)
GATEWAY_SECONDS: Final = Histogram(
    "gateway_call_duration_seconds",
    "One call of the payment gateway, by what came of it: ok, refused (its 4xx), unavailable (no answer, or none that "
    "says anything), error (a bug of ours), cancelled.",
    ("operation", "outcome"),
    buckets=WHOLE,
    item="Gateway latency and outcomes",
    query="histogram_quantile(0.95, sum by (le, operation) (rate(orderflow_gateway_call_duration_seconds_bucket[5m])))",
)

# --- The scrape itself ---
SAMPLE_FAILURES: Final = Counter(
    "sample_failures_total",
    "Gauges that could not be read at a scrape (what they stand for is away) and are left out of it.",
    ("sample",),
    item="Gauges that cannot be read",
    query="sum by (sample) (rate(orderflow_sample_failures_total[5m]))",
)
