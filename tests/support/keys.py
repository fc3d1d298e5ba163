"""API keys of the tests' databases: each fresh database has one that may do everything but operate."""

from uuid import uuid4

import asyncpg

from orderflow.credentials import api_key
from orderflow.domain.access import ROLES, Principal
from orderflow.domain.commands import client_command_id
from orderflow.security import api_keys
from orderflow.settings import Settings

#: Of this run of the tests.
KEY_TEXT, KEY = api_keys.make("test")
PRINCIPAL = Principal(str(uuid4()), "api_key", ROLES["merchant"])


def bearer(key: str) -> dict[str, str]:
    """The header of a caller with this key."""
    return {"Authorization": f"Bearer {key}"}


MERCHANT = bearer(KEY_TEXT)


def command_id(key: str) -> str:
    """The id of the command that ``MERCHANT`` sends with this Idempotency-Key."""
    return client_command_id(PRINCIPAL, key)


def bearer_of(settings: Settings) -> dict[str, str]:
    """The header for the API of a stack with these settings."""
    key = api_key(settings)
    assert key is not None, "these settings have no API key"
    return bearer(key)


async def put_key(admin_url: str) -> None:
    """Put this run's key into an orders database."""
    admin = await asyncpg.connect(admin_url)
    try:
        await admin.execute(
            "INSERT INTO principals (principal_id, name, kind, scopes) VALUES ($1, 'tests', 'api_key', $2)",
            PRINCIPAL.id,
            sorted(PRINCIPAL.scopes),
        )
        await admin.execute(
            "INSERT INTO api_keys (key_id, principal_id, digest, expires_at) "
            "SELECT $1, principal_id, $2, clock_timestamp() + interval '1 day' FROM principals",
            KEY.id,
            KEY.digest,
        )
    finally:
        await admin.close()
