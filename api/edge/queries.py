"""A query says each thing once, in UTF-8, and nothing that its route does not know: else it is 422.

Which of two values counts, proxies and frameworks do not agree on; and a parameter that nobody reads is a typo.
"""

from collections.abc import Callable, Coroutine, Iterator
from typing import Any, Final
from urllib.parse import parse_qsl

from fastapi import Request, Response
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from pydantic import BaseModel

from api.http.problems import field_name, invalid
from orderflow.domain.errors import FieldProblem

MOST_PARAMETERS: Final = 50


class StrictRoute(APIRoute):
    """A route that takes a query as it is documented. For ``APIRouter(route_class=...)``."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """See APIRoute."""
        handle, known = super().get_route_handler(), frozenset(_parameters(self.dependant))

        async def handle_strictly(request: Request) -> Response:
            if query := request.scope["query_string"]:
                refuse_odd(query, known)
            return await handle(request)

        return handle_strictly


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
