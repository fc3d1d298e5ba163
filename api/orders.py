"""Orders over HTTP."""

import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Final
from uuid import UUID, uuid4

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from pydantic import BeforeValidator

from api import cursors, documents, problems
from api.authorization import forbidden, requires
from api.backlog import Backlog
from api.bodies import Body, Received, documented, received
from api.commands import Answer, OrderCommands, Waiting
from api.declines import Declines
from api.documents import OrderDocuments
from api.edge.queries import StrictRoute
from api.hashes import PlaceHashes
from api.headers import (
    Reading,
    RequestTrace,
    Wait,
    idempotency_key,
    no_precondition,
    precondition,
    reading,
    trace,
    wait,
)
from api.prefix import root
from api.requests import client_leaves
from api.schemas import (
    ORDER_ID,
    AcceptedDocument,
    AcceptedLinks,
    Approve,
    Cancel,
    CommandBrief,
    CommandDocument,
    Complete,
    EventList,
    OrderAnswer,
    OrderDocument,
    OrderPage,
    OrderQuery,
    PlaceOrder,
    Ship,
)
from api.waiting import Gone, Waiter
from orderflow.domain.access import COMMAND_SCOPES, Everyone, Owner, Principal, Scope
from orderflow.domain.commands import (
    Command,
    Precondition,
    client_command_id,
    client_order_id,
    not_found,
    request_hash,
    version_conflict,
)
from orderflow.domain.errors import FieldProblem, Problem, Rejection
from orderflow.domain.model import Model
from orderflow.domain.orders import Order, Reason
from orderflow.store import tracking
from orderflow.store.access import Access
from orderflow.store.database import Database
from orderflow.store.order_views import Filters, OrderView, OrderViews, PageEnd

PLACE_ID: Final = "w:place"


def _canonical(value: str) -> str:
    """An order has one path: its id as we write it. Raises Rejection (404), as for an order that is not there."""
    if not _CANONICAL.fullmatch(value):
        detail = "There is no order with this id: an id is a UUID in lower case, with its dashes."
        raise Rejection(Problem(slug="order_not_found", detail=detail, status=404))
    return value


_CANONICAL: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
OrderId = Annotated[
    UUID,
    BeforeValidator(_canonical),
    Path(examples=[ORDER_ID], json_schema_extra={"pattern": f"^{_CANONICAL.pattern}$"}),
]
CommandId = Annotated[str, Path(pattern=r"^[cw]:[A-Za-z0-9._~:-]{1,240}$", examples=["c:7f3d2c-checkout-1"])]
Key = Annotated[str | None, Depends(idempotency_key)]
Demanded = Annotated[Precondition, Depends(precondition)]
DemandedOfRead = Annotated[Reading, Depends(reading)]
Waits = Annotated[Wait, Depends(wait)]
Traced = Annotated[RequestTrace, Depends(trace)]
#: A route's first parameter: who is not let in is not told what else is wrong.
Reader = Annotated[Principal, Depends(requires(Scope.ORDERS_READ))]
Placer = Annotated[Principal, Depends(requires(COMMAND_SCOPES["place"]))]

_DATABASE = ("unavailable",)
_READ = ("unauthenticated", "forbidden", "order_not_found", "invalid", "unavailable")
_COMMAND = (
    *("unauthenticated", "forbidden"),
    *("malformed", "invalid_header", "order_not_found", "illegal_transition", "shipment_in_progress"),
    *("version_conflict", "too_large", "unsupported_media_type", "invalid", "idempotency_conflict"),
    *("too_many_requests", "unavailable"),
)


