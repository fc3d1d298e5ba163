"""The topics that a database's events were published to, as small numbers: offsets mean something within one alone."""

from uuid import UUID

from orderflow.store.database import Database
from orderflow.store.statements import Statement

# Nothing is written while the topic is the same as the last time.
_NUMBER = Statement(
    "topics.number",
    "Gives the topic's number; a topic that is new, or back, becomes the present one.",
    """
WITH known AS (
    SELECT topic_id, turn FROM topics WHERE kafka_id = $kafka_id
), back AS (
    UPDATE topics SET turn = (SELECT max(turn) + 1 FROM topics)
    FROM known WHERE topics.topic_id = known.topic_id AND known.turn < (SELECT max(turn) FROM topics)
), made AS (
    INSERT INTO topics (kafka_id, name, turn)
    SELECT $kafka_id, $name, coalesce((SELECT max(turn) FROM topics), 0) + 1 WHERE NOT EXISTS (SELECT FROM known)
    ON CONFLICT DO NOTHING RETURNING topic_id
)
SELECT topic_id FROM known UNION ALL SELECT topic_id FROM made""",
)


async def number(database: Database, kafka_id: UUID | None, name: str) -> int | None:
    """The number of the topic that Kafka knows as ``kafka_id``; it is the present one from now on.

    None: ``kafka_id`` is None, as the broker gives its topics no ids.
    """
    if kafka_id is None:
        return None
    for _ in range(2):  # another relay may enter it at this very moment
        row = await database.one(_NUMBER, {"kafka_id": kafka_id, "name": name})
        if row is not None:
            found: int = row["topic_id"]
            return found
    raise AssertionError("a topic that is entered is there")
