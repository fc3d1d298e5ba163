"""Failures as Temporal keeps them, and as its Web UI and ``explain`` show them: short enough to be kept at all.

Of a step that is tried again Temporal keeps the last failure up to 4 KiB (``limit.mutableStateActivityFailureSize``);
what is longer becomes "Failure exceeds size limit.", which helps nobody at night. The whole of it, with every frame, is
in the worker's log. A Rejection's details are not cut: it is not tried again, so that limit is not its.
"""

from collections.abc import Iterator
from typing import Final

from temporalio.api.failure.v1 import Failure
from temporalio.converter import DefaultFailureConverter, PayloadConverter
from temporalio.exceptions import ApplicationError

#: The type of our "no answer" in Temporal; its one detail is who gave none.
UNAVAILABLE: Final = "unavailable"
#: The type of a failure that we cannot read.
NOT_READ: Final = "not_read"
#: The message of one whose message is sealed, as Temporal's Web UI knows it.
ENCODED: Final = "Encoded failure"
MOST_BYTES: Final = 4096
#: The error that was raised, what led to it, and what led to that.
_LINKS: Final = 3
_MESSAGE_CHARACTERS: Final = 250
#: Of each, the innermost frames: where it happened.
_STACK_CHARACTERS: Final = 600
_CUT: Final = "…"


class BriefFailureConverter(DefaultFailureConverter):
    """Temporal's own, with long messages, stacks and chains of causes cut. Reading one never raises."""

    def to_failure(self, exception: BaseException, payload_converter: PayloadConverter, failure: Failure) -> None:
        """Make ``failure`` from ``exception``."""
        super().to_failure(exception, payload_converter, failure)
        for number, link in enumerate(_chain(failure), start=1):
            if len(link.message) > _MESSAGE_CHARACTERS:
                link.message = link.message[:_MESSAGE_CHARACTERS] + _CUT
            if len(link.stack_trace) > _STACK_CHARACTERS:
                kept = link.stack_trace[-_STACK_CHARACTERS:]
                link.stack_trace = f"{_CUT}\n{kept[kept.find('  File') :] if '  File' in kept else kept}"
            if number == _LINKS:
                link.ClearField("cause")

    def from_failure(self, failure: Failure, payload_converter: PayloadConverter) -> BaseException:
        """The exception. Whoever may fail a step writes it: what cannot be read is a failure all the same."""
        try:
            return super().from_failure(failure, payload_converter)
        except Exception as error:
            # Raised in a workflow, it would fail the workflow's task at each attempt, for ever.
            return ApplicationError(f"a failure that cannot be read: {type(error).__name__}", type=NOT_READ)


class SealedFailureConverter(BriefFailureConverter):
    """The same, with messages and stacks where the codec seals them: an error may say what is nobody's business."""

    def to_failure(self, exception: BaseException, payload_converter: PayloadConverter, failure: Failure) -> None:
        """Make ``failure`` from ``exception``."""
        super().to_failure(exception, payload_converter, failure)
        for link in _chain(failure):
            if link.message != ENCODED or not link.HasField("encoded_attributes"):
                said = {"message": link.message, "stack_trace": link.stack_trace}
                link.encoded_attributes.CopyFrom(payload_converter.to_payload(said))
                link.message, link.stack_trace = ENCODED, ""


def _chain(failure: Failure) -> Iterator[Failure]:
    link: Failure | None = failure
    while link is not None:
        yield link
        link = link.cause if link.HasField("cause") else None
