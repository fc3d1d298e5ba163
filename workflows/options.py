"""How steps are called: time-outs and retries. Nothing is ever given up: an order waits, and goes on by itself."""

from datetime import timedelta
from typing import Final, TypedDict

from temporalio.common import RetryPolicy


class LocalOptions(TypedDict):
    """For reads and transitions of the order's own row."""

    start_to_close_timeout: timedelta
    local_retry_threshold: timedelta
    retry_policy: RetryPolicy


class NearOptions(TypedDict):
    """For the first attempt of a step, in the workflow task that wants it."""

    schedule_to_close_timeout: timedelta
    start_to_close_timeout: timedelta
    retry_policy: RetryPolicy


class FarOptions(TypedDict):
    """For a step on its service's task queue."""

    start_to_close_timeout: timedelta
    retry_policy: RetryPolicy


LOCAL: Final = LocalOptions(
    # Above the database's command time-out.
    start_to_close_timeout=timedelta(seconds=5),
    # Below the maximum interval, or it never acts: beyond it, waiting is a timer, not a held workflow task.
    local_retry_threshold=timedelta(seconds=2),
    retry_policy=RetryPolicy(initial_interval=timedelta(seconds=0.2), maximum_interval=timedelta(seconds=30)),
)

#: Above a gateway's usual answer, well below the 10 s of a workflow task: a signal waits for it.
NEAR_SECONDS: Final = 3.0
NEAR: Final = NearOptions(
    schedule_to_close_timeout=timedelta(seconds=NEAR_SECONDS),
    start_to_close_timeout=timedelta(seconds=NEAR_SECONDS),
    retry_policy=RetryPolicy(maximum_attempts=1),
)

FAR: Final = FarOptions(
    start_to_close_timeout=timedelta(seconds=15),
    retry_policy=RetryPolicy(initial_interval=timedelta(seconds=0.2), maximum_interval=timedelta(seconds=10)),
)

#: A step that failed although it is retried without bound met a bug; it is started again after this.
AFTER_A_BUG: Final = timedelta(seconds=30)

#: A run that was asked to look more often than this begins anew: well below the signals that Temporal lets a run have.
MOST_LOOKS: Final = 500
#: It does so when nobody has asked for so long.
CALM: Final = timedelta(seconds=1)
