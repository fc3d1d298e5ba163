"""The SQL of the write rule (see ``commands``): the CTEs that its statements are chained from, and an aggregate's all.

``moved`` changes the row where its status is among the LIFECYCLE's ``from``, or makes it; ``event`` appends what
happened (a trigger puts it into the outbox); ``command`` records what came of the command. Each reads from the one
before: nothing else orders them.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from orderflow.domain.lifecycle import Lifecycle, Transition
from orderflow.store.statements import Cte, Statement, chain

_NOT_ASKED_BEFORE = "NOT EXISTS (SELECT FROM commands WHERE order_id = $order_id AND command_id = $command_id)"
#: A client's precondition on the version of a row that is there.
AS_DEMANDED: Final = "($versions::int[] IS NULL OR version = ANY($versions)) AND version <> ALL($other_than::int[])"
_IS_PENDING = """EXISTS (SELECT FROM commands WHERE order_id = $order_id AND command_id = $command_id
              AND version IS NULL AND refusal IS NULL)"""
#: Of a row with a ``customer_id``: its customer is the one whose orders may be seen; NULL: everyone's may.
REACHED: Final = "($owner::text IS NULL OR customer_id = $owner)"
_NOTHING_PENDING = (
    "NOT EXISTS (SELECT FROM commands WHERE order_id = $order_id AND version IS NULL AND refusal IS NULL)"
)

#: Reads from ``moved``, which must give order_id, version, status, created_at, type and data, and ``measures`` (see
#: ``measuring``).


def event(*, authtype: str = "$authtype::text", authid: str = "$authid::text") -> Cte:
    """Appends what happened. ``authtype`` and ``authid``: who asked for it, where that is not the command's actor."""
    return Cte(
        "event",
        f"""
    INSERT INTO events (order_id, version, type, status, data, command_id, correlation_id, traceparent,
                        authtype, authid)
    SELECT order_id, version, type, status, data, $command_id, $correlation_id, $traceparent, {authtype}, {authid}
    FROM moved
    RETURNING order_id, version""",
    )


EVENT: Final = event()
#: A command that is done at once.
COMMAND: Final = Cte(
    "command",
    """
    INSERT INTO commands (order_id, command_id, name, request_hash, version, authtype, authid)
    SELECT order_id, $command_id, $name, $request_hash, version, $authtype, $authid FROM event""",
)
#: A command that was pending until now.
SETTLED: Final = Cte(
    "command",
    """
    UPDATE commands c SET version = event.version, recorded_at = clock_timestamp()
    FROM event WHERE c.order_id = event.order_id AND c.command_id = $command_id""",
)
#: What each of these statements gives back.
ANSWER: Final = "SELECT version, status, created_at, measures FROM moved"


def lock(table: str, *, settling: bool = False, owned: bool = False) -> Cte:
    """``locked``: the row, locked, if the command may move it.

    ``settling``: the command was judged before and is pending; it is not judged again. ``owned``: the row belongs to a
    customer, and whoever reaches another's alone does not see it.
    """
    conditions = ["order_id = $order_id", "status = ANY($from_statuses)"]
    if owned:
        conditions.append(REACHED)
    if settling:
        conditions.append(_IS_PENDING)
    else:
        conditions += [AS_DEMANDED, _NOT_ASKED_BEFORE, _NOTHING_PENDING]
    where = "\n  AND ".join(conditions)
    return Cte("locked", f"SELECT status, version, updated_at FROM {table}\nWHERE {where}\nFOR UPDATE")


def update(table: str, columns: tuple[str, ...] = (), shown: tuple[str, ...] = (), told: tuple[str, ...] = ()) -> Cte:
    """``moved`` from ``locked``. Event data that has a ``from`` gets the status that the row really had.

    ``shown``: columns that ``moved`` has too; ``told``: columns that go from the row into the event's data.
    """
    sets = "".join(f",\n        {column} = ${column}" for column in columns)
    more = "".join(f", t.{column}" for column in shown)
    known = ", ".join(f"'{column}', t.{column}" for column in told)
    known = f" || jsonb_build_object({known})" if known else ""
    return Cte(
        "moved",
        f"""
    UPDATE {table} t SET status = $to_status, version = t.version + 1, updated_at = clock_timestamp(){sets}
    FROM locked WHERE t.order_id = $order_id
    RETURNING t.order_id, t.version, t.status, t.created_at{more}, $type::text AS type,
              jsonb_build_object('from', locked.status,
                                 'seconds', extract(epoch FROM t.updated_at - locked.updated_at)) AS measures,
              $data::jsonb || CASE WHEN $data::jsonb ? 'from' THEN jsonb_build_object('from', locked.status)
                                   ELSE '{{}}'::jsonb END{known} AS data""",
    )


