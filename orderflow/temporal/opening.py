"""Opens what Temporal kept, for people: whole messages, with every payload and failure in them."""

import json
from collections.abc import Iterable
from typing import TypeVar

from google.protobuf.message import Message
from temporalio.api.common.v1 import Payload
from temporalio.api.failure.v1 import Failure
from temporalio.converter import DataConverter

from orderflow.temporal.codec import SealingCodec, why_not_opened

_M = TypeVar("_M", bound=Message)


def opened(message: _M, converter: DataConverter) -> _M:
    """A copy in which what the converter's codec opens is plain. What it does not open says why, and stays closed."""
    codec = converter.payload_codec
    copy = type(message)()
    copy.CopyFrom(message)
    _open(copy, codec if isinstance(codec, SealingCodec) else None)
    return copy


def _open(message: Message, codec: SealingCodec | None) -> None:
    if isinstance(message, Payload):
        if codec is not None:
            message.CopyFrom(codec.open(message))
        return
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        if field.message_type.GetOptions().map_entry:
            if field.message_type.fields_by_name["value"].message_type is not None:
                _open_all(value.values(), codec)
        elif isinstance(value, Message):
            _open(value, codec)
        else:
            _open_all(value, codec)
    if isinstance(message, Failure):
        _speak(message)


def _open_all(messages: Iterable[Message], codec: SealingCodec | None) -> None:
    for message in messages:
        _open(message, codec)


def _speak(failure: Failure) -> None:
    """Put a failure's message and stack back where they are read."""
    if not failure.HasField("encoded_attributes"):
        return
    if (why := why_not_opened(failure.encoded_attributes)) is not None:
        failure.message = f"a message that cannot be read: {why}"
        return
    try:
        said = json.loads(failure.encoded_attributes.data)
    except ValueError:
        return
    if isinstance(said, dict):
        failure.message = str(said.get("message", ""))
        failure.stack_trace = str(said.get("stack_trace", ""))
