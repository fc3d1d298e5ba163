"""How an event travels: CloudEvents 1.0 in Kafka's binary mode (the attributes are headers, the value is JSON).

============================  ==========================================================================
key                           the order id, so that an order's events stay in one partition, in order
``content-type``              ``application/json``
``ce_specversion``            ``1.0``
``ce_id``                     ``<service>/<order id>/<version>``, the same on every resend
``ce_source``                 ``/orderflow/orders``, ``/orderflow/payments``, ``/orderflow/inventory``
``ce_type``                   ``ORDER_APPROVED`` ...: a name of ``orderflow_events.models.EVENTS``
``ce_subject``                the order id
``ce_sequence``               the version, 1, 2, 3 ... per source and order, as ten digits: it sorts as text
``ce_time``                   when it happened (RFC 3339, UTC)
``ce_dataschema``             ``urn:orderflow:event:<type>:<n>``; n grows when old readers could not read it
``ce_correlationid``          the request that started it
``ce_traceparent``            the W3C trace context in which it happened (only when known)
``ce_authtype``               who asked for it, an open vocabulary: ``api_key``, ``system`` ...; ``unknown`` without
``ce_authid``                 the asker's opaque id (only where there is one)
``traceparent``               that of the record's sending, or the same where the relay does not trace
value                         ``{"order_id", "version", "status", "recorded_at", "data": {...}}``
============================  ==========================================================================

``status`` is what the source's part of the order became; ``data`` is the event model's. The value repeats what one
needs without headers (a stream processor, a lake); ``data`` is nested so that its fields never clash with ours.

``decode`` takes a record only if its parts agree: key, headers and value name the same order, version and time, the
source is the service that owns the type, and the status is one that the type leads to. What an ``Envelope`` keeps of
it has a greatest length (``LONGEST_HEADERS``), so that every row and index can hold it, and source and type are
printable. That is no proof of who wrote it: who may write to the topic is the brokers' to say (docs/kafka.md).
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, ClassVar, Final
from uuid import UUID

from pydantic import ConfigDict, ValidationError

from orderflow_events.models import EVENTS, STATUSES, Event
from orderflow_events.printable import printable

#: What a database's integer holds.
_MOST_VERSIONS: Final = 2**31 - 1
_LONGEST_SEQUENCE: Final = 10
#: So many wrong fields are named.
_MOST_FAULTS: Final = 5

#: The version of every data schema so far.
SCHEMA_VERSION = 1
#: The only header of a record that stands for a batch that cannot be read (``kafka_reader``): why, as ``Unreadable``.
UNREADABLE = "orderflow_unreadable"

#: How many characters each header may have, and the status in the value. An index of Postgres holds 2,704 bytes, and
#: source, type and status stand in the keys of tables. Of ours none is longer than 100.
LONGEST_HEADERS: Final[Mapping[str, int]] = {
    "ce_source": 200,
    "ce_type": 200,
    "ce_authtype": 200,
    "ce_authid": 1_000,
    "ce_correlationid": 1_000,
    "ce_traceparent": 1_000,
    "traceparent": 1_000,
}
LONGEST_STATUS: Final = 200
#: What names an event in logs, in reasons and on terminals.
_PRINTABLE: Final = ("ce_source", "ce_type")


class EnvelopeError(ValueError):
    """A record that is none of ours: a header is missing, or the value is not what its type says."""


class Unreadable(bytes):
    """The reader's own word for why a batch cannot be read. What was sent is plain bytes, and no word of ours."""


class UnknownEvent(Event):
    """An event of a type, or of a schema version, that this release does not know: its data, as it came."""

    model_config = ConfigDict(frozen=True, extra="allow")
    type: ClassVar[str] = ""
    source: ClassVar[str] = ""


@dataclass(frozen=True, slots=True)
class Record:
    """What goes to Kafka."""

    key: bytes
    value: bytes
    headers: tuple[tuple[str, bytes], ...]


