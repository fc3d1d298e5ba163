"""Temporal's silence and its errors in our words, in one place."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from temporalio.service import RPCError, RPCStatusCode

from orderflow.domain.errors import AccessDenied, Unavailable

#: The request itself is wrong: repeating it changes nothing, and nobody but us can have caused it.
_OURS: Final = (RPCStatusCode.INVALID_ARGUMENT, RPCStatusCode.UNIMPLEMENTED)

_OF_ACCESS: Final = (RPCStatusCode.UNAUTHENTICATED, RPCStatusCode.PERMISSION_DENIED)


@asynccontextmanager
async def answering() -> AsyncIterator[None]:
    """Around calls of Temporal: what gives no answer is Unavailable. A request that is wrong stays an RPCError."""
    try:
        yield
    except RPCError as error:
        if error.status in _OURS:
            raise
        refused = error.status in _OF_ACCESS
        raise (AccessDenied if refused else Unavailable)("temporal", error.message or error.status.name) from error
    except (TimeoutError, OSError) as error:
        raise Unavailable("temporal", "no answer in time") from error
