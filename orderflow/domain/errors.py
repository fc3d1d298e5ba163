"""The whole error tree.

``Rejection``: a command that changed nothing. Recorded, never retried.
``Unavailable``: a dependency that says nothing, or an error (``Failing``), or lets nobody in (``AccessDenied``). Always
retried.
Declined and out of stock are neither: they are results, with an event.
Anything else is a bug.
"""

from typing import Any, ClassVar

from orderflow.domain.model import Model


class FieldProblem(Model):
    """One field of a request that broke one rule."""

    field: str
    rule: str
    message: str


class Problem(Model):
    """Why something was refused: what RFC 9457 calls a problem, before it is HTTP.

    ``slug`` names the type for programs, ``detail`` says it to people in one sentence, ``status`` is the HTTP status.
    """

    slug: str
    detail: str
    status: int
    allowed_actions: tuple[str, ...] | None = None
    current_status: str | None = None
    current_version: int | None = None
    errors: tuple[FieldProblem, ...] | None = None

    def to_data(self) -> dict[str, Any]:
        """As JSON data, without the fields that say nothing."""
        return self.model_dump(mode="json", exclude_none=True)


class Rejection(Exception):
    """A command that changed nothing, and never will."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.detail)
        self.problem = problem


class Unavailable(Exception):
    """A dependency that gave no answer. Try again.


    ``detail`` is for logs and operators; ``cause`` says in words that clients may read what the matter is, if known;
    ``complaint``: what the dependency does, for people.
    """

    complaint: ClassVar[str] = "does not answer"

    def __init__(self, dependency: str, detail: str, cause: str | None = None) -> None:
        super().__init__(f"{dependency}: {detail}")
        self.dependency = dependency
        self.detail = detail
        self.cause = cause


class Failing(Unavailable):
    """It answers, with an error: it starts, is full, lacks a table."""

    complaint = "answers with an error"


class AccessDenied(Unavailable):
    """It answers, and refuses our user, password or key. Tried again all the same: somebody may put that right."""

    complaint = "refuses access"