@dataclass(frozen=True, slots=True)
class Envelope:
    """An event and what is known about it. ``(source, order_id, version)`` is its identity."""

    id: str
    source: str
    type: str
    order_id: UUID
    version: int
    status: str
    recorded_at: datetime
    correlation_id: str
    #: The W3C trace context in which the event happened (``ce_traceparent``).
    traceparent: str | None
    event: Event
    #: Who asked for it (CloudEvents' authcontext): a kind, of an open vocabulary, and an opaque id.
    authtype: str = "unknown"
    authid: str | None = None
    #: That of the record's sending (plain ``traceparent``): what a consumer's span hangs under, or links to.
    sent_traceparent: str | None = None

    @property
    def dataschema(self) -> str:
        """The schema of the events that we write."""
        return dataschema(self.type)


def dataschema(event_type: str) -> str:
    """The URI-reference that names a type's schema."""
    return f"urn:orderflow:event:{event_type}:{SCHEMA_VERSION}"


def encode(
    *,
    source: str,
    type: str,
    order_id: UUID,
    version: int,
    status: str,
    recorded_at: datetime,
    correlation_id: str,
    traceparent: str | None,
    data: Mapping[str, Any],
    authtype: str = "unknown",
    authid: str | None = None,
) -> Record:
    """The record of one event. ``source`` is ``/orderflow/<service>``; ``recorded_at`` is aware; ``data`` is JSON data.

    Raises EnvelopeError for what cannot be written as JSON or UTF-8.
    """
    time = recorded_at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    attributes = {
        "content-type": "application/json",
        "ce_specversion": "1.0",
        "ce_id": event_id(source, order_id, version),
        "ce_source": source,
        "ce_type": type,
        "ce_subject": str(order_id),
        "ce_sequence": f"{version:010d}",
        "ce_time": time,
        "ce_dataschema": dataschema(type),
        "ce_correlationid": correlation_id,
        "ce_authtype": authtype,
    }
    if authid is not None:
        attributes["ce_authid"] = authid
    if traceparent is not None:
        attributes["ce_traceparent"] = attributes["traceparent"] = traceparent
    value = {"order_id": str(order_id), "version": version, "status": status, "recorded_at": time, "data": data}
    try:
        return Record(
            key=str(order_id).encode(),
            value=json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode(),
            headers=tuple((name, text.encode()) for name, text in attributes.items()),
        )
    except (TypeError, ValueError) as error:  # UnicodeEncodeError (a lone surrogate) is a ValueError
        raise EnvelopeError(f"{attributes['ce_id']} cannot be encoded: {error}") from error


