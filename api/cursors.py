"""Cursors: where a page ended, opaque to clients."""

import base64
import binascii
import json
from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from pydantic import TypeAdapter, ValidationError

from api.http.problems import invalid
from orderflow.domain.errors import FieldProblem, Rejection
from orderflow.domain.orders import Sku
from orderflow.store.order_views import PageEnd

_SKU = TypeAdapter(Sku)


def of_page_end(end: PageEnd) -> str:
    """A page of orders ended here."""
    return _encode([end.created_at.isoformat(), str(end.order_id)])


def to_page_end(cursor: str) -> PageEnd:
    """Raises Rejection."""
    try:
        created_at, order_id = _decode(cursor, 2)
        moment = datetime.fromisoformat(created_at)
        if moment.utcoffset():
            raise ValueError("a cursor of ours is in UTC")
        if moment.tzinfo is None:
            raise ValueError("a cursor of ours has an offset")
        return PageEnd(moment, UUID(order_id))
    except ValueError:
        raise _invalid() from None


def of_sku(sku: str) -> str:
    """A page of stock ended here."""
    return _encode([sku])


def to_sku(cursor: str) -> str:
    """Raises Rejection."""
    try:
        [sku] = _decode(cursor, 1)
        return _SKU.validate_python(sku)
    except (ValueError, ValidationError):
        raise _invalid() from None


def _encode(parts: Sequence[str]) -> str:
    return base64.urlsafe_b64encode(json.dumps(parts, separators=(",", ":")).encode()).decode().rstrip("=")


def _decode(cursor: str, length: int) -> list[str]:
    try:
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        parts = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True).decode())
    except (binascii.Error, UnicodeError, json.JSONDecodeError, RecursionError) as error:
        raise ValueError("not a cursor") from error
    if not isinstance(parts, list) or len(parts) != length or not all(isinstance(part, str) for part in parts):
        raise ValueError("not a cursor of this list")
    return parts


def _invalid() -> Rejection:
    message = "Must be the next_cursor of a page of this list."
    return invalid(FieldProblem(field="query.cursor", rule="cursor", message=message))
