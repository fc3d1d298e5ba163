"""Outbox and Kafka: does every event get out, and does the tracking follow?"""

from typing import Final

from tools.grafana.panels import Board, Panel, Query, Row, quantile, rate

_NOW = Row(
    "Does every event arrive?",
    (
        Panel(
            "Oldest event that waits",
            "How late is Kafka told? Below a second when all is well.",
            [Query("max by (service) (orderflow_outbox_oldest_age_seconds)", "{{service}}")],
            unit="s",
            runbook="Outbox old",
            kind="stat",
            warn=10,
            bad=60,
            none="not known",
            width=6,
        ),
        Panel(
            "Who publishes",
            "Does a relay lead each database?",
            [Query("max by (service) (orderflow_relay_leader)", "{{service}}")],
            runbook="Relay without leader",
            kind="stat",
            bad=1,
            falling=True,
            words={"0": "nobody", "1": "led"},
            none="no relay",
            width=6,
        ),
        Panel(
            "Stopped partitions",
            "Has Kafka lost what it had acknowledged?",
            [Query("max by (service) (orderflow_outbox_stopped_partitions)", "{{service}}")],
            runbook="Topic truncated",
            kind="stat",
            bad=1,
            none="not known",
            width=4,
        ),
        Panel(
            "Parked orders",
            "Does Kafka refuse a record? Held back: it refuses too many for that to be the orders' fault.",
            [
                Query("max by (service) (orderflow_outbox_parked_orders)", "{{service}}"),
                Query("max by (service) (orderflow_relay_held_orders) > 0", "{{service}}, held back"),
            ],
            runbook="Orders parked",
            kind="stat",
            bad=1,
            none="not known",
            width=4,
        ),
        Panel(
            "Tracking behind",
            "How many records has the tracking still to do?",
            [Query("sum by (group) (max by (group, partition) (orderflow_consumer_lag_records))", "{{group}}")],
            runbook="Consumer lag",
            kind="stat",
            warn=100,
            bad=1000,
            none="not known",
            width=2,
        ),
        Panel(
            "Dead letters",
            "Which events could not be applied? Those that only follow them are not counted.",
            [
                Query(
                    'sum by (group) (max by (group, kind) (orderflow_dead_letters_waiting{kind!="follows"}))',
                    "{{group}}",
                )
            ],
            runbook="Dead letters",
            kind="stat",
            bad=1,
            none="none",
            width=2,
        ),
    ),
)

_OUTBOX = Row(
    "Out: outbox and relay",
    (
        Panel(
            "Outbox depth",
            "Does it fill up, or is it being worked off?",
            [Query("max by (service) (orderflow_outbox_entries)", "{{service}}")],
            runbook="Outbox old",
        ),
        Panel(
            "Age of the oldest entry",
            "Since when?",
            [Query("max by (service) (orderflow_outbox_oldest_age_seconds)", "{{service}}")],
            unit="s",
            runbook="Outbox old",
            bad=60,
        ),
        Panel(
            "Failures of the relay",
            "What does not work? round: reading, Kafka or recording; lease: its database.",
            [Query(rate("orderflow_relay_failures_total", "service", "what"), "{{service}}: {{what}}")],
            unit="ops",
            runbook="Relay without leader",
        ),
        Panel(
            "Published",
            "How much goes out?",
            [Query(rate("orderflow_relay_published_records_total", "service"), "{{service}}")],
            unit="ops",
        ),
        Panel(
            "Publish latency, p95",
            "Is Kafka slow? From a round's first record to its last acknowledgement.",
            [Query(quantile(0.95, "orderflow_relay_publish_duration_seconds", "service"), "{{service}}")],
            unit="s",
        ),
        Panel(
            "Records a round",
            "How full are the batches? The more the busier; 500 is all that is read at once.",
            [
                Query(
                    f"{rate('orderflow_relay_batch_records_sum', 'service')} "
                    f"/ {rate('orderflow_relay_batch_records_count', 'service')}",
                    "{{service}}",
                )
            ],
        ),
    ),
)

_CONSUMER = Row(
    "In: the tracking",
    (
        Panel(
            "Out and in",
            "Does the tracking keep up with the relays?",
            [
                Query("sum(rate(orderflow_relay_published_records_total[$__rate_interval]))", "published"),
                Query(rate("orderflow_consumed_records_total", "group"), "{{group}}"),
            ],
            unit="ops",
        ),
        Panel(
            "Lag by partition",
            "Is it one partition (a poison event, a lost member) or all?",
            [Query("max by (group, partition) (orderflow_consumer_lag_records)", "{{group}} {{partition}}")],
            runbook="Consumer lag",
            stacked=True,
        ),
        Panel(
            "Batches, p95",
            "Is its database slow?",
            [Query(quantile(0.95, "orderflow_consumer_batch_duration_seconds", "group"), "{{group}}")],
            unit="s",
        ),
        Panel(
            "Others in the group",
            "Does somebody else take part of the records?",
            [Query("max by (group) (orderflow_consumer_group_other_stacks)", "{{group}}")],
            runbook="Group shared",
            bad=1,
            width=12,
        ),
        Panel(
            "Findings of reconciliation an hour",
            "What contradicts what? Forgotten events are those that somebody deleted from an outbox.",
            [
                Query(
                    "sum by (kind, outcome) (increase(orderflow_reconciliation_findings_total[1h]))",
                    "{{kind}}: {{outcome}}",
                )
            ],
            runbook="Events forgotten",
            width=12,
        ),
        Panel(
            "Dead letters that wait",
            "How many, and how many of those only follow another?",
            [Query("max by (group, kind) (orderflow_dead_letters_waiting)", "{{group}}: {{kind}}")],
            runbook="Dead letters",
            width=12,
        ),
        Panel(
            "New dead letters an hour",
            "Is it still going on?",
            [Query("sum by (group, kind) (increase(orderflow_dead_letters_total[1h]))", "{{group}}: {{kind}}")],
            runbook="Dead letters",
            width=12,
        ),
    ),
)

STREAM: Final = Board(
    "stream",
    "OrderFlow: outbox and Kafka",
    "Does every event get out, in order, and does the tracking follow?",
    (_NOW, _OUTBOX, _CONSUMER),
)