def decode(headers: Iterable[tuple[str, bytes | None]], key: bytes | None, value: bytes | None) -> Envelope:
    """Read a record of the topic. An unknown type, or a newer schema of a known one, becomes an ``UnknownEvent``.

    Raises EnvelopeError, and nothing else. It says which part is wrong, and quotes nothing of the record.
    """
    try:
        attributes = _attributes(headers)
        if attributes["ce_specversion"] != "1.0":
            raise EnvelopeError("ce_specversion is not 1.0")
        source, event_type = attributes["ce_source"], attributes["ce_type"]
        order_id = _order_id(attributes["ce_subject"], key)
        version = _version(attributes["ce_sequence"])
        if attributes["ce_id"] != event_id(source, order_id, version):
            raise EnvelopeError("ce_id is not <service>/<ce_subject>/<ce_sequence>")
        model = EVENTS.get(event_type)
        if model is not None and source != model.source:
            raise EnvelopeError(f"ce_source is not {model.source}, to which {event_type} belongs")
        text = (value or b"").decode()
        body = json.loads(text)
        _refuse_halves(text, body)
        recorded_at = _time("ce_time", attributes["ce_time"])
        _same("order_id", body["order_id"], str(order_id), "ce_subject")
        _same("version", body["version"], version, "ce_sequence")
        _same("recorded_at", _time("recorded_at", body["recorded_at"]), recorded_at, "ce_time")
        status = body["status"]
        if not isinstance(status, str):
            raise EnvelopeError("status is no text")
        _refuse_longer("status", status, LONGEST_STATUS)
        known = model if model and attributes.get("ce_dataschema") == dataschema(event_type) else UnknownEvent
        event = known.model_validate(body["data"])
        if event.leads_to not in (None, status):
            raise EnvelopeError(f"status is not {_word(event.leads_to)}, to which {event_type} leads")
        return Envelope(
            id=attributes["ce_id"],
            source=source,
            type=event_type,
            order_id=order_id,
            version=version,
            status=status,
            recorded_at=recorded_at,
            correlation_id=attributes.get("ce_correlationid", ""),
            traceparent=attributes.get("ce_traceparent"),
            authtype=attributes.get("ce_authtype", "unknown"),
            authid=attributes.get("ce_authid"),
            sent_traceparent=attributes.get("traceparent"),
            event=event,
        )
    except EnvelopeError:
        raise
    except KeyError as error:
        raise EnvelopeError(f"{error} is missing") from error
    except json.JSONDecodeError as error:
        raise EnvelopeError(f"the value is no JSON: {error.msg} at character {error.pos}") from None
    except ValidationError as error:
        raise EnvelopeError(f"data is not what its type says: {_faults(error)}") from None
    except (AttributeError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise EnvelopeError(f"not an event of OrderFlow ({type(error).__name__})") from None


def event_id(source: str, order_id: UUID, version: int) -> str:
    """``ce_id``: what makes an event one, in one text."""
    return f"{source.rpartition('/')[2]}/{order_id}/{version}"


def _order_id(subject: str, key: bytes | None) -> UUID:
    try:
        order_id = UUID(subject)
    except ValueError:
        raise EnvelopeError("ce_subject is no order id") from None
    if key != str(order_id).encode():
        raise EnvelopeError("the key is not ce_subject")
    return order_id


def _version(sequence: str) -> int:
    if not (sequence.isascii() and sequence.isdecimal() and len(sequence) <= _LONGEST_SEQUENCE):
        raise EnvelopeError("ce_sequence is not a version: it must have 1 to 10 digits")
    version = int(sequence)
    if not 1 <= version <= _MOST_VERSIONS:
        raise EnvelopeError(f"ce_sequence is not a version: it must be 1 to {_MOST_VERSIONS}")
    return version


def _same(field: str, said: object, header: object, name: str) -> None:
    if said != header or isinstance(said, bool):
        raise EnvelopeError(f"{field} in the value is not {name}")


def _word(status: str | None) -> str:
    """A status of ours as it is; what a record says of itself is not quoted."""
    return status if status in STATUSES else "what data says"


def _faults(error: ValidationError) -> str:
    """Which fields, and what is wrong with them, without what they hold."""
    faults = error.errors(include_url=False, include_context=False, include_input=False)
    return "; ".join(f"{'.'.join(map(str, fault['loc'])) or 'data'}: {fault['msg']}" for fault in faults[:_MOST_FAULTS])


def _attributes(headers: Iterable[tuple[str, bytes | None]]) -> dict[str, str]:
    attributes = {}
    for name, raw in headers:
        if not _is_text(name):
            raise EnvelopeError(f"the name of the header {printable(name)} is not UTF-8")
        if name == UNREADABLE:
            raise EnvelopeError(
                raw.decode(errors="replace") if isinstance(raw, Unreadable) else f"{name} is no header of an event"
            )
        if raw is None:
            raise EnvelopeError("a header has no value")
        attributes[name] = raw.decode()
    for name, longest in LONGEST_HEADERS.items():
        _refuse_longer(name, attributes.get(name, ""), longest)
    for name in _PRINTABLE:
        if not attributes.get(name, "").isprintable():
            raise EnvelopeError(f"{name} is not printable")
    return attributes


def _refuse_longer(name: str, text: str, longest: int) -> None:
    if len(text) > longest:
        raise EnvelopeError(f"{name} has more than {longest} characters")


def _refuse_halves(value: str, body: Any) -> None:
    """Half of a surrogate pair: JSON can write it, and nobody can encode it again."""
    if "\\ud" in value or "\\uD" in value:
        for text in _texts(body):
            if not _is_text(text):
                raise EnvelopeError("the value has half of a surrogate pair in it")


def _texts(body: Any) -> Iterator[str]:
    if isinstance(body, str):
        yield body
    elif isinstance(body, Mapping):
        for name, inner in body.items():
            yield name
            yield from _texts(inner)
    elif isinstance(body, list):
        for inner in body:
            yield from _texts(inner)


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _time(name: str, text: str) -> datetime:
    try:
        time = datetime.fromisoformat(text)
        time.astimezone(UTC)  # OverflowError: in UTC it is before the year 1, or after 9999
    except (TypeError, ValueError, OverflowError):
        raise EnvelopeError(f"{name} is no time between the years 1 and 9999") from None
    if time.tzinfo is None:
        raise EnvelopeError(f"{name} has no offset")
    return time
