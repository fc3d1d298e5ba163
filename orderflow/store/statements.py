"""SQL that can be read: statements with a name and a sentence each, and CTEs that are joined into one statement.

``docs/statements.sql`` shows all of the store's as they run.
"""

import re
from collections.abc import Iterable, Mapping
from textwrap import dedent, indent
from typing import Any, NamedTuple

_NAMED = re.compile(r"\$([a-z_]+)")


class Statement:
    """SQL with named parameters (``$order_id``), sent as Postgres wants them (``$1``).

    ``name`` is what metrics and spans call it: the module that holds it and what it is for, ``outbox.pending``.
    ``about``: one sentence of what it does. ``text``: the SQL as it was written; ``sql``: as it is sent.
    """

    def __init__(self, name: str, about: str, sql: str) -> None:
        self.name = name
        self.about = about
        self.text = dedent(sql).strip()
        self.names = tuple(dict.fromkeys(_NAMED.findall(self.text)))
        position = {name: f"${number}" for number, name in enumerate(self.names, start=1)}
        self.sql = _NAMED.sub(lambda match: position[match[1]], self.text)

    def arguments(self, values: Mapping[str, Any]) -> list[Any]:
        """The values in the order that Postgres expects. Raises KeyError for one that is missing."""
        return [values[name] for name in self.names]


class Cte(NamedTuple):
    """A part of a statement: ``name AS (sql)``."""

    name: str
    sql: str


def chain(ctes: Iterable[Cte], answer: str) -> str:
    """One WITH statement: ``ctes``, each of which may read from those before it, and the ``answer`` it gives back."""
    parts = ", ".join(f"{cte.name} AS (\n{indent(dedent(cte.sql).strip(), '    ')}\n)" for cte in ctes)
    return f"WITH {parts}\n{dedent(answer).strip()}"
