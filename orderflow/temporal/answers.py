"""What counts as a step's answer, and as a request for one: sealed where we seal, by a process of ours.

Whoever reaches Temporal may poll a task queue, take a step away from our workers, and answer it: with a plain "ok",
with what it was given, with an answer that it saw elsewhere. Or run a workflow under an order's id, and have it ask our
workers for a capture. None of that is an answer or a request of ours, and money never follows from it. This imports
nothing that talks to the world.
"""

from collections.abc import Callable
from typing import Any, Final, TypeVar
from uuid import UUID

from pydantic import ValidationError
from temporalio.common import RawValue

from orderflow.domain.model import Model, what_is_wrong

#: In the metadata of a payload that the codec has seen: the key that opened it; ``UNSEALED`` where it came plain.
OPENED_WITH: Final = "orderflow-opened-with"
UNSEALED: Final = b""
_JSON: Final = b"json/plain"


class NoAnswer(Exception):
    """What came back is no answer of that step to that order; the message says why, and quotes nothing."""


class CannotReplay(Exception):
    """An answer that the run was led by cannot be read now: the task fails, until it can."""


class Asked(Model):
    """The base of what steps are asked. Where we seal, the converter takes it only sealed for the very step."""


class Answer(Model):
    """The base of what steps answer. Who runs the step names it, and the order."""

    order_id: UUID | None = None
    step: str | None = None


_A = TypeVar("_A", bound=Answer)

#: Told of each that is none, by the step's name; a worker counts them.
report: Callable[[str], None] = lambda step: None  # noqa: E731


def answer_of(model: type[_A], found: RawValue | None, order_id: UUID, step: str, *, recorded: bool) -> _A:
    """The answer of ``step`` to ``order_id``. Raises NoAnswer.

    ``recorded``: the history says that it was taken for one, so its names and its seal are not asked for: answers from
    before 0.2.0 have none.
    """
    if found is None:
        raise NoAnswer("nothing came back")
    metadata = found.payload.metadata
    if metadata.get("encoding") != _JSON:
        raise NoAnswer("it cannot be read")
    if not recorded and metadata.get(OPENED_WITH) == UNSEALED:
        raise NoAnswer("it was not sealed by a worker of ours")
    try:
        answer = model.model_validate_json(found.payload.data, strict=True)
    except ValidationError as error:
        raise NoAnswer(f"it is not a {model.__name__}: {what_is_wrong(error)[:200]}") from None
    if not recorded and (answer.order_id, answer.step) != (order_id, step):
        raise NoAnswer("it does not name this step and this order")
    return answer


def named(result: Any, order_id: UUID | None, step: str) -> Any:
    """``result`` with the names of the step that gave it, where it is an Answer."""
    if isinstance(result, Answer):
        return result.model_copy(update={"order_id": order_id, "step": step})
    return result
