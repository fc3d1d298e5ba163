"""Which stack an orders database belongs to."""

from orderflow.store.database import Database
from orderflow.store.statements import Statement

_ID = Statement(
    "deployment.id",
    "Reads which stack this database belongs to.",
    "SELECT left(deployment_id::text, 8) AS id FROM deployment",
)


async def deployment_id(database: Database) -> str:
    """Eight hexadecimal digits that no other stack has. ``database``: the orders one. Raises Unavailable."""
    row = await database.one(_ID, {})
    if row is None:
        raise AssertionError("the migration that makes the table enters its row")
    found: str = row["id"]
    return found
