"""The gateway's HTTP side: routes, errors as JSON, and the faults between a call and its answer.

One process, one event loop: nothing is awaited between looking at the ledger and writing to it, so the loop is the
lock that puts calls in order.
"""

import asyncio
import logging
import sqlite3
from dataclasses import asdict
from functools import partial
from http import HTTPStatus

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from orderflow.gateways.simulator.counting import CallOutcome, Counting
from orderflow.gateways.simulator.decisions import Behaviour, Decisions
from orderflow.gateways.simulator.faults import Breakage
from orderflow.gateways.simulator.ledger import Answer, Call, Ledger, Operation
from orderflow.gateways.simulator.requests import (
    InvalidRequest,
    read_call,
    read_captured_since,
    read_faults,
    read_reference,
)

_log = logging.getLogger(__name__)


class Gateway:
    """The endpoints. ``slow_seconds`` is how long ``tok_slow`` keeps an answer back."""

    def __init__(self, ledger: Ledger, decisions: Decisions, slow_seconds: float) -> None:
        self._ledger = ledger
        self._decisions = decisions
        self._slow_seconds = slow_seconds
        self._breakage = Breakage(decisions.seed)
        self._counting = Counting()

    def app(self) -> Starlette:
        """The ASGI application."""
        operations = [
            Route(f"/v1/payments/{{reference}}/{operation}", partial(self.operate, operation), methods=["POST"])
            for operation in Operation
        ]
        return Starlette(
            routes=[
                *operations,
                Route("/v1/payments/{reference}", self.show),
                Route("/v1/ledger", self.show_ledger),
                Route("/v1/money", self.show_money),
                Route("/v1/faults", self.show_faults),
                Route("/v1/faults", self.put_faults, methods=["PUT"]),
                Route("/health", self.health),
                Route("/metrics", self.metrics),
            ],
            exception_handlers={
                InvalidRequest: _invalid_request,
                HTTPException: _http_exception,
                sqlite3.Error: _ledger_unavailable,
            },
        )

    async def operate(self, operation: Operation, request: Request) -> Response:
        """Authorize, capture, void or refund."""
        with self._counting.call(operation) as counted:
            try:
                call = await read_call(request, operation, self._decisions)
            except InvalidRequest:
                counted.outcome = CallOutcome.INVALID
                raise
            await asyncio.sleep(self._breakage.faults.delay_seconds)
            if self._fails(call):
                self._ledger.note_failure(call, 503)
                return _refusal(503, "unavailable", "The gateway is not available.")
            behaviour = call.hold.behaviour if call.hold else None
            first = not self._ledger.has_answered(call.idempotency_key)
            lost = self._breakage.loses_answer() or (first and behaviour is Behaviour.ANSWER_LOST_ONCE)
            answer = self._ledger.perform(call, lose_answer=lost)
            if first and behaviour is Behaviour.SLOW:
                await asyncio.sleep(self._slow_seconds)
            await asyncio.sleep(self._breakage.faults.answer_delay_seconds)
            counted.outcome = _outcome(answer, lost=lost)
            if lost:
                return _refusal(500, "answer_lost", "Something went wrong.")
            headers = {"Idempotent-Replayed": "true"} if answer.replayed else None
            return JSONResponse(answer.body, answer.status, headers)

    def _fails(self, call: Call) -> bool:
        if call.hold and call.hold.behaviour is Behaviour.DOWN:
            return True
        if call.hold and call.hold.behaviour is Behaviour.ERROR_ONCE:
            return not self._ledger.has_seen(call.reference, call.operation) or self._breakage.fails()
        return self._breakage.fails()

    async def show(self, request: Request) -> Response:
        """One reference's entry."""
        entries = self._ledger.entries(read_reference(request))
        if not entries:
            return _refusal(404, "unknown_reference", "Nothing is known of the reference.")
        return JSONResponse(entries[0])

    async def show_ledger(self, request: Request) -> Response:
        """Every entry: for checks, so all of it at once."""
        return JSONResponse({"payments": self._ledger.entries()})

    async def show_money(self, request: Request) -> Response:
        """What is held, and what was taken since ``captured_since``: for reconciliation."""
        return JSONResponse({"payments": self._ledger.money(read_captured_since(request))})

    async def show_faults(self, request: Request) -> Response:
        """The faults in force."""
        return JSONResponse(asdict(self._breakage.faults))

    async def put_faults(self, request: Request) -> Response:
        """Put faults in force; what is left out is off."""
        self._breakage.faults = await read_faults(request)
        return JSONResponse(asdict(self._breakage.faults))

    async def health(self, request: Request) -> Response:
        """Whether it serves; faults do not show here."""
        return JSONResponse({"status": "ok"})

    async def metrics(self, request: Request) -> Response:
        """What it counts, for Prometheus."""
        return self._counting.page()


def _outcome(answer: Answer, *, lost: bool) -> CallOutcome:
    if lost:
        return CallOutcome.LOST
    if answer.replayed:
        return CallOutcome.REPLAYED
    return CallOutcome.OK if answer.status < HTTPStatus.BAD_REQUEST else CallOutcome.REFUSED


def _refusal(status: int, code: str, detail: str) -> Response:
    return JSONResponse({"code": code, "detail": detail}, status)


async def _invalid_request(request: Request, error: Exception) -> Response:
    if not isinstance(error, InvalidRequest):
        raise error
    errors = [asdict(field_error) for field_error in error.errors]
    return JSONResponse({"code": "invalid_request", "detail": str(error), "errors": errors}, error.status)


async def _http_exception(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    code = HTTPStatus(error.status_code).phrase.lower().replace(" ", "_")
    return JSONResponse({"code": code, "detail": error.detail}, error.status_code, error.headers)


async def _ledger_unavailable(request: Request, error: Exception) -> Response:
    _log.error("the ledger failed: %s", error)
    return _refusal(503, "unavailable", "The ledger is not available.")
