"""Stock over HTTP."""

from dataclasses import dataclass
from typing import Annotated
from uuid import uuid4

from fastapi import APIRouter, Depends, Path, Query, Response

from api import cursors
from api.http import problems
from api.http.bodies import Received, documented, received
from api.http.headers import Demanded, DemandedOfRead, Key, Traced
from api.http.responses import document_response, documented_headers
from api.identity.authorization import requires
from api.schemas import AdjustStock, SetStock, StockAnswer, StockDocument, StockPage, StockQuery
from orderflow.domain.access import Principal, Scope
from orderflow.domain.commands import Precondition, client_command_id, request_hash, version_conflict
from orderflow.domain.errors import Rejection
from orderflow.domain.orders import Sku
from orderflow.store.stock import Stock, StockChange, StockCommand, StockKeeper, sku_not_found

SkuInPath = Annotated[Sku, Path(examples=["SKU-1"])]
Reader = Annotated[Principal, Depends(requires(Scope.STOCK_READ))]
Writer = Annotated[Principal, Depends(requires(Scope.STOCK_WRITE))]

_KNOWN = ("unauthenticated", "forbidden")

_COMMAND = (
    *_KNOWN,
    *("malformed", "invalid_header", "stock_reserved", "version_conflict", "too_large", "unsupported_media_type"),
    *("invalid", "idempotency_conflict", "unavailable"),
)
_CHANGED = documented_headers("ETag", "Idempotent-Replayed")


@dataclass(frozen=True, slots=True)
class InventoryRoutes:
    """What the routes need."""

    keeper: StockKeeper

    def router(self) -> APIRouter:
        """All routes below /inventory."""
        router = APIRouter(prefix="/inventory", tags=["inventory"])
        self._add_reads(router)
        self._add_changes(router)
        return router

    def _add_reads(self, router: APIRouter) -> None:
        @router.get(
            "",
            summary="List stock by SKU",
            response_model=StockPage,
            responses=problems.responses(*_KNOWN, "invalid", "unavailable"),
        )
        async def list_stock(_caller: Reader, _: Traced, query: Annotated[StockQuery, Query()]) -> Response:
            """A page of SKUs."""
            after = cursors.to_sku(query.cursor) if query.cursor is not None else None
            found = await self.keeper.page(after, query.limit + 1)
            page = found[: query.limit]
            more = len(found) > query.limit
            return document_response(
                StockPage(
                    stock=tuple(StockDocument.model_validate(_document(stock)) for stock in page),
                    next_cursor=cursors.of_sku(page[-1].sku) if more else None,
                )
            )

        @router.get(
            "/{sku}",
            summary="One SKU's stock",
            response_model=StockDocument,
            responses={
                200: {"description": "The stock.", "headers": documented_headers("ETag")},
                304: {
                    "description": "It still has a version of `If-None-Match`.",
                    "headers": documented_headers("ETag"),
                },
                **problems.responses(
                    *(*_KNOWN, "invalid_header", "sku_not_found", "version_conflict", "invalid", "unavailable")
                ),
            },
        )
        async def read_stock(_caller: Reader, _: Traced, sku: SkuInPath, demanded: DemandedOfRead) -> Response:
            """How many there are, how many of them orders hold, how many are left."""
            stock = await self.keeper.read(sku)
            if stock is None:
                raise Rejection(sku_not_found(sku))
            if not demanded.needed.holds(stock.version):
                raise Rejection(version_conflict(f"The stock of {sku}", demanded.needed, stock.version))
            if demanded.unseen is not None and not demanded.unseen.holds(stock.version):
                return Response(status_code=304, headers=_etag(stock))
            return document_response(StockDocument.model_validate(_document(stock)), headers=_etag(stock))

    def _add_changes(self, router: APIRouter) -> None:
        @router.put(
            "/{sku}",
            summary="State how many there are",
            response_model=StockAnswer,
            responses={
                200: {"description": "It was counted.", "headers": _CHANGED},
                201: {"description": "The SKU is new.", "model": StockAnswer, "headers": _CHANGED},
                **problems.responses("not_found", *_COMMAND),
            },
            openapi_extra=documented(SetStock),
        )
        async def set_stock(
            caller: Writer,
            sku: SkuInPath,
            key: Key,
            demanded: Demanded,
            _: Traced,
            request: Annotated[Received[SetStock], Depends(received(SetStock))],
        ) -> Response:
            """A count: recorded as a movement, also when it changes nothing.

            With `If-Match` only on that version (`*`: only if it is there), with `If-None-Match: *` only if it is new.
            """
            command = _command("set", caller, sku, key, request.json, demanded)
            return _answer(await self.keeper.set(command, request.body.on_hand))

        @router.post(
            "/{sku}/adjustments",
            summary="More or fewer",
            response_model=StockAnswer,
            responses={
                200: {"description": "It was counted.", "headers": _CHANGED},
                **problems.responses("sku_not_found", "stock_limit", *_COMMAND),
            },
            openapi_extra=documented(AdjustStock),
        )
        async def adjust_stock(
            caller: Writer,
            sku: SkuInPath,
            key: Key,
            demanded: Demanded,
            _: Traced,
            request: Annotated[Received[AdjustStock], Depends(received(AdjustStock))],
        ) -> Response:
            """A delta with its reason, recorded as a movement."""
            command = _command("adjust", caller, sku, key, request.json, demanded)
            return _answer(await self.keeper.adjust(command, request.body.delta, request.body.reason))


def _command(
    name: str, caller: Principal, sku: str, key: str | None, body: object, demanded: Precondition
) -> StockCommand:
    # A key stands for one request to one SKU: the SKU is part of what must be the same.
    return StockCommand(
        sku=sku,
        id=client_command_id(caller, key or str(uuid4())),
        request_hash=request_hash(f"{name} {sku}", body),
        precondition=demanded,
        actor=caller.actor,
    )


def _answer(change: StockChange) -> Response:
    headers = _etag(change.stock) | ({"Idempotent-Replayed": "true"} if change.replayed else {})
    document = StockAnswer.model_validate({**_document(change.stock), "delta": change.delta})
    return document_response(document, 201 if change.created else 200, headers)


def _document(stock: Stock) -> dict[str, object]:
    return {
        "sku": stock.sku,
        "on_hand": stock.on_hand,
        "reserved": stock.reserved,
        "available": stock.on_hand - stock.reserved,
        "version": stock.version,
        "updated_at": stock.updated_at,
    }


def _etag(stock: Stock) -> dict[str, str]:
    return {"ETag": f'"{stock.version}"'}
