"""Orders over HTTP: placing and commands; ``api/orders/reads.py`` has what is only read."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Final
from uuid import UUID, uuid4

from fastapi import APIRouter, Depends, Request, Response

from api.http import problems
from api.http.bodies import Body, Received, documented, received
from api.http.headers import Demanded, Key, Traced, Wait, Waits, no_precondition
from api.http.prefix import root
from api.http.requests import client_leaves
from api.http.responses import document_response, documented_headers
from api.identity.authorization import forbidden, requires
from api.limits.backlog import Backlog
from api.limits.declines import Declines
from api.orders.commands import Answer, OrderCommands, Waiting
from api.orders.documents import OrderDocuments
from api.orders.hashes import PlaceHashes
from api.orders.ids import OrderId
from api.orders.reads import OrderReads, view_of
from api.schemas import (
    AcceptedDocument,
    AcceptedLinks,
    Approve,
    Cancel,
    CommandBrief,
    Complete,
    OrderAnswer,
    PlaceOrder,
    Ship,
)
from orderflow.domain.access import COMMAND_SCOPES, Owner, Principal, Scope
from orderflow.domain.commands import Command, client_command_id, client_order_id, request_hash
from orderflow.domain.errors import FieldProblem
from orderflow.domain.orders import Order, Reason
from orderflow.store.order_views import OrderViews

PLACE_ID: Final = "w:place"


#: A route's first parameter: who is not let in is not told what else is wrong.
Placer = Annotated[Principal, Depends(requires(COMMAND_SCOPES["place"]))]

_COMMAND = (
    *("unauthenticated", "forbidden"),
    *("malformed", "invalid_header", "order_not_found", "illegal_transition", "shipment_in_progress"),
    *("version_conflict", "too_large", "unsupported_media_type", "invalid", "idempotency_conflict"),
    *("too_many_requests", "unavailable"),
)


@dataclass(frozen=True, slots=True)
class OrderRoutes:
    """What the routes need. ``wait_seconds``: how long a ship waits for its outcome, unless ``Prefer`` says."""

    reads: OrderReads
    views: OrderViews
    commands: OrderCommands
    declines: Declines
    backlog: Backlog
    documents: OrderDocuments
    hashes: PlaceHashes
    wait_seconds: float

    def router(self) -> APIRouter:
        """All routes below /orders."""
        router = APIRouter(prefix="/orders")
        self._add_place(router)
        self.reads.add_to(router)
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
                201: {
                    "description": "It is a DRAFT.",
                    "headers": documented_headers("Location", "ETag", "Idempotent-Replayed"),
                },
                **problems.responses(
                    *("unauthenticated", "forbidden"),
                    *("malformed", "invalid_header", "too_large", "unsupported_media_type", "invalid"),
                    *("idempotency_conflict", "too_many_requests", "unavailable"),
                ),
            },
            openapi_extra=documented(PlaceOrder),
        )
        async def place_order(
            caller: Placer,
            _: Annotated[None, Depends(no_precondition)],
            key: Key,
            traced: Traced,
            asked: Request,
            request: Annotated[Received[PlaceOrder], Depends(received(PlaceOrder))],
        ) -> Response:
            """Makes the order, as a DRAFT."""
            placed = request.body
            if caller.customer_id is not None and placed.customer_id != caller.customer_id:
                raise _not_for(caller)
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
            known = partial(self.commands.knows, order.order_id, command, caller.owner)
            await self.declines.check(caller, _is(placed.customer_id), known)
            answer = await self.commands.place(order, placed.payment_token, command, key)
            return await self._answer(asked, order.order_id, command, answer, None, 201, caller.owner)

    def _add_command(self, router: APIRouter, name: str, body: type[Body], summary: str) -> None:
        waits_too = name == "ship"
        slugs = (*_COMMAND, "capture_refused") if waits_too else _COMMAND
        told = ("Idempotent-Replayed", *(("Preference-Applied",) if waits_too else ()))

        @router.post(
            f"/{{order_id}}/{name}",
            tags=["orders"],
            summary=summary,
            operation_id=f"{name}_order",
            response_model=OrderAnswer,
            responses={
                200: {"description": "It is done.", "headers": documented_headers("ETag", *told)},
                **({202: _ACCEPTED} if waits_too else {}),
                **problems.responses(*slugs, of_commands=documented_headers(*told)),
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
            known = partial(self.commands.knows, order_id, command, caller.owner)
            await self.backlog.check(caller, name, known)
            if name == "approve":
                await self.declines.check(caller, partial(self._customer, order_id, caller), known)
            waiting = Waiting(self._seconds(waits), partial(client_leaves, asked))
            answer = await self.commands.carry_out(order_id, command, key, caller.owner, waiting)
            return await self._answer(asked, order_id, command, answer, waits if waits_too else None, 200, caller.owner)

    def _seconds(self, waits: Wait) -> float:
        return self.wait_seconds if waits.seconds is None else waits.seconds

    async def _customer(self, order_id: UUID, caller: Principal) -> str | None:
        """Whose order it is; None: there is none that the caller reaches."""
        view = await self.views.read(order_id, caller.owner)
        return None if view is None else view.customer_id

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
            return document_response(accepted, 202, {**headers, "Location": links.command})
        # Payment and inventory stand in GET: what the stream says of them is later than this answer in any case.
        order = answer.order or await view_of(self.views, order_id, owner)
        document = self.documents.order(order, None, root(asked.scope))
        headers |= {"ETag": f'"{document.version}"'} | ({"Location": here} if done == 201 else {})
        return document_response(OrderAnswer(**dict(document), command=brief), done, headers)


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


_ACCEPTED: Final[dict[str, Any]] = {
    "description": "Durable, and its capture is under way: `Location` says what will come of it.",
    "model": AcceptedDocument,
    "headers": documented_headers("Location", "Idempotent-Replayed", "Preference-Applied"),
}
