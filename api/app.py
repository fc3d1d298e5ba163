"""The API's composition root: everything is built here, and handed to who needs it.

``uvicorn --factory api.app:create_app`` serves it.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from api.edge import documentation
from api.edge.install import put_edge_around
from api.health import Dependencies, broker_answers, database_answers, health_router, private_port
from api.http import problems
from api.http.methods import Methods
from api.http.requests import CORRELATION_ID
from api.http.responses import documented_headers
from api.identity.authentication import ApiKeys, Bearers, Identities, Nobody
from api.identity.authorization import GATE, Gate, refuse_silent_routes
from api.identity.oidc import AccessTokens
from api.inventory import InventoryRoutes
from api.limits.admission import Admission
from api.limits.backlog import Backlog
from api.limits.declines import Declines
from api.limits.rates import limits_of
from api.limits.shares import Shares
from api.openapi import openapi_router
from api.orders.commands import OrderCommands
from api.orders.documents import OrderDocuments
from api.orders.hashes import PlaceHashes
from api.orders.links import links_of
from api.orders.reads import OrderReads
from api.orders.routes import OrderRoutes
from api.orders.telling import Teller
from api.orders.waiting import Waiter
from api.problem_pages import problem_router
from api.schemas import BODIES
from orderflow import process
from orderflow.domain.access import SCOPES, Scope
from orderflow.postgres.databases import open_database
from orderflow.rates import limit_of
from orderflow.security.sealing import TokenSealer
from orderflow.settings import Settings
from orderflow.store.access import Access
from orderflow.store.declines import recent
from orderflow.store.handovers import Handovers
from orderflow.store.order_views import OrderViews
from orderflow.store.orders import Orders
from orderflow.store.stock import StockKeeper
from orderflow.telemetry import spans
from orderflow.telemetry.scrape import MetricsPage
from orderflow.temporal.client import connect
from orderflow.temporal.converter import keyring_of
from orderflow.temporal.runs import OrderRuns
from orderflow.urls import shown

#: The answers that have links.
GOOD: Final = frozenset({"200", "201"})
#: Our routes, each with the scope that it needs; None: it is open.
Needs = Sequence[tuple[APIRoute, Scope | None]]

DESCRIPTION: Final = """
Orders from placing to completion. Callers send `Authorization: Bearer` with an API key or an access
token; each operation names the scope
that it needs. What belongs to another customer is not there (404).

- Placing, approving, completing and cancelling are done when they are answered. A ship waits for its payment capture
  (2 s, or `Prefer: wait=N`); what takes longer is answered 202, and `Location` says what will come of it.