def insert(table: str, columns: tuple[str, ...], types: Mapping[str, str]) -> Cte:
    """``moved``, a row that was not there. ``types``: SQL types of the columns that are not text."""
    names = "".join(f", {column}" for column in columns)
    values = "".join(f", ${column}::{types.get(column, 'text')}" for column in columns)
    return Cte(
        "moved",
        f"""
    INSERT INTO {table} (order_id, status, version, created_at, updated_at{names})
    SELECT $order_id::uuid, $to_status::text, 1, made.at, made.at{values}
    FROM (SELECT clock_timestamp() AS at) made
    WHERE NOT EXISTS (SELECT FROM {table} WHERE order_id = $order_id)
      AND {_NOT_ASKED_BEFORE}
    RETURNING order_id, version, status, created_at, $type::text AS type, $data::jsonb AS data,
              jsonb_build_object() AS measures""",
    )


def _look_up(table: str, *, owned: bool) -> str:
    reached = f" AND {REACHED}" if owned else ""
    visible = " AND ($owner::text IS NULL OR a.order_id IS NOT NULL)" if owned else ""
    return f"""
SELECT a.status AS row_status, a.version AS row_version, a.created_at,
       c.command_id IS NOT NULL AS asked, c.name, c.request_hash, c.version, c.refusal, e.status,
       EXISTS (SELECT FROM commands p
               WHERE p.order_id = k.order_id AND p.version IS NULL AND p.refusal IS NULL) AS pending
FROM (SELECT $order_id::uuid AS order_id) k
LEFT JOIN {table} a ON a.order_id = k.order_id{reached}
LEFT JOIN commands c ON c.order_id = k.order_id AND c.command_id = $command_id{visible}
LEFT JOIN events e ON e.order_id = c.order_id AND e.version = c.version"""


@dataclass(frozen=True, slots=True)
class Write:
    """What is written beside a row's status and version: further ``columns``, and CTEs that read from ``moved``.

    ``shown``: further columns that a moved row gives to the ``answer``; ``told``: columns of the moved row that go into
    its event's data.
    """

    columns: tuple[str, ...] = ()
    effects: tuple[Cte, ...] = ()
    shown: tuple[str, ...] = ()
    told: tuple[str, ...] = ()
    answer: str = ANSWER


_NOTHING_ELSE: Final = Write()


class AggregateStatements:
    """The statements that make and move the rows of one kind of aggregate, as its LIFECYCLE says."""

    def __init__(
        self,
        table: str,
        lifecycle: Lifecycle,
        writes: Mapping[str, Write] = MappingProxyType({}),
        *,
        types: Mapping[str, str] = MappingProxyType({}),
        apart: Collection[str] = (),
        owned: bool = False,
    ) -> None:
        """``writes``: by the command, or by the status that the row gets.

        ``types``: SQL types of the columns that are not text. ``apart``: commands that have statements of their own.
        ``owned``: the rows belong to customers; every statement is told whose it may see (``owner``).
        """
        self.lifecycle = lifecycle
        self.look_up = Statement(
            f"{table}.look_up",
            "Reads the row as it stands and what is recorded of a command: why the command moved nothing.",
            _look_up(table, owned=owned),
        )
        self._starts: dict[Transition, Statement] = {}
        self._moves: dict[Transition, Statement] = {}
        for transition in lifecycle.transitions:
            if transition.command in apart:
                continue
            write = writes.get(transition.command, writes.get(transition.to, _NOTHING_ELSE))
            name, end = f"{table}.{transition.command}", f"{transition.to}, with {transition.event.type}"
            if transition.starts:
                making = insert(table, write.columns, types)
                ctes = [making, *write.effects, EVENT, COMMAND]
                about = f"Makes the row of the {lifecycle.aggregate}, {end}, where there is none."
                self._starts[transition] = Statement(name, about, chain(ctes, write.answer))
            if transition.moves_from:
                ctes = [
                    lock(table, owned=owned),
                    update(table, write.columns, write.shown, write.told),
                    *write.effects,
                    EVENT,
                    COMMAND,
                ]
                about = f"Moves the {lifecycle.aggregate} from {' or '.join(transition.moves_from)} to {end}."
                self._moves[transition] = Statement(name, about, chain(ctes, write.answer))

    def start(self, transition: Transition) -> Statement:
        """The statement that makes the row. Raises KeyError where ``transition`` needs a row, or is apart."""
        return self._starts[transition]

    def move(self, transition: Transition) -> Statement:
        """The statement that moves the row. Raises KeyError where ``transition`` only makes one, or is apart."""
        return self._moves[transition]

    def __iter__(self) -> Iterator[Statement]:
        """All of them, in the LIFECYCLE's order; two of one name where a command may make the row and move it."""
        for transition in self.lifecycle.transitions:
            yield from (s[transition] for s in (self._starts, self._moves) if transition in s)
        yield self.look_up
