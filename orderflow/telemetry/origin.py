"""Whom a line, a span or a step is about: the order, its workflow, the request behind it, and that request's trace."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from orderflow.telemetry import spans

_ORDER: Final = "order-"


@dataclass(frozen=True, slots=True)
class Origin:
    """Who asked for a step: the correlation id ("" where it is not known) and the ``traceparent`` of the command."""

    correlation_id: str = ""
    traceparent: str | None = None


def origin_of(arguments: Sequence[object]) -> Origin:
    """What a step's request says of its origin."""
    request = arguments[0] if arguments else None
    said = getattr(request, "trace", None) or getattr(request, "command", None)
    return Origin(getattr(said, "correlation_id", ""), getattr(said, "traceparent", None))


def identify(workflow_id: str | None, run_id: str | None, origin: Origin) -> dict[str, str]:
    """What a line says of the order and the request it is about; what is not known is left out."""
    order = workflow_id.removeprefix(_ORDER) if workflow_id and workflow_id.startswith(_ORDER) else None
    found = {
        "order_id": order,
        "correlation_id": origin.correlation_id,
        "workflow_id": workflow_id,
        "run_id": run_id,
        "trace_id": spans.trace_id(origin.traceparent),
    }
    return {name: value for name, value in found.items() if value}


def about_order(order_id: object, correlation_id: str = "", traceparent: str | None = None) -> dict[str, str]:
    """The same for who has an order before them, and no workflow."""
    return identify(f"{_ORDER}{order_id}", None, Origin(correlation_id, traceparent))
