"""What travels to Temporal is sealed: its server, its database and its Web UI hold nothing that they could read.

AES-256-GCM with a key of the keyring, over the payload as it is. A sealed payload names its key, and what it is for:
the workflow's id, and the step's name where it is a step's. Both are checked: a payload that was copied from another
order, or from another step, cannot be opened there.

**Nothing here raises for what others wrote.** An exception in a codec fails the workflow's task, and does so again at
each attempt, for ever: one bad signal would freeze its order. What cannot be opened is marked, with the reason, and
whoever needs its content finds out then.
"""

import os
import re
from collections.abc import Sequence
from typing import Final

from cryptography.exceptions import InvalidTag
from google.protobuf.message import DecodeError
from temporalio.api.common.v1 import Payload
from temporalio.converter import (
    ActivitySerializationContext,
    PayloadCodec,
    SerializationContext,
    WithSerializationContext,
    WorkflowSerializationContext,
)

from orderflow.security.keyring import Keyring
from orderflow.telemetry.metrics import PAYLOADS_NOT_OPENED
from orderflow.temporal.answers import OPENED_WITH, UNSEALED

ENCODING: Final = b"binary/encrypted"
KEY_ID: Final = "encryption-key-id"
SEALED_FOR: Final = "encryption-context"
#: What a payload that cannot be opened becomes: its data is the reason.
NOT_OPENED: Final = b"orderflow/not-opened"
_NONCE_BYTES: Final = 12
#: What a Schedule adds to the id that it starts workflows with: its payloads are sealed once, for all of them.
_SCHEDULED: Final = re.compile(r"-\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")


class SealingCodec(PayloadCodec, WithSerializationContext):
    """Seals and opens. Without a context (a history in a file, the Web UI) it believes what a payload says it is for.

    That is no loss: what it is for was sealed too, so it is true of what can be opened.
    """

    def __init__(self, keyring: Keyring, sealed_for: bytes | None = None) -> None:
        self._keyring = keyring
        self._for = sealed_for

    def with_context(self, context: SerializationContext) -> "SealingCodec":
        """For what belongs to one workflow, or to one of its steps."""
        return SealingCodec(self._keyring, _named(context))

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Seal all of them with the newest key."""
        key_id, key = self._keyring.newest
        about = self._for or b""
        return [_sealed(payload, key_id, key, about) for payload in payloads]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Open what can be opened, and mark the rest. Raises nothing."""
        return [self.open(payload) for payload in payloads]

    def open(self, payload: Payload) -> Payload:
        """One payload, opened; or marked, and counted. Raises nothing."""
        encoding = payload.metadata.get("encoding")
        if encoding == NOT_OPENED:
            return _not_opened("foreign", "it came marked as one that cannot be opened")
        if encoding != ENCODING:
            return _marked(payload, UNSEALED)
        said = payload.metadata.get(KEY_ID, b"").decode("ascii", "replace")
        about = payload.metadata.get(SEALED_FOR, b"")
        here = self._for is None or about == self._for
        if not here and not _same_workflow(about, self._for or b""):
            return _not_opened(
                "foreign", f"it was sealed for another place ({short(about.decode('utf-8', 'replace'))})"
            )
        key = self._keyring.find(said)
        if key is None:
            return _not_opened("unknown_key", f"it was sealed with key {short(said)}, which this keyring lacks")
        nonce, box = payload.data[:_NONCE_BYTES], payload.data[_NONCE_BYTES:]
        try:
            opened = Payload.FromString(key.decrypt(nonce, box, _bound(said, about)))
        except (InvalidTag, ValueError, DecodeError):
            return _not_opened("damaged", f"it is damaged or forged (sealed with key {short(said)})")
        # Of another step of this run: no answer here, but a replay must find out which step was recorded.
        return _marked(opened, said.encode() if here else UNSEALED)


def why_not_opened(payload: Payload) -> str | None:
    """Why the content cannot be read, in words; None where it can."""
    encoding = payload.metadata.get("encoding")
    if encoding == NOT_OPENED:
        return short(payload.data.decode("utf-8", "replace"), 300)
    if encoding == ENCODING:
        said = payload.metadata.get(KEY_ID, b"").decode("ascii", "replace")
        return f"it was sealed with key {short(said)}, and ORDERFLOW_PAYLOAD_KEYRING_FILE is not set here"
    return None


def _sealed(payload: Payload, key_id: str, key: object, about: bytes) -> Payload:
    nonce = os.urandom(_NONCE_BYTES)
    box = key.encrypt(nonce, payload.SerializeToString(), _bound(key_id, about))  # type: ignore[attr-defined]
    return Payload(metadata={"encoding": ENCODING, KEY_ID: key_id.encode(), SEALED_FOR: about}, data=nonce + box)


def _bound(key_id: str, about: bytes) -> bytes:
    """What is authenticated with the content. Not the namespace: a Replayer has another."""
    return b"orderflow/payload|%s|%s" % (key_id.encode("ascii", "replace"), about)


def _named(context: SerializationContext) -> bytes | None:
    if isinstance(context, ActivitySerializationContext):
        return _place(context.workflow_id or "", context.activity_type or "")
    if isinstance(context, WorkflowSerializationContext):
        return _place(context.workflow_id, "")
    return None


def _place(workflow_id: str, step: str) -> bytes:
    return f"{_SCHEDULED.sub('', workflow_id)}|{step}".encode()


def _same_workflow(one: bytes, other: bytes) -> bool:
    return one.rpartition(b"|")[0] == other.rpartition(b"|")[0]


def _marked(payload: Payload, opened_with: bytes) -> Payload:
    marked = Payload()
    marked.CopyFrom(payload)
    marked.metadata[OPENED_WITH] = opened_with
    return marked


def _not_opened(reason: str, why: str) -> Payload:
    PAYLOADS_NOT_OPENED.add(reason)
    return Payload(metadata={"encoding": NOT_OPENED, OPENED_WITH: UNSEALED}, data=why.encode())


def short(said: str, most: int = 80) -> str:
    """As others wrote it, fit for a line."""
    return repr(said)[1:-1][:most]