- `GET /orders/{id}` with `If-None-Match` and `Prefer: wait=N` answers as soon as the order has changed.
- Send an `Idempotency-Key` with every POST: the same request again gives the same outcome, and happens once.
- `ETag` and `If-Match` carry an order's (or a SKU's) version.
- Money is integer minor units with an ISO 4217 currency. Times are RFC 3339, UTC.
- Errors are RFC 9457 problem documents: `type` is `urn:orderflow:problems/<name>`, explained at `/problems/<name>`.
"""


def create_app(settings: Settings | None = None) -> FastAPI:
    """The application. Without ``settings``: those of the environment, and logging and metrics set up as they say."""
    page: MetricsPage | None = None
    if settings is None:
        settings = Settings()
        page = process.begin(settings, "api", serves_metrics=bool(settings.health_port))
    orders_db, inventory_db = open_database(settings, "orders", "api"), open_database(settings, "inventory", "api")
    answer_within = timedelta(seconds=settings.api_temporal_timeout_seconds)
    runs = OrderRuns(lambda: connect(settings, answer_within=answer_within), answer_within)
    views, access = OrderViews(orders_db), Access(orders_db)
    tokens = AccessTokens(settings.oidc_issuers) if settings.oidc_issuers else None
    limits = limits_of(settings)
    declines = Declines(partial(recent, orders_db), limit_of(settings.api_limit_declines))
    handovers = Handovers(orders_db)
    backlog = Backlog(handovers.heavy, settings.api_limit_handovers)
    teller = Teller(runs, handovers)
    waiter = Waiter(orders_db)
    sealer = TokenSealer.from_file(settings.token_public_key)
    documents = OrderDocuments(f"{shown(settings.temporal_ui_url)}/namespaces/{settings.temporal_namespace}/workflows")
    order_routes = OrderRoutes(
        reads=OrderReads(orders_db, views, access, waiter, documents),
        views=views,
        commands=OrderCommands(Orders(orders_db), sealer, teller, waiter),
        declines=declines,
        backlog=backlog,
        documents=documents,
        hashes=PlaceHashes(keyring_of(settings.payload_keyring_file)),
        wait_seconds=settings.api_wait_seconds,
    )
    dependencies = Dependencies(
        needed={
            "orders_db": database_answers(orders_db),
            "inventory_db": database_answers(inventory_db),
        },
        informational={"temporal": runs.check, "kafka": broker_answers(settings.address("kafka_bootstrap_servers"))},
    )

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        try:
            async with private_port(settings, dependencies, page), waiter, teller:
                yield
        finally:
            await declines.close()
            await backlog.close()
            await limits.close()
            if tokens is not None:
                await tokens.close()
            await orders_db.close()
            await inventory_db.close()
            await process.end()

    app = FastAPI(
        title="OrderFlow",
        version="0.1.0",
        description=DESCRIPTION,
        lifespan=lifespan,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        generate_unique_id_function=lambda route: route.name,
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
    )
    problems.install(app)
    app.add_middleware(Methods)
    app.add_middleware(Admission)
    put_edge_around(app, settings, counts=page is not None)
    if settings.shows_docs:
        documentation.add_to(app)
    routers = (
        order_routes.router(),
        InventoryRoutes(StockKeeper(inventory_db)).router(),
        health_router(dependencies),
        problem_router(),
        openapi_router(lambda: app.openapi()),
    )
    needs = refuse_silent_routes(routers)
    for router in routers:
        app.include_router(router)
    if spans.are_on():
        from orderflow.telemetry.tracing import instrument_api

        instrument_api(app)
    identities: Identities = Nobody() if settings.api_authentication == "off" else Bearers(ApiKeys(access), tokens)
    shares = Shares(max(1, settings.database_pool_size // 8))
    setattr(app.state, GATE, Gate(identities, limits, shares))
    app.state.stop_waiting = waiter.stop
    app.openapi = lambda: _openapi(app, needs)  # type: ignore[method-assign]
    return app


def _add_security(schema: dict[str, Any], needs: Needs) -> None:
    """What each operation needs, from the same table that lets callers in."""
    scopes = "\n".join(f"- `{scope}`: {meaning}" for scope, meaning in SCOPES.items())
    schema["components"]["securitySchemes"] = {
        "bearer": {
            "type": "http",
            "scheme": "bearer",
            "description": f"An API key, or a JWT of an issuer that is set. Scopes:\n\n{scopes}",
        }
    }
    for route, scope in needs:
        if not route.include_in_schema:
            continue
        for method in route.methods or ():
            operation = schema["paths"][route.path_format][method.lower()]
            operation["security"] = [{"bearer": [str(scope)]}] if scope else []


def _sent(schema: dict[str, Any]) -> dict[str, Any]:
    """A parameter's schema without null, which is FastAPI's word for "not sent": HTTP cannot send it."""
    kinds: list[dict[str, Any]] = [kind for kind in schema.get("anyOf", ()) if kind != {"type": "null"}]
    if len(kinds) != 1:
        return schema
    return kinds[0] | {name: value for name, value in schema.items() if name != "anyOf"}


def _openapi(app: FastAPI, needs: Needs) -> dict[str, Any]:
    """FastAPI's schema, with what it does not see: the bodies that we read ourselves, and our problems."""
    if app.openapi_schema is None:
        schema = get_openapi(
            title=app.title,
            version=app.version,
            description=app.description,
            routes=app.routes,
            license_info=app.license_info,
        )
        unseen: list[type[BaseModel]] = [*BODIES, problems.ProblemDocument]
        _, definitions = models_json_schema(
            [(model, "validation") for model in unseen],
            ref_template="#/components/schemas/{model}",
        )
        components = schema.setdefault("components", {}).setdefault("schemas", {})
        components.update(definitions["$defs"])
        for name in ("HTTPValidationError", "ValidationError"):  # FastAPI's own form of 422, which is never sent
            components.pop(name, None)
        for path in schema["paths"].values():
            for operation in path.values():
                for status in GOOD & operation["responses"].keys():
                    operation["responses"][status].update(links_of(operation["operationId"]))
                for answer in operation["responses"].values():
                    answer.setdefault("headers", {}).update(documented_headers(CORRELATION_ID))
                for parameter in operation.get("parameters", ()):
                    parameter["schema"] = _sent(parameter["schema"])
        _add_security(schema, needs)
        app.openapi_schema = schema
    return app.openapi_schema
