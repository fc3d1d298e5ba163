"""Temporal, as its SDK in our processes sees it: are there workers, have they room, does the server answer?"""

from typing import Final

from tools.grafana.panels import Board, Panel, Query, Row, quantile, rate

HERE: Final = '{instance=~"$instance"}'

_NOW = Row(
    "Is the work taken?",
    (
        Panel(
            "Pollers by task queue",
            "Does anybody take tasks from each queue?",
            [Query(f"sum by (task_queue) (temporal_num_pollers{HERE})", "{{task_queue}}")],
            runbook="Worker missing",
            kind="stat",
            bad=1,
            falling=True,
            none="nobody",
            width=8,
        ),
        Panel(
            "Free slots",
            "Has a worker room for more? 0: it is full, and tasks wait.",
            [
                Query(
                    f"min by (task_queue, worker_type) (temporal_worker_task_slots_available{HERE})",
                    "{{task_queue}} {{worker_type}}",
                )
            ],
            runbook="Latency",
            kind="stat",
            warn=10,
            bad=1,
            falling=True,
            none="no worker",
            width=16,
        ),
        Panel(
            "Steps wait for a worker, p95",
            "How long does a step stand in its queue? More workers help where this grows.",
            [
                Query(
                    quantile(0.95, "temporal_activity_schedule_to_start_latency_seconds", "task_queue", where=HERE),
                    "{{task_queue}}",
                )
            ],
            unit="s",
            runbook="Latency",
            bad=1,
        ),
        Panel(
            "Workflow tasks wait for a worker, p95",
            "How long do the orders' own decisions wait? 100 are made at once by a worker, at most.",
            [
                Query(
                    quantile(
                        0.95, "temporal_workflow_task_schedule_to_start_latency_seconds", "task_queue", where=HERE
                    ),
                    "{{task_queue}}",
                )
            ],
            unit="s",
            runbook="Latency",
            bad=1,
        ),
        Panel(
            "Polls that fail",
            "Do workers reach Temporal?",
            [
                Query(
                    rate("temporal_long_request_failure_total", "operation", "status_code", where=HERE),
                    "{{operation}}: {{status_code}}",
                )
            ],
            unit="ops",
            runbook="Temporal away",
        ),
    ),
)

_TOLD = Row(
    "Has Temporal been told of every order?",
    (
        Panel(
            "Orders that wait to be told of",
            "How many orders must Temporal look at, and has not been told of? Of how many does it refuse to be told?",
            [
                Query("max by (service) (orderflow_handovers_waiting)", "wait"),
                Query("max by (service) (orderflow_handovers_refused_orders)", "refused"),
            ],
            runbook="Handover refused",
        ),
        Panel(
            "The oldest of them",
            "How long has the oldest waited of those that Temporal does not refuse?",
            [Query("max by (service) (orderflow_handovers_oldest_age_seconds)", "oldest")],
            unit="s",
            runbook="Handovers wait",
            bad=60,
        ),
        Panel(
            "The dispatchers",
            "What the API could not tell at once they tell. Does Temporal take it?",
            [Query(rate("orderflow_handovers_told_total", "outcome"), "{{outcome}}")],
            unit="ops",
            runbook="Handovers wait",
        ),
    ),
)

_REQUESTS = Row(
    "Does the server answer?",
    (
        Panel(
            "Requests",
            "What is asked of it?",
            [Query(rate("temporal_request_total", "operation", where=HERE), "{{operation}}")],
            unit="reqps",
        ),
        Panel(
            "Requests, p95",
            "Is it slow?",
            [Query(quantile(0.95, "temporal_request_latency_seconds", "operation", where=HERE), "{{operation}}")],
            unit="s",
            bad=1,
        ),
        Panel(
            "Requests that fail",
            "Why? NOT_FOUND of a signal or a describe is an order whose run has ended.",
            [
                Query(
                    rate("temporal_request_failure_total", "operation", "status_code", where=HERE),
                    "{{operation}}: {{status_code}}",
                )
            ],
            unit="reqps",
            runbook="Temporal away",
        ),
    ),
)

