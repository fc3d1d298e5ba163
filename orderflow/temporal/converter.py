"""What travels to Temporal and back: pydantic models as JSON, and failures short enough to be kept."""

from collections.abc import Sequence
from typing import Any, Final

from pydantic import ValidationError
from temporalio.api.common.v1 import Payload
from temporalio.contrib.pydantic import PydanticPayloadConverter
from temporalio.converter import DataConverter

from orderflow.domain.model import what_is_wrong
from orderflow.temporal.failures import BriefFailureConverter


class _PayloadConverter(PydanticPayloadConverter):
    """pydantic's, which says of what it cannot read only what is wrong: errors go to logs, traces and the Web UI."""

    def from_payloads(self, payloads: Sequence[Payload], type_hints: list[type] | None = None) -> list[Any]:
        try:
            return super().from_payloads(payloads, type_hints)
        except ValidationError as error:
            raise ValueError(f"not a {error.title}: {what_is_wrong(error)}") from None


DATA_CONVERTER: Final = DataConverter(
    payload_converter_class=_PayloadConverter, failure_converter_class=BriefFailureConverter
)
