"""A query says each thing once, in UTF-8, and nothing that its route does not know: else it is 422.

Which of two values counts, proxies and frameworks do not agree on; and a parameter that nobody reads is a typo.
"""

from collections.abc import Iterator
from typing import Final
from urllib.parse import parse_qsl

from fastapi import Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from pydantic import BaseModel

from api.http.problems import field_name, invalid
from orderflow.domain.errors import FieldProblem

MOST_PARAMETERS: Final = 50


def judge_query(request: Request) -> None:
    """Of a route that knows who asks. Raises Rejection (422), which names each parameter and its rule."""
    if query := request.scope["query_string"]:
        route: APIRoute = request.scope["route"]
        refuse_odd(query, frozenset(_parameters(route.dependant)))


def refuse_odd(query: bytes, known: frozenset[str]) -> None:
    """Raises Rejection (422), which names each parameter and its rule."""
    try:
        sent = [
            name
            for name, _ in parse_qsl(
                query.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=MOST_PARAMETERS
            )
        ]
    except UnicodeError:
        raise invalid(FieldProblem(field="query", rule="not_utf8", message="Must be UTF-8, percent-encoded.")) from None
    except ValueError:
        message = f"Has at most {MOST_PARAMETERS} parameters."
        raise invalid(FieldProblem(field="query", rule="too_many", message=message)) from None
    errors = []
    for name in dict.fromkeys(sent):
        field = field_name("query", name)
        if name not in known:
            errors.append(FieldProblem(field=field, rule="extra_forbidden", message="There is no such field."))
        elif sent.count(name) > 1:
            errors.append(FieldProblem(field=field, rule="repeated", message="Must be sent once."))
    if errors:
        raise invalid(*errors)


def _parameters(dependant: Dependant) -> Iterator[str]:
    for field in dependant.query_params:
        annotation = field.field_info.annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            yield from annotation.model_fields
        else:
            yield field.alias
    for inner in dependant.dependencies:
        yield from _parameters(inner)
