"""How steps are called: time-outs and retries. Nothing is ever given up: an order waits, and goes on by itself."""

from datetime import timedelta
from typing import Final, TypedDict

from temporalio.common import RetryPolicy


class LocalOptions(TypedDict):
    """For transitions, which only write a row."""

    start_to_close_timeout: timedelta
    local_retry_threshold: timedelta
    retry_policy: RetryPolicy


class RemoteOptions(TypedDict):
    """For steps of the other services."""

    start_to_close_timeout: timedelta
    retry_policy: RetryPolicy


LOCAL: Final = LocalOptions(
    # Above the database's command time-out.
    start_to_close_timeout=timedelta(seconds=5),
    # Below the maximum interval, or it never acts: beyond it, waiting is a timer, not a held workflow task.
    local_retry_threshold=timedelta(seconds=2),
    retry_policy=RetryPolicy(initial_interval=timedelta(seconds=0.2), maximum_interval=timedelta(seconds=30)),
)

REMOTE: Final = RemoteOptions(
    start_to_close_timeout=timedelta(seconds=15),
    retry_policy=RetryPolicy(initial_interval=timedelta(seconds=0.2), maximum_interval=timedelta(seconds=10)),
)

#: A step that failed although it is retried without bound met a bug; it is started again after this.
AFTER_A_BUG: Final = timedelta(seconds=30)
