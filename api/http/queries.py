"""A query says each thing once, in UTF-8, and nothing that its route does not know: else it is 422.

Which of two values counts, proxies and frameworks do not agree on; and a parameter that nobody reads is a typo.
"""

from collections.abc import Callable, Iterator
from typing import Any, Final
from urllib.parse import parse_qsl
from weakref import WeakKeyDictionary

from fastapi import Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from pydantic import BaseModel

from api.http.problems import field_name, invalid
from orderflow.domain.errors import FieldProblem

MOST_PARAMETERS: Final = 50
#: By the function of a route, as routes themselves have no hash.
_KNOWN: Final[WeakKeyDictionary[Callable[..., Any], frozenset[str]]] = WeakKeyDictionary()


def judge_query(request: Request) -> None:
    """Of a route that knows who asks. Raises Rejection (422), which names each parameter and its rule."""
    if query := request.scope["query_string"]:
        refuse_odd(query, _known(request.scope["route"]))


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


def _known(route: APIRoute) -> frozenset[str]:
    """What the route's query may have; looked up once for each route."""
    found = _KNOWN.get(route.endpoint)
    if found is None:
        found = _KNOWN[route.endpoint] = frozenset(_parameters(route.dependant))
    return found


def _parameters(dependant: Dependant) -> Iterator[str]:
    for field in dependant.query_params:
        annotation = field.field_info.annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            yield from annotation.model_fields
        else:
            yield field.alias
    for inner in dependant.dependencies:
        yield from _parameters(inner)
