"""Reads of orders over HTTP: the list, one order, its history, and what came of a command."""

import time
from dataclasses import dataclass
from functools import partial
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Query, Request, Response

from api import cursors
from api.http import problems
from api.http.headers import DemandedOfRead, Traced, Waits
from api.http.prefix import root
from api.http.requests import client_leaves
from api.http.responses import document_response, documented_headers
from api.identity.authorization import requires
from api.orders import documents
from api.orders.documents import OrderDocuments
from api.orders.ids import OrderId
from api.orders.waiting import Gone, Waiter
from api.schemas import CommandDocument, EventList, OrderDocument, OrderPage, OrderQuery
from orderflow.domain.access import Everyone, Owner, Principal, Scope
from orderflow.domain.commands import Precondition, not_found, version_conflict
from orderflow.domain.errors import Rejection
from orderflow.store import tracking
from orderflow.store.access import Access
from orderflow.store.database import Database
from orderflow.store.order_views import Filters, OrderView, OrderViews, PageEnd

CommandId = Annotated[str, Path(pattern=r"^[cw]:[A-Za-z0-9._~:-]{1,240}$", examples=["c:7f3d2c-checkout-1"])]
#: A route's first parameter: who is not let in is not told what else is wrong.
Reader = Annotated[Principal, Depends(requires(Scope.ORDERS_READ))]

_DATABASE = ("unavailable",)
_READ = ("unauthenticated", "forbidden", "order_not_found", "invalid", "unavailable")


@dataclass(frozen=True, slots=True)
class OrderReads:
    """What the routes need."""

    database: Database
    views: OrderViews
    access: Access
    waiter: Waiter
    documents: OrderDocuments

    def add_to(self, router: APIRouter) -> None:
        """Adds the routes, to be below /orders."""

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
            return document_response(
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
                200: {"description": "The order.", "headers": documented_headers("ETag", "Preference-Applied")},
                304: {
                    "description": "It still has a version of `If-None-Match`.",
                    "headers": documented_headers("ETag", "Preference-Applied"),
                },
                **problems.responses("invalid_header", "version_conflict", *_READ),
            },
        )
        async def read_order(
            caller: Reader, _: Traced, asked: Request, order_id: OrderId, demanded: DemandedOfRead, waits: Waits
        ) -> Response:
            """The order as it is now. `If-None-Match` with `Prefer: wait=N`: as soon as it has changed, or 304."""
            order = await view_of(self.views, order_id, caller.owner)
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
            return document_response(document, headers=headers | {"ETag": f'"{document.version}"'})

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
            return document_response(
                EventList(order_id=order_id, events=tuple(documents.events(order_id, own, tracked)))
            )

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
            return document_response(
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

    async def _unseen(
        self, order: OrderView, owner: Owner, unseen: Precondition, seconds: float, gone: Gone
    ) -> OrderView:
        """The order as soon as it has a version of ``unseen``, or as it is after ``seconds``."""
        until = time.monotonic() + seconds
        while not unseen.holds(order.version):
            if not await self.waiter.order_changes(order.order_id, order.version, until - time.monotonic(), gone):
                break
            order = await view_of(self.views, order.order_id, owner)
        return order


async def view_of(views: OrderViews, order_id: UUID, owner: Owner) -> OrderView:
    """The order's row and lines. Raises Rejection (404)."""
    view = await views.read(order_id, owner)
    if view is None:
        raise Rejection(not_found(order_id))
    return view
