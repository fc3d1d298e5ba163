"""What routes answer with, and what the OpenAPI document says of its headers."""

from typing import Any, Final

from fastapi import Response

from orderflow.domain.model import Model

_HEADERS: Final = {
    "Location": "Where it is.",
    "ETag": "The version, for `If-Match`.",
    "Idempotent-Replayed": "`true`: the same request came before, and this is its outcome.",
    "X-Correlation-ID": "What ties together what came of this request: the client's, or one that was made.",
    "Preference-Applied": "What of `Prefer` was followed.",
}


def documented_headers(*names: str) -> dict[str, Any]:
    """Of an answer, by name, as OpenAPI has them."""
    return {name: {"description": _HEADERS[name], "schema": {"type": "string"}} for name in names}


def document_response(document: Model, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """The document as JSON."""
    return Response(document.model_dump_json(), status, headers, "application/json")
