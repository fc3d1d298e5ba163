"""A principal and an API key for each role, for the embedded stack: files ``ROLE.header`` that ``curl -H @FILE`` sends.

A key that is good stays. The principals have the same ids in every stack: as an order's id follows from its principal
and its Idempotency-Key, each demo has the same orders, and the gateway simulator declines the same ones.
"""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final
from uuid import UUID, uuid5

from orderflow.credentials import header_line, key_in
from orderflow.domain.access import ROLES, SYSTEM
from orderflow.postgres.databases import open_database
from orderflow.security import api_keys
from orderflow.security.secret_files import SecretFileError, read_secret, write_secret
from orderflow.settings import Settings
from orderflow.store.access import KEY_LASTS, Access

#: Whose orders the key of the role customer reaches.
CUSTOMER: Final = "household-1"
#: With these ids no order of the demo is declined that is to show something else.
_PRINCIPALS: Final = UUID("698259bf-a32b-5e00-9ec6-88b12278c4ad")


def principal_of(role: str) -> UUID:
    """The id of the principal that has this role in the embedded stack."""
    return uuid5(_PRINCIPALS, role)


async def ensure_development_keys(settings: Settings) -> Path | None:
    """Make what is missing; the folder, where anything was made. Raises Unavailable and SecretFileError."""
    folder, made = settings.data_dir / "keys", False
    async with open_database(settings, "orders", "keys", pool_size=1) as database:
        access = Access(database)
        for role, scopes in ROLES.items():
            name, path = f"development-{role}", folder / f"{role}.header"
            if await _is_good(access, path):
                continue
            text, key = api_keys.make(settings.deployment)
            customer = CUSTOMER if role == "customer" else None
            await access.make_principal(name, scopes, customer, principal_id=principal_of(role))
            await access.revoke(name, SYSTEM)
            await access.make_key(name, key, SYSTEM, expires_at=datetime.now(UTC) + KEY_LASTS)
            write_secret(path, header_line(text), replace=True)
            made = True
    return folder if made else None


async def _is_good(access: Access, path: Path) -> bool:
    try:
        key = api_keys.parse(key_in(read_secret(path)))
    except SecretFileError:
        return False
    stored = await access.find(key.id) if key is not None else None
    if key is None or stored is None or stored.revoked_at is not None:
        return False
    return api_keys.same(stored.digest, key.digest) and datetime.now(UTC) + timedelta(days=1) < stored.expires_at