_WORK = Row(
    "What do workers do?",
    (
        Panel(
            "Workflow tasks, p95",
            "Is deciding slow? What is tried near is in it: 3 s at most. Above 10 s the task is given to another "
            "worker.",
            [
                Query(
                    quantile(0.95, "temporal_workflow_task_execution_latency_seconds", "workflow_type", where=HERE),
                    "{{workflow_type}}",
                ),
                Query(
                    quantile(0.95, "temporal_workflow_task_replay_latency_seconds", "workflow_type", where=HERE),
                    "{{workflow_type}}: replay",
                ),
            ],
            unit="s",
            bad=5,
        ),
        Panel(
            "Steps, p95",
            "Which step takes long, as Temporal sees it?",
            [
                Query(
                    quantile(0.95, "temporal_activity_execution_latency_seconds", "activity_type", where=HERE),
                    "{{activity_type}}",
                )
            ],
            unit="s",
            bad=5,
        ),
        Panel(
            "Local steps, p95",
            "Are the orders' own transitions slow?",
            [
                Query(
                    quantile(0.95, "temporal_local_activity_execution_latency_seconds", "activity_type", where=HERE),
                    "{{activity_type}}",
                )
            ],
            unit="s",
            bad=1,
        ),
        Panel(
            "Steps that fail",
            "Which steps end in an error, and are repeated?",
            [Query(rate("temporal_activity_execution_failed_total", "activity_type", where=HERE), "{{activity_type}}")],
            unit="ops",
            runbook="Orders stuck",
        ),
        Panel(
            "Slots in use",
            "How busy are the workers?",
            [
                Query(
                    f"sum by (task_queue, worker_type) (temporal_worker_task_slots_used{HERE})",
                    "{{task_queue}} {{worker_type}}",
                )
            ],
        ),
        Panel(
            "Workflows that end",
            "Do orders come to their end?",
            [Query(rate("temporal_workflow_completed_total", "workflow_type", where=HERE), "{{workflow_type}}")],
            unit="ops",
        ),
        Panel(
            "Sticky cache",
            "How many orders does a worker remember? Keep ORDERFLOW_WORKER_MAX_CACHED_WORKFLOWS above this.",
            [Query(f"sum by (instance) (temporal_sticky_cache_size{HERE})", "{{instance}}")],
            width=12,
        ),
        Panel(
            "Sticky cache, hits and misses",
            "How often is a history read and replayed because an order was forgotten?",
            [
                Query(rate("temporal_sticky_cache_hit_total", "task_queue", where=HERE), "{{task_queue}}: hit"),
                Query(rate("temporal_sticky_cache_miss_total", "task_queue", where=HERE), "{{task_queue}}: miss"),
            ],
            unit="ops",
            width=12,
        ),
    ),
)

_STRANGERS: Final = Row(
    "Does somebody else write into Temporal?",
    (
        Panel(
            "Answers of strangers",
            "Which steps were answered by what is no worker of ours, or lacks our key?",
            [Query(rate("orderflow_step_no_answers_total", "step", where=HERE), "{{step}}")],
            unit="ops",
            runbook="Stranger answers",
            width=12,
        ),
        Panel(
            "Payloads not opened",
            "Which could not be opened, and why: a key that is missing, another order's, damaged, not sealed at all?",
            [Query(rate("orderflow_payloads_not_opened_total", "reason", where=HERE), "{{reason}}")],
            unit="ops",
            runbook="Payloads not opened",
            width=12,
        ),
    ),
)

TEMPORAL: Final = Board(
    "temporal",
    "OrderFlow: Temporal",
    "Are there workers, have they room, and does Temporal answer? As the SDK in our processes sees it.",
    (_NOW, _TOLD, _REQUESTS, _WORK, _STRANGERS),
    by_instance=True,
)
