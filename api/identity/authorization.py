"""What a caller may do: each route says which scope it needs, or that it is open to anybody; no other is served."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Final

from fastapi import APIRouter, Depends, Request
from fastapi.routing import APIRoute

from api.http.prefix import path_below
from api.http.problems import TYPES, ProblemAnswer
from api.http.queries import judge_query
from api.identity.authentication import Identities, authenticate
from api.limits.admission import ALWAYS, ENDS
from api.limits.rates import Limits, peer, route_class
from api.limits.shares import Shares
from orderflow.domain.access import Principal, Scope
from orderflow.domain.errors import FieldProblem, Problem
from orderflow.telemetry import spans

#: Where the application's state has its Gate.
GATE: Final = "gate"


@dataclass(frozen=True, slots=True)
class Gate:
    """What a caller must pass: who it is, how often it may ask, and how much of this process it may take."""

    identities: Identities
    limits: Limits
    shares: Shares


@dataclass(frozen=True, slots=True)
class Requires:
    """A dependency: the caller, who is known and has ``scope``. Raises ProblemAnswer (401, 403, 429).

    Who is let in is told what is wrong with the query, and nobody else: Rejection (422).
    """

    scope: Scope

    async def __call__(self, request: Request) -> Principal:
        """The caller."""
        gate: Gate = getattr(request.app.state, GATE)
        caller = await authenticate(request, gate.identities, gate.limits)
        await gate.limits.take(route_class(request.method), caller.id)
        request.state.principal = caller
        spans.note(authtype=caller.type, authid=caller.id)
        if self.scope not in caller.scopes:
            raise forbidden(f"It needs the scope {self.scope}.", self.scope)
        if self.scope.startswith("orders:") and not caller.reaches_orders:
            raise forbidden(f"It needs a customer, or the scope {Scope.ORDERS_EVERYONE}.", Scope.ORDERS_EVERYONE)
        judge_query(request)
        turn = await gate.shares.enter(caller.id)
        getattr(request.state, ENDS).append(turn.end)
        return caller


@cache
def requires(scope: Scope) -> Requires:
    """The same object for the same scope, so that FastAPI asks once a request."""
    return Requires(scope)


async def anybody(request: Request) -> None:
    """A dependency that says: this route is open. Raises ProblemAnswer (429), and Rejection for its query (422)."""
    if not path_below(request.scope).startswith(ALWAYS):
        gate: Gate = getattr(request.app.state, GATE)
        await gate.limits.take("anonymous", peer(request.scope))
    judge_query(request)


#: For a route that needs no principal.
OPEN: Final = Depends(anybody)


def forbidden(detail: str, scope: Scope | None = None, *errors: FieldProblem) -> ProblemAnswer:
    """403. ``scope``: the one that is missing."""
    problem = Problem(slug="forbidden", detail=detail, status=TYPES["forbidden"].status, errors=errors or None)
    if scope is None:
        return ProblemAnswer(problem)
    challenge = f'Bearer realm="orderflow", error="insufficient_scope", scope="{scope}"'
    return ProblemAnswer(problem, headers={"WWW-Authenticate": challenge}, scope=str(scope))


def needed(route: APIRoute) -> Scope | None:
    """The scope that a route needs; None: it is open. Raises RuntimeError where it does not say."""
    for dependency in route.dependant.dependencies:
        if isinstance(dependency.call, Requires):
            return dependency.call.scope
        if dependency.call is anybody:
            return None
    raise RuntimeError(
        f"{sorted(route.methods or ())} {route.path} says neither which scope it needs nor that it is open"
    )


def refuse_silent_routes(routers: Iterable[APIRouter]) -> list[tuple[APIRoute, Scope | None]]:
    """All routes, each with the scope that it needs. Raises RuntimeError for one that does not say."""
    found = [(route, needed(route)) for router in routers for route in router.routes if isinstance(route, APIRoute)]
    if not found:
        raise RuntimeError("there are no routes: what they need cannot be checked")
    return found
