"""Who calls: ``Authorization: Bearer`` becomes a principal, or a 401.

What is sent is an API key, or an access token of an issuer (``oidc.py``). API keys are looked up in the orders database
and believed for 5 s; each request compares the key's digest, and its dates, again. While the database is away, a key
that was good is believed for a minute; then it is 503.
"""

import asyncio
import re
import time
from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol

import structlog
from fastapi import Request

from api.http.problems import TYPES, ProblemAnswer
from api.limits.rates import Limits, peer
from orderflow.domain.access import ANYBODY, Principal
from orderflow.domain.errors import Problem, Unavailable
from orderflow.security import api_keys
from orderflow.store.access import Access, StoredKey

FRESH_SECONDS: Final = 5.0
STALE_SECONDS: Final = 60.0
#: Ids that are remembered, good or not: beyond, the one that was not asked for longest is forgotten.
MOST_REMEMBERED: Final = 10_000
#: Look-ups at once: made-up keys do not take the connections that orders need.
LOOK_UPS: Final = 2
#: Longer than any token that is worth reading.
MOST_CHARACTERS: Final = 8192
_BEARER: Final = re.compile(r"[Bb][Ee][Aa][Rr][Ee][Rr] +([A-Za-z0-9._~+/-]+=*)")
_USED_EVERY: Final = timedelta(minutes=1)

log = structlog.get_logger()


class Unauthenticated(Exception):
    """Nobody we know; the message says what is wrong with what was sent. It never repeats it."""


class Identities(Protocol):
    """Knows principals by what they present."""

    async def principal(self, credential: str) -> Principal:
        """Whose ``credential`` this is. Raises Unauthenticated, and Unavailable where nobody can tell."""
        ...

    def remembers(self, credential: str) -> bool:
        """Whether it need not be looked up for a stranger: it was good a moment ago, or proves itself what it is."""
        ...


@dataclass(slots=True)
class _Remembered:
    key: StoredKey | None
    seen_at: float


class ApiKeys:
    """Principals by their API keys."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._remembered: OrderedDict[str, _Remembered] = OrderedDict()
        self._look_ups = asyncio.Semaphore(LOOK_UPS)
        self._refreshes = asyncio.Semaphore(LOOK_UPS)

    async def principal(self, credential: str) -> Principal:
        """See Identities."""
        sent = api_keys.parse(credential)
        if sent is None:
            raise Unauthenticated("That is no API key of OrderFlow.")
        stored = await self._stored(sent.id)
        # Compared in any case, so that an unknown id takes as long as a wrong secret.
        right = api_keys.same(stored.digest if stored else bytes(32), sent.digest)
        if stored is None or not right:
            raise Unauthenticated("There is no such API key.")
        now = datetime.now(UTC)
        if stored.revoked_at is not None:
            raise Unauthenticated("The API key was revoked.")
        if now < stored.not_before:
            raise Unauthenticated("The API key is not valid yet.")
        if now >= stored.expires_at:
            raise Unauthenticated("The API key has expired.")
        await self._note_use(stored, now)
        return stored.principal

    def remembers(self, credential: str) -> bool:
        """See Identities."""
        sent = api_keys.parse(credential)
        known = self._remembered.get(sent.id) if sent is not None else None
        return sent is None or (
            known is not None and known.key is not None and api_keys.same(known.key.digest, sent.digest)
        )

    async def _stored(self, key_id: str) -> StoredKey | None:
        known = self._remembered.get(key_id)
        if known is not None and time.monotonic() - known.seen_at < FRESH_SECONDS:
            self._remembered.move_to_end(key_id)
            return known.key
        try:
            # Who was good a moment ago does not queue behind made-up keys.
            async with self._refreshes if known is not None and known.key is not None else self._look_ups:
                found = await self._access.find(key_id)
        except Unavailable:
            if known is None or known.key is None or time.monotonic() - known.seen_at >= STALE_SECONDS:
                raise
            return known.key
        self._remembered[key_id] = _Remembered(found, time.monotonic())
        self._remembered.move_to_end(key_id)
        while len(self._remembered) > MOST_REMEMBERED:
            self._remembered.popitem(last=False)
        return found

    async def _note_use(self, stored: StoredKey, now: datetime) -> None:
        if stored.last_used_at is not None and now - stored.last_used_at < _USED_EVERY:
            return
        known = self._remembered.get(stored.id)
        if known is not None and known.key is not None:  # once a minute, also where it cannot be written
            known.key = replace(stored, last_used_at=now)
        with suppress(Unavailable):
            await self._access.used(stored.id)


class Bearers:
    """Principals by whatever a bearer is: ``ofk_…`` is an API key, what has two dots a JWT."""

    def __init__(self, keys: Identities, tokens: Identities | None) -> None:
        self._keys = keys
        self._tokens = tokens

    async def principal(self, credential: str) -> Principal:
        """See Identities."""
        if credential.startswith(api_keys.PREFIX) or credential.count(".") != 2:
            return await self._keys.principal(credential)
        if self._tokens is None:
            raise Unauthenticated("Access tokens are not taken here: no issuer is set.")
        return await self._tokens.principal(credential)

    def remembers(self, credential: str) -> bool:
        """See Identities."""
        return credential.count(".") == 2 or self._keys.remembers(credential)


class Nobody:
    """Authentication is off: whoever calls may do everything."""

    def remembers(self, credential: str) -> bool:
        """See Identities."""
        return True

    async def principal(self, credential: str) -> Principal:
        """See Identities."""
        return ANYBODY


async def authenticate(request: Request, identities: Identities, limits: Limits) -> Principal:
    """The caller. Raises ProblemAnswer (401; 429: this address has tried too often).

    What fails too often at an address does not shut out others who come from there: whom we remember is let in.
    """
    if isinstance(identities, Nobody):
        return ANYBODY
    address, sent = peer(request.scope), request.headers.getlist("authorization")
    if not sent:
        await limits.take("anonymous", address)
        raise _refused("Send `Authorization: Bearer`, with an API key or an access token.", error=None)
    bearer = _BEARER.fullmatch(sent[0].strip(" ")) if len(sent) == 1 and len(sent[0]) <= MOST_CHARACTERS else None
    if bearer is None:
        await limits.take("failed_authentications", address)
        raise _refused("Authorization must be sent once, as `Bearer` and an API key or an access token.")
    if not identities.remembers(bearer[1]) and not await limits.takes_strangers(address):
        await limits.take("failed_authentications", address)
    try:
        return await identities.principal(bearer[1])
    except Unauthenticated as error:
        await limits.take("failed_authentications", address)
        raise _refused(str(error)) from None


def _refused(detail: str, *, error: str | None = "invalid_token") -> ProblemAnswer:
    """401, as RFC 6750 wants it."""
    challenge = 'Bearer realm="orderflow"'
    if error is not None:
        challenge += f', error="{error}"'
    problem = Problem(slug="unauthenticated", detail=detail, status=TYPES["unauthenticated"].status)
    return ProblemAnswer(problem, headers={"WWW-Authenticate": challenge})
