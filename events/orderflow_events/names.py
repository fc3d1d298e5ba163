"""Names that Kafka must take, looked at before anything starts."""

import re
from typing import Final

from orderflow_events.printable import printable

#: Kafka's rule for the name of a topic.
_LEGAL: Final = re.compile(r"[A-Za-z0-9._-]+")
_LONGEST: Final = 249


def dead_letter_topic(topic: str, group: str, *, topic_is: str = "topic", group_is: str = "group") -> str:
    """The dead-letter topic of a group that consumes ``topic``.

    Raises ValueError when the group's name, or the topic's, allows no such topic: it says which and the rule, and calls
    them ``topic_is`` and ``group_is``.
    """
    for what, name in ((topic_is, topic), (group_is, group)):
        if not _LEGAL.fullmatch(name):
            raise ValueError(
                f"{what} is {printable(name, 100)!r}, and must be of A-Z a-z 0-9 . _ -, at least one: the topic of "
                "dead letters is named after it, and Kafka takes no other characters"
            )
    made = f"{topic}.dlq.{group}"
    if len(made) > _LONGEST:
        raise ValueError(
            f"{group_is} has {len(group)} characters, and at most {max(0, _LONGEST - len(topic) - 5)} beside this "
            f"{topic_is}: the topic of dead letters is named <topic>.dlq.<group>, and Kafka takes {_LONGEST}"
        )
    return made
