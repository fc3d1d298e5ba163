"""The embedded stack of development and tests, and the folder in which it keeps its data."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from orderflow.settings.common import CommonSettings


class StackSettings(CommonSettings):
    """The embedded stack."""

    # --- Embedded stack (development and tests) ---
    data_dir: Path = Field(Path(".orderflow"), description="Where `orderflow up` keeps data, logs and its state.")
    stack_split_workers: bool = Field(
        False, description="One process per task queue. One process for all is 25 % faster on two cores."
    )
    stack_kafka: Literal["noida", "apache"] = Field(
        "noida", description="The embedded broker: noida-db, or Apache Kafka where Java and Maven are there."
    )
    stack_decline_rate: float = Field(
        0.0, ge=0, le=1, description="Share of authorizations that the gateway simulator declines."
    )
