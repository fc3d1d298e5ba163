"""What each problem type means: a page for each ``type``, under the last part of its name."""

from typing import Annotated

from fastapi import APIRouter, Path, Response

from api.http import problems
from api.identity.authorization import OPEN
from orderflow.domain.errors import Problem, Rejection
from orderflow.domain.model import Model


class ProblemPage(Model):
    """A problem type."""

    type: str
    status: int
    title: str
    meaning: str


class ProblemPages(Model):
    """All of them."""

    problems: tuple[ProblemPage, ...]


def problem_router() -> APIRouter:
    """All routes below /problems."""
    router = APIRouter(prefix="/problems", tags=["problems"], dependencies=[OPEN])
    pages = {
        slug: ProblemPage(type=problems.type_uri(slug), status=kind.status, title=kind.title, meaning=kind.meaning)
        for slug, kind in problems.TYPES.items()
    }

    @router.get("", summary="All problem types", response_model=ProblemPages, responses=problems.responses())
    async def list_problems() -> Response:
        """By status."""
        document = ProblemPages(problems=tuple(pages.values()))
        return Response(document.model_dump_json(), media_type="application/json")

    @router.get(
        "/{slug}",
        summary="One problem type",
        response_model=ProblemPage,
        responses=problems.responses("not_found", "invalid"),
    )
    async def read_problem(slug: Annotated[str, Path(examples=["invalid"])]) -> Response:
        """What it means, and what to do."""
        if slug not in pages:
            raise Rejection(Problem(slug="not_found", detail="There is no such problem type.", status=404))
        return Response(pages[slug].model_dump_json(), media_type="application/json")

    return router
