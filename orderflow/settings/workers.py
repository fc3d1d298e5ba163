"""The workers: where steps run, and how much a worker takes on."""

from typing import Literal

from pydantic import Field, PositiveInt

from orderflow.settings.common import CommonSettings
from orderflow.settings.kinds import PositiveSeconds, PositiveWholeSeconds


class WorkerSettings(CommonSettings):
    """The workers, and the orders that they carry."""

    # --- Workers ---
    steps: Literal["near", "far"] = Field(
        "near",
        description="Where the steps of payment and inventory run. `near`: in the orders worker first, once, where its "
        "process has that role too, and on the service's task queue if that gives no answer. `far`: on the task queue "
        "only, as where services are deployed apart. A run keeps what its first look found.",
    )
    draft_ttl_seconds: PositiveWholeSeconds = Field(86_400, description="A DRAFT order that is older expires.")
    worker_max_cached_workflows: PositiveInt = Field(
        1000, description="Above the number of orders in flight, or every step replays the order's history."
    )
    worker_max_concurrent_activities: PositiveInt = Field(50, description="Remote steps at once, per task queue.")
    worker_sticky_timeout_seconds: PositiveSeconds = Field(
        2.0, description="How long a dead worker's cached orders wait before another worker takes them."
    )
    worker_graceful_shutdown_seconds: PositiveSeconds = Field(30.0, description="Time for running steps at SIGTERM.")
