"""The reconciliation: how often it compares, and what it reports."""

from pydantic import Field

from orderflow.settings.common import CommonSettings
from orderflow.settings.kinds import PositiveHours, PositiveSeconds, Seconds, WholeSeconds


class ReconciliationSettings(CommonSettings):
    """When the reconciliation runs, and what is old enough for it."""

    # --- Reconciliation ---
    reconcile_interval_seconds: WholeSeconds = Field(
        300, description="How often the reconciliation worker compares everything, by a Temporal Schedule; 0: never."
    )
    reconcile_repair: bool = Field(
        False, description="Whether a scheduled reconciliation also repairs what has a safe repair, or only reports."
    )
    reconcile_older_than_seconds: Seconds = Field(
        60.0, description="Only what has been wrong for longer is reported: nothing in motion is."
    )
    reconcile_stuck_seconds: PositiveSeconds = Field(
        900.0,
        description="An order that waits longer for a service of ours (APPROVED, a capture), or for Temporal to be "
        "told of it, is reported.",
    )
    reconcile_waiting_hours: PositiveHours = Field(
        72.0, description="An order that waits longer to be shipped, or to be completed, is reported."
    )
    reconcile_authorization_age_hours: PositiveHours = Field(
        144.0, description="An authorization older than this is reported: most lapse after 7 days."
    )
    reconcile_outbox_seconds: PositiveSeconds = Field(
        300.0, description="Events that wait longer for the relay are reported."
    )
    reconcile_window_hours: PositiveHours = Field(
        72.0,
        description="Captures and closed workflows are compared when they are younger than this; live ones always.",
    )
