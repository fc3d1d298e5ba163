"""Payments: one an order."""

from enum import StrEnum

from orderflow.domain.lifecycle import NOTHING, Lifecycle, Transition
from orderflow_events.models import (
    PaymentAuthorized,
    PaymentCaptured,
    PaymentFailed,
    PaymentVoided,
    PaymentVoidRequested,
)


class PaymentStatus(StrEnum):
    """Where an order's payment stands. From VOIDING on the door is shut: no authorization can stand."""

    AUTHORIZED = "AUTHORIZED"
    DECLINED = "DECLINED"
    CAPTURED = "CAPTURED"
    VOIDING = "VOIDING"
    VOIDED = "VOIDED"


_STATUS = PaymentStatus

LIFECYCLE = Lifecycle(
    "payment",
    Transition("authorize", (NOTHING,), _STATUS.AUTHORIZED, PaymentAuthorized),
    Transition("authorize", (NOTHING,), _STATUS.DECLINED, PaymentFailed),
    Transition("capture", (_STATUS.AUTHORIZED,), _STATUS.CAPTURED, PaymentCaptured),
    Transition("void", (NOTHING, _STATUS.AUTHORIZED), _STATUS.VOIDING, PaymentVoidRequested),
    Transition("record_void", (_STATUS.VOIDING,), _STATUS.VOIDED, PaymentVoided),
)
