"""Temporal's silence and its errors in our words, in one place."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from temporalio.service import RPCError, RPCStatusCode

from orderflow.domain.errors import AccessDenied, Failing, Unavailable

#: What kind of outage a status is, where it says more than silence does. UNIMPLEMENTED: who answers is no Temporal, but
#: a proxy, or another server at its port.
_OUTAGES: Final = {
    RPCStatusCode.UNAUTHENTICATED: AccessDenied,
    RPCStatusCode.PERMISSION_DENIED: AccessDenied,
    RPCStatusCode.UNIMPLEMENTED: Failing,
}


@asynccontextmanager
async def answering() -> AsyncIterator[None]:
    """Around calls of Temporal: what gives no answer is Unavailable. A request that is wrong stays an RPCError."""
    try:
        yield
    except RPCError as error:
        # The request itself is wrong: repeating it changes nothing, and nobody but us can have caused it.
        if error.status is RPCStatusCode.INVALID_ARGUMENT:
            raise
        outage = _OUTAGES.get(error.status, Unavailable)
        raise outage("temporal", error.message or error.status.name) from error
    except (TimeoutError, OSError) as error:
        raise Unavailable("temporal", "no answer in time") from error