@dataclass(frozen=True, slots=True)
class OrderRoutes:
    """What the routes need. ``wait_seconds``: how long a ship waits for its outcome, unless ``Prefer`` says."""

    database: Database
    views: OrderViews
    access: Access
    commands: OrderCommands
    waiter: Waiter
    declines: Declines
    backlog: Backlog
    documents: OrderDocuments
    hashes: PlaceHashes
    wait_seconds: float

    def router(self) -> APIRouter:
        """All routes below /orders."""
        router = APIRouter(route_class=StrictRoute, prefix="/orders")
        self._add_place(router)
        self._add_reads(router)
        self._add_command(router, "approve", Approve, "Approve a DRAFT: payment and stock are secured in parallel.")
        self._add_command(router, "ship", Ship, "Ship a FULFILLING order: its payment is captured, its stock leaves.")
        self._add_command(router, "complete", Complete, "Complete a SHIPPED order.")
        self._add_command(router, "cancel", Cancel, "Cancel a DRAFT, APPROVED or FULFILLING order for its customer.")
        return router

    def _add_place(self, router: APIRouter) -> None:
        @router.post(
            "",
            tags=["orders"],
            summary="Place an order",
            status_code=201,
            response_model=OrderAnswer,
            responses={
                201: {"description": "It is a DRAFT.", "headers": _headers("Location", "ETag", "Idempotent-Replayed")},
                **problems.responses(
                    *("unauthenticated", "forbidden"),
                    *("malformed", "invalid_header", "too_large", "unsupported_media_type", "invalid"),
                    *("idempotency_conflict", "too_many_requests", "unavailable"),
                ),
            },
            openapi_extra=documented(PlaceOrder),
            dependencies=[Depends(no_precondition)],
        )
        async def place_order(
            caller: Placer,
            key: Key,
            traced: Traced,
            asked: Request,
            request: Annotated[Received[PlaceOrder], Depends(received(PlaceOrder))],
        ) -> Response:
            """Makes the order, as a DRAFT."""
            placed = request.body
            if caller.customer_id is not None and placed.customer_id != caller.customer_id:
                raise _not_for(caller)
            await self.declines.check(caller, _is(placed.customer_id))
            key = key or str(uuid4())  # what gets no answer can be sent again under it
            order = Order(
                order_id=client_order_id(caller, key),
                customer_id=placed.customer_id,
                reference=placed.reference,
                currency=placed.currency,
                lines=tuple(placed.lines),
            )
            recorded, *older = self.hashes.of(request.json)
            command = Command(
                name="place",
                id=PLACE_ID,
                request_hash=recorded,
                older_hashes=tuple(older),
                correlation_id=traced.correlation_id,
                traceparent=traced.traceparent,
                actor=caller.actor,
            )
            answer = await self.commands.place(order, placed.payment_token, command, key)
            return await self._answer(asked, order.order_id, command, answer, None, 201, caller.owner)

    def _add_command(self, router: APIRouter, name: str, body: type[Body], summary: str) -> None:
        waits_too = name == "ship"
        slugs = (*_COMMAND, "capture_refused") if waits_too else _COMMAND

        @router.post(
            f"/{{order_id}}/{name}",
            tags=["orders"],
            summary=summary,
            operation_id=f"{name}_order",
            response_model=OrderAnswer,
            responses={
                200: {"description": "It is done.", "headers": _headers("ETag", "Idempotent-Replayed")},
                **({202: _ACCEPTED} if waits_too else {}),
                **problems.responses(*slugs),
            },
            openapi_extra=documented(body, optional=True),
        )
        async def command_order(
            caller: Annotated[Principal, Depends(requires(COMMAND_SCOPES[name]))],
            order_id: OrderId,
            key: Key,
            demanded: Demanded,
            waits: Waits,
            traced: Traced,
            asked: Request,
            request: Annotated[Received[Body], Depends(received(body, optional=True))],
        ) -> Response:
            """Carries the command out. A ship waits for its capture: 202 where that takes longer."""
            self.backlog.check(caller, name)
            if name == "approve":
                await self.declines.check(caller, partial(self._customer, order_id, caller))
            said = request.body.model_dump(exclude_none=True)
            key = key or str(uuid4())
            command = Command(
                name=name,
                id=client_command_id(caller, key),
                request_hash=request_hash(name, request.json),
                precondition=demanded,
                correlation_id=traced.correlation_id,
                traceparent=traced.traceparent,
                actor=caller.actor,
                data={"reason": _reason(caller).value, **said} if name == "cancel" else said,
            )
            waiting = Waiting(self._seconds(waits), partial(client_leaves, asked))
            answer = await self.commands.carry_out(order_id, command, key, caller.owner, waiting)
            return await self._answer(asked, order_id, command, answer, waits if waits_too else None, 200, caller.owner)

    def _add_reads(self, router: APIRouter) -> None:
        @router.get(
            "",
            tags=["orders"],
            summary="List orders, newest first",
            response_model=OrderPage,
            responses=problems.responses("unauthenticated", "forbidden", "invalid", *_DATABASE),
        )
        async def list_orders(
            caller: Reader, _: Traced, asked: Request, query: Annotated[OrderQuery, Query()]
        ) -> Response:
            """By status, customer, reference and time; a page at a time."""
            after = cursors.to_page_end(query.cursor) if query.cursor is not None else None
            filters = Filters(
                status=query.status,
                customer_id=query.customer_id,
                reference=query.reference,
                created_from=query.created_from,
                created_to=query.created_to,
            )
            if query.customer_id is None and isinstance(caller.owner, Everyone):
                await self.access.audit(caller.actor, "orders.listed")
            found = await self.views.page(filters, caller.owner, after, query.limit + 1)
            page, last = found[: query.limit], found[query.limit - 1 : query.limit]
            more = len(found) > query.limit
            return _json(
                OrderPage(
                    orders=tuple(self.documents.summary(order, root(asked.scope)) for order in page),
                    next_cursor=cursors.of_page_end(PageEnd(last[0].created_at, last[0].order_id)) if more else None,
                )
            )

        @router.get(
            "/{order_id}",
            tags=["orders"],
            summary="One order",
            response_model=OrderDocument,
            responses={
                200: {"description": "The order.", "headers": _headers("ETag", "Preference-Applied")},
                304: {"description": "It still has a version of `If-None-Match`.", "headers": _headers("ETag")},
                **problems.responses("invalid_header", "version_conflict", *_READ),
            },
        )
        async def read_order(
            caller: Reader, _: Traced, asked: Request, order_id: OrderId, demanded: DemandedOfRead, waits: Waits
        ) -> Response:
            """The order as it is now. `If-None-Match` with `Prefer: wait=N`: as soon as it has changed, or 304."""
            order = await self._view(order_id, caller.owner)
            if not demanded.needed.holds(order.version):
                raise Rejection(version_conflict("The order", demanded.needed, order.version))
            headers = {"Preference-Applied": waits.applied} if waits.applied and demanded.unseen is not None else {}
            if demanded.unseen is not None:
                seconds, gone = waits.seconds or 0, partial(client_leaves, asked)
                order = await self._unseen(order, caller.owner, demanded.unseen, seconds, gone)
                if not demanded.unseen.holds(order.version):
                    return Response(status_code=304, headers=headers | {"ETag": f'"{order.version}"'})
            tracked = await tracking.read(self.database, order_id)
            document = self.documents.order(order, tracked, root(asked.scope))
            return _json(document, headers=headers | {"ETag": f'"{document.version}"'})

        @router.get(
            "/{order_id}/events",
            tags=["orders"],
            summary="An order's history",
            response_model=EventList,
            responses=problems.responses(*_READ),
        )
        async def read_events(caller: Reader, _: Traced, order_id: OrderId) -> Response:
            """The order's own events, always current, and those of payment and inventory as the stream brought them."""
            own = await self.views.events(order_id, caller.owner)
            if not own:
                raise Rejection(not_found(order_id))
            tracked = await tracking.read(self.database, order_id, timeline=True)
            return _json(EventList(order_id=order_id, events=tuple(documents.events(order_id, own, tracked))))

        @router.get(
            "/{order_id}/commands/{command_id}",
            tags=["orders"],
            summary="What came of a command",
            response_model=CommandDocument,
            responses=problems.responses(*_READ),
        )
        async def read_command(
            caller: Reader, _: Traced, request: Request, order_id: OrderId, command_id: CommandId
        ) -> Response:
            """Where a 202 points to."""
            seen = await self.views.command(order_id, command_id, caller.owner)
            if not seen.placed:
                raise Rejection(not_found(order_id))
            refusal = seen.outcome.refusal if seen.outcome else None
            return _json(
                CommandDocument(
                    id=command_id,
                    name=seen.name,
                    state=seen.state,
                    version=seen.outcome.version if seen.outcome else None,
                    status=seen.outcome.status if seen.outcome else None,
                    problem=problems.ProblemDocument.model_validate(problems.document(request.scope, refusal))
                    if refusal
                    else None,
                    recorded_at=seen.recorded_at,
                )
            )

    def _seconds(self, waits: Wait) -> float:
        return self.wait_seconds if waits.seconds is None else waits.seconds

    async def _customer(self, order_id: UUID, caller: Principal) -> str | None:
        """Whose order it is; None: there is none that the caller reaches."""
        view = await self.views.read(order_id, caller.owner)
        return None if view is None else view.customer_id

    async def _view(self, order_id: UUID, owner: Owner) -> OrderView:
        """The order's row and lines. Raises Rejection (404)."""
        view = await self.views.read(order_id, owner)
        if view is None:
            raise Rejection(not_found(order_id))
        return view

    async def _unseen(
        self, order: OrderView, owner: Owner, unseen: Precondition, seconds: float, gone: Gone
    ) -> OrderView:
        """The order as soon as it has a version of ``unseen``, or as it is after ``seconds``."""
        until = time.monotonic() + seconds
        while not unseen.holds(order.version):
            if not await self.waiter.order_changes(order.order_id, order.version, until - time.monotonic(), gone):
                break
            order = await self._view(order.order_id, owner)
        return order

    async def _answer(
        self,
        asked: Request,
        order_id: UUID,
        command: Command,
        answer: Answer,
        waits: Wait | None,
        done: int,
        owner: Owner,
    ) -> Response:
        """The answer to a command, whatever came of it. ``waits``: where the command waits for anything."""
        outcome = answer.outcome
        headers = {"Idempotent-Replayed": "true"} if outcome.replayed else {}
        if waits is not None and waits.applied:
            headers["Preference-Applied"] = waits.applied
        if outcome.refusal is not None:
            raise problems.ProblemAnswer(outcome.refusal, headers=headers)
        brief = CommandBrief(
            id=command.id,
            name=command.name,
            state="pending" if outcome.state == "pending" else "done",
            version=outcome.version,
            status=outcome.status,
        )
        here = f"{root(asked.scope)}/orders/{order_id}"
        if brief.state != "done":
            links = AcceptedLinks(order=here, command=f"{here}/commands/{command.id}")
            accepted = AcceptedDocument(id=order_id, command=brief, links=links)
            return _json(accepted, 202, {**headers, "Location": links.command})
        # Payment and inventory stand in GET: what the stream says of them is later than this answer in any case.
        document = self.documents.order(answer.order or await self._view(order_id, owner), None, root(asked.scope))
        headers |= {"ETag": f'"{document.version}"'} | ({"Location": here} if done == 201 else {})
        return _json(OrderAnswer(**dict(document), command=brief), done, headers)


