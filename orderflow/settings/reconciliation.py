"""The reconciliation: how often it compares, and what it reports."""

from typing import Annotated

from pydantic import Field, PositiveFloat

from orderflow.settings.common import CommonSettings


class ReconciliationSettings(CommonSettings):
    """When the reconciliation runs, and what is old enough for it."""

    # --- Reconciliation ---
    reconcile_interval_seconds: Annotated[int, Field(ge=0)] = Field(
        300, description="How often the reconciliation worker compares everything, by a Temporal Schedule; 0: never."
    )
    reconcile_repair: bool = Field(
        False, description="Whether a scheduled reconciliation also repairs what has a safe repair, or only reports."
    )
    reconcile_older_than_seconds: Annotated[float, Field(ge=0)] = Field(
        60.0, description="Only what has been wrong for longer is reported: nothing in motion is."
    )
    reconcile_stuck_seconds: PositiveFloat = Field(
        900.0,
        description="An order that waits longer for a service of ours (APPROVED, a capture), or for Temporal to be "
        "told of it, is reported.",
    )
    reconcile_waiting_hours: PositiveFloat = Field(
        72.0, description="An order that waits longer to be shipped, or to be completed, is reported."
    )
    reconcile_authorization_age_hours: PositiveFloat = Field(
        144.0, description="An authorization older than this is reported: most lapse after 7 days."
    )
    reconcile_outbox_seconds: PositiveFloat = Field(
        300.0, description="Events that wait longer for the relay are reported."
    )
    reconcile_window_hours: PositiveFloat = Field(
        72.0,
        description="Captures and closed workflows are compared when they are younger than this; live ones always.",
    )
