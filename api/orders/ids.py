"""An order's id in a path."""

import re
from typing import Annotated, Final
from uuid import UUID

from fastapi import Path
from pydantic import BeforeValidator

from api.schemas import ORDER_ID
from orderflow.domain.errors import Problem, Rejection

_CANONICAL: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def _canonical(value: str) -> str:
    """An order has one path: its id as we write it. Raises Rejection (404), as for an order that is not there."""
    if not _CANONICAL.fullmatch(value):
        detail = "There is no order with this id: an id is a UUID in lower case, with its dashes."
        raise Rejection(Problem(slug="order_not_found", detail=detail, status=404))
    return value


OrderId = Annotated[
    UUID,
    BeforeValidator(_canonical),
    Path(examples=[ORDER_ID], json_schema_extra={"pattern": f"^{_CANONICAL.pattern}$"}),
]
