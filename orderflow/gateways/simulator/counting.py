"""What the gateway counts about its calls, as Prometheus reads it. Kept in memory: a restart begins at 0."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import Final

import prometheus_client as client
from starlette.responses import Response

from orderflow.gateways.simulator.ledger import Operation

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
#: Seconds. The ledger takes well under a millisecond; the rest is what a token or a fault keeps back.
BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
REQUESTS: Final = "gateway_simulator_requests_total"
SECONDS: Final = "gateway_simulator_request_duration_seconds"
#: Name, type, labels and meaning of each.
METRICS: Final = (
    (
        REQUESTS,
        "counter",
        ("operation", "outcome"),
        "Calls of an operation, by what came of them: ok, refused (a 4xx that is remembered), replayed (the answer of "
        "an earlier call), lost (it happened, the answer was a 500), failed (a 503, nothing happened), invalid.",
    ),
    (
        SECONDS,
        "histogram",
        ("operation",),
        "From a call's arrival to its answer, what a fault or a slow token adds included.",
    ),
)


class CallOutcome(StrEnum):
    """What came of a call."""

    OK = "ok"
    REFUSED = "refused"
    REPLAYED = "replayed"
    LOST = "lost"
    FAILED = "failed"
    INVALID = "invalid"


class CountedCall:
    """One call, which has failed until ``outcome`` says otherwise."""

    def __init__(self) -> None:
        self.outcome = CallOutcome.FAILED


class Counting:
    """The counts of one gateway, and the page that shows them."""

    def __init__(self) -> None:
        self._registry = client.CollectorRegistry()
        client.ProcessCollector(registry=self._registry)
        (name, _, labels, help), (name_of_seconds, _, labels_of_seconds, help_of_seconds) = METRICS
        self._requests = client.Counter(name, help, labels, registry=self._registry)
        self._seconds = client.Histogram(
            name_of_seconds, help_of_seconds, labels_of_seconds, buckets=BUCKETS, registry=self._registry
        )
        for operation in Operation:  # so that the first of its kind is an increase
            self._seconds.labels(operation)
            for outcome in CallOutcome:
                self._requests.labels(operation, outcome)

    @contextmanager
    def call(self, operation: Operation) -> Iterator[CountedCall]:
        """Around one call: count it by the outcome that it has at the end."""
        started_at = time.perf_counter()
        counted = CountedCall()
        try:
            yield counted
        finally:
            self._seconds.labels(operation).observe(time.perf_counter() - started_at)
            self._requests.labels(operation, counted.outcome).inc()

    def page(self) -> Response:
        """The answer to a scrape."""
        return Response(client.generate_latest(self._registry), media_type=CONTENT_TYPE)