def _is(customer_id: str) -> Callable[[], Awaitable[str | None]]:
    async def known() -> str | None:
        return customer_id

    return known


def _reason(caller: Principal) -> Reason:
    """Why a cancelled order was cancelled: an operator's own decision, or at its customer's wish."""
    return Reason.OPERATOR if Scope.OPERATE in caller.scopes else Reason.CUSTOMER


def _not_for(caller: Principal) -> problems.ProblemAnswer:
    rule = f"Must be {caller.customer_id}: this principal places orders for that customer alone."
    return forbidden(
        "It places orders for its own customer alone.",
        None,
        FieldProblem(field="customer_id", rule="own_customer", message=rule),
    )


def _json(document: Model, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(document.model_dump_json(), status, headers, "application/json")


_HEADERS: Final = {
    "Location": "Where it is.",
    "ETag": "The order's version, for `If-Match`.",
    "Idempotent-Replayed": "`true`: the same request came before, and this is its outcome.",
    "Preference-Applied": "What of `Prefer` was followed.",
}


def _headers(*names: str) -> dict[str, Any]:
    return {name: {"description": _HEADERS[name], "schema": {"type": "string"}} for name in names}


_ACCEPTED: Final[dict[str, Any]] = {
    "description": "Durable, and its capture is under way: `Location` says what will come of it.",
    "model": AcceptedDocument,
    "headers": _headers("Location", "Idempotent-Replayed", "Preference-Applied"),
}
