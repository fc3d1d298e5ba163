"""Principals and their API keys, and the audit: who may call, and who did what. Of a key, only its SHA-256 is here."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, cast
from uuid import UUID

from orderflow.domain.access import Actor, AuthType, Principal, Scope
from orderflow.domain.errors import Problem, Rejection
from orderflow.security.api_keys import ApiKey
from orderflow.store.database import Database
from orderflow.store.statements import Cte, Statement, chain

#: So that one can replace the other without a moment in which neither is good.
MOST_LIVE_KEYS: Final = 2

_FIND = Statement(
    "access.find",
    "Reads an API key with its principal.",
    """
    SELECT k.key_id, k.digest, k.not_before, k.expires_at, k.revoked_at, k.last_used_at,
           p.principal_id, p.kind, p.customer_id, p.scopes
    FROM api_keys k JOIN principals p USING (principal_id) WHERE k.key_id = $key_id""",
)

_USED = Statement(
    "access.used",
    "Notes that an API key is used; once a minute at most.",
    """
    UPDATE api_keys SET last_used_at = clock_timestamp()
    WHERE key_id = $key_id AND (last_used_at IS NULL OR last_used_at < clock_timestamp() - interval '1 minute')""",
)

_AUDITED = Cte(
    "audited",
    """
    INSERT INTO audit (authtype, authid, action, subject, detail)
    SELECT $authtype, $authid, $action, name, $detail::jsonb FROM made""",
)

_MAKE_PRINCIPAL = Statement(
    "access.make_principal",
    "Makes a principal where none has its name.",
    """
    INSERT INTO principals (principal_id, name, kind, customer_id, scopes)
    VALUES (coalesce($principal_id::uuid, gen_random_uuid()), $name, 'api_key', $customer_id, $scopes::text[])
    ON CONFLICT (name) DO NOTHING RETURNING principal_id""",
)

# The principal's row is locked, so that two at once do not make three keys.
_MAKE_KEY = Statement(
    "access.make_key",
    "Makes an API key for a principal that has fewer than two, and writes that down.",
    chain(
        [
            Cte("owner", "SELECT principal_id, name FROM principals WHERE name = $name FOR UPDATE"),
            Cte(
                "key",
                f"""
    INSERT INTO api_keys (key_id, principal_id, digest, not_before, expires_at)
    SELECT $key_id::text, principal_id, $digest::bytea, coalesce($not_before::timestamptz, clock_timestamp()),
           $expires_at::timestamptz
    FROM owner
    WHERE (SELECT count(*) FROM api_keys k
           WHERE k.principal_id = owner.principal_id AND k.revoked_at IS NULL
             AND k.expires_at > clock_timestamp()) < {MOST_LIVE_KEYS}
    RETURNING key_id""",
            ),
            Cte("made", "SELECT owner.name FROM owner, key"),
            _AUDITED,
        ],
        "SELECT (SELECT count(*) FROM owner) AS owners, (SELECT count(*) FROM key) AS keys",
    ),
)

_END_OTHERS = Statement(
    "access.end_others",
    "Lets a principal's other API keys end soon.",
    """
    UPDATE api_keys k SET expires_at = least(expires_at, greatest($at::timestamptz, not_before + interval '1 second'))
    FROM principals p
    WHERE p.principal_id = k.principal_id AND p.name = $name AND k.key_id <> $key_id AND k.revoked_at IS NULL""",
)

_REVOKE = Statement(
    "access.revoke",
    "Ends an API key, or all of a principal, at once, and writes that down.",
    chain(
        [
            Cte(
                "made",
                """
    UPDATE api_keys k SET revoked_at = clock_timestamp() FROM principals p
    WHERE p.principal_id = k.principal_id AND (k.key_id = $which OR p.name = $which) AND k.revoked_at IS NULL
    RETURNING p.name, k.key_id""",
            ),
            _AUDITED,
        ],
        "SELECT key_id FROM made ORDER BY key_id",
    ),
)

_LIST = Statement(
    "access.list",
    "Reads all principals with their API keys.",
    """
    SELECT p.name, p.principal_id, p.kind, p.customer_id, p.scopes, k.key_id, k.not_before, k.expires_at,
           k.last_used_at, k.revoked_at
    FROM principals p LEFT JOIN api_keys k USING (principal_id) ORDER BY p.name, k.created_at""",
)

_AUDIT = Statement(
    "access.audit",
    "Writes down who did what.",
    """
    INSERT INTO audit (authtype, authid, action, subject, detail)
    VALUES ($authtype, $authid, $action, $subject, $detail)""",
)


@dataclass(frozen=True, slots=True)
class StoredKey:
    """An API key as the database has it, and whose it is."""

    id: str
    digest: bytes
    not_before: datetime
    expires_at: datetime
    revoked_at: datetime | None
    last_used_at: datetime | None
    principal: Principal


@dataclass(frozen=True, slots=True)
class KeyView:
    """A principal, and one of its keys; ``key_id`` None: it has none."""

    name: str
    principal_id: UUID
    kind: str
    customer_id: str | None
    scopes: tuple[str, ...]
    key_id: str | None
    not_before: datetime | None
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None


class Access:
    """Principals, keys and the audit in the orders database. All methods raise Unavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, key_id: str) -> StoredKey | None:
        """The key of this id; None: there is none."""
        row = await self._database.one(_FIND, {"key_id": key_id})
        if row is None:
            return None
        known = set(Scope)  # one that this release does not know gives nothing
        principal = Principal(
            id=str(row["principal_id"]),
            type=cast(AuthType, row["kind"]),
            scopes=frozenset(Scope(scope) for scope in row["scopes"] if scope in known),
            customer_id=row["customer_id"],
        )
        return StoredKey(
            id=row["key_id"],
            digest=row["digest"],
            not_before=row["not_before"],
            expires_at=row["expires_at"],
            revoked_at=row["revoked_at"],
            last_used_at=row["last_used_at"],
            principal=principal,
        )

    async def used(self, key_id: str) -> None:
        """Note that the key is used."""
        await self._database.all(_USED, {"key_id": key_id})

    async def make_principal(
        self, name: str, scopes: frozenset[Scope], customer_id: str | None, *, principal_id: UUID | None = None
    ) -> bool:
        """Make it, with an id of its own unless one is given. False: one that has this name keeps what it has."""
        values = {"name": name, "customer_id": customer_id, "scopes": sorted(map(str, scopes))}
        return await self._database.one(_MAKE_PRINCIPAL, {**values, "principal_id": principal_id}) is not None

    async def make_key(
        self, name: str, key: ApiKey, actor: Actor, *, expires_at: datetime, not_before: datetime | None = None
    ) -> None:
        """Give the principal ``name`` this key. Raises Rejection: there is no such principal, or it has two."""
        values = {
            "name": name,
            "key_id": key.id,
            "digest": key.digest,
            "not_before": not_before,
            "expires_at": expires_at,
            **_done("key.made", actor, {"key_id": key.id, "expires_at": expires_at.isoformat()}),
        }
        made = await self._database.one(_MAKE_KEY, values)
        if made is None or not made["owners"]:
            raise Rejection(Problem(slug="not_found", detail=f"There is no principal {name!r}.", status=404))
        if not made["keys"]:
            detail = f"{name!r} has {MOST_LIVE_KEYS} keys that are good: revoke one, or let it end."
            raise Rejection(Problem(slug="too_many_keys", detail=detail, status=409))

    async def end_others(self, name: str, key: ApiKey, at: datetime) -> None:
        """Let the principal's other keys end at ``at``, where they would last longer."""
        await self._database.all(_END_OTHERS, {"name": name, "key_id": key.id, "at": at})

    async def revoke(self, which: str, actor: Actor) -> list[str]:
        """End the key of this id, or all of the principal of this name; the ids of those that were good."""
        values = {"which": which, **_done("key.revoked", actor, {"which": which})}
        return [row["key_id"] for row in await self._database.all(_REVOKE, values)]

    async def keys(self) -> list[KeyView]:
        """All principals with their keys."""
        rows = await self._database.all(_LIST, {})
        return [KeyView(**{**dict(row), "scopes": tuple(row["scopes"])}) for row in rows]

    async def audit(self, actor: Actor, action: str, subject: str | None = None, **detail: Any) -> None:
        """Write down that ``actor`` did ``action`` (``orders.listed``), to ``subject``."""
        await self._database.all(_AUDIT, {**_done(action, actor, detail), "subject": subject})


def _done(action: str, actor: Actor, detail: dict[str, Any]) -> dict[str, Any]:
    return {"authtype": actor.type, "authid": actor.id, "action": action, "detail": detail}


#: How long a new key is good unless somebody says otherwise.
KEY_LASTS: Final = timedelta(days=365)
