"""What travels to Temporal and back: pydantic models as JSON, sealed where there is a keyring, and brief failures."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError
from temporalio.api.common.v1 import Payload
from temporalio.contrib.pydantic import PydanticPayloadConverter
from temporalio.converter import DataConverter

from orderflow.domain.model import what_is_wrong
from orderflow.security.keyring import Keyring
from orderflow.telemetry.metrics import PAYLOADS_NOT_OPENED
from orderflow.temporal.answers import OPENED_WITH, UNSEALED, Asked
from orderflow.temporal.codec import SealingCodec, why_not_opened
from orderflow.temporal.failures import BriefFailureConverter, SealedFailureConverter


class NotReadable(ValueError):
    """A payload that cannot be opened; the message says why."""


class _PayloadConverter(PydanticPayloadConverter):
    """pydantic's, which says of what it cannot read only what is wrong: errors go to logs, traces and the Web UI."""

    def from_payloads(self, payloads: Sequence[Payload], type_hints: list[type] | None = None) -> list[Any]:
        try:
            return super().from_payloads(payloads, type_hints)
        except ValidationError as error:
            raise ValueError(f"not a {error.title}: {what_is_wrong(error)}") from None
        except (KeyError, RuntimeError):
            for payload in payloads:
                if (why := why_not_opened(payload)) is not None:
                    raise NotReadable(why) from None
            raise


class _SealedOnly(_PayloadConverter):
    """The same for who seals: what a step is asked comes sealed for that step, or is not read.

    An error here fails the attempt of a step, never a workflow's task: workflows are asked nothing.
    """

    def from_payloads(self, payloads: Sequence[Payload], type_hints: list[type] | None = None) -> list[Any]:
        for payload, hint in zip(payloads, type_hints or (), strict=False):
            if (
                isinstance(hint, type)
                and issubclass(hint, Asked)
                and payload.metadata.get(OPENED_WITH, UNSEALED) == UNSEALED
                and why_not_opened(payload) is None
            ):
                PAYLOADS_NOT_OPENED.add("unsealed")
                raise NotReadable("it was not sealed for this step by a process of ours")
        return super().from_payloads(payloads, type_hints)


class _DataConverter(DataConverter):
    """The SDK's, which does without external storage.

    The SDK's own raises for a payload that claims to lie there: a stranger's signal would fail its order's task for
    ever. To us it is a payload like any other that we cannot read.
    """

    async def _decode_reference_payload_sequence(self, payloads: Sequence[Payload]) -> list[Payload]:
        return list(payloads)

    async def _external_retrieve_payload_sequence(self, payloads: Sequence[Payload]) -> list[Payload]:
        return list(payloads)


#: Where nothing is sealed.
DATA_CONVERTER: Final[DataConverter] = _DataConverter(
    payload_converter_class=_PayloadConverter, failure_converter_class=BriefFailureConverter
)


def data_converter(keyring: Keyring | None, *, takes_plain: bool = False) -> DataConverter:
    """Production's: seals with ``keyring``; None: plain.

    Plain payloads of histories are read by either. ``takes_plain``: also steps do what they are asked unsealed.
    """
    if keyring is None:
        return DATA_CONVERTER
    return _DataConverter(
        payload_converter_class=_PayloadConverter if takes_plain else _SealedOnly,
        payload_codec=SealingCodec(keyring),
        failure_converter_class=SealedFailureConverter,
    )


def keyring_of(path: Path | None) -> Keyring | None:
    """The process's keyring in this file; None where none is set. Raises KeyFileError."""
    return None if path is None else _keyring(path.absolute())


@cache
def _keyring(path: Path) -> Keyring:
    return Keyring(path)
