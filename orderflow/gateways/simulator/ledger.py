"""The gateway's ledger: what was asked under which key, what was answered, and where the money is. One SQLite file.

Promises:

- An operation, its answer and the record of the call are one transaction; an answer that was given survives a
  ``kill -9``.
- One writer: calls run one after another on the thread that opened the ledger (each takes well under a millisecond),
  and ``BEGIN IMMEDIATE`` keeps out a second process on the same file.
- ``movements`` is append-only and says what happened to money whatever ``payments.status`` believes: a double hold or
  a double capture would be two rows.

WAL with ``synchronous=NORMAL``: a commit is in the operating system's hands (safe when the process dies) and not
forced to disk. A power cut may take the last moments away, as it may from the other servers of a development stack,
and no commit waits for a disk.
"""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any
from uuid import uuid4

from orderflow.gateways.simulator.decisions import Behaviour

_FORMAT = 1
_SCHEMA = """
-- One row a merchant reference. A void of an unknown reference leaves one without an amount.
CREATE TABLE IF NOT EXISTS payments (
    reference TEXT PRIMARY KEY,
    status TEXT NOT NULL CHECK (status IN ('declined', 'authorized', 'captured', 'refunded', 'voided')),
    amount INTEGER,
    currency TEXT,
    behaviour TEXT,
    decline_reason TEXT,
    duplicate_attempts INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
-- Where the money went: a hold is ended by a release or a capture.
CREATE TABLE IF NOT EXISTS movements (
    id TEXT PRIMARY KEY,
    reference TEXT NOT NULL REFERENCES payments,
    kind TEXT NOT NULL CHECK (kind IN ('hold', 'release', 'capture', 'refund')),
    amount INTEGER NOT NULL,
    moved_at TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS movements_reference ON movements (reference);
-- What was answered under an idempotency key, and to which request.
CREATE TABLE IF NOT EXISTS answers (
    idempotency_key TEXT PRIMARY KEY,
    request TEXT NOT NULL,
    status INTEGER NOT NULL,
    body TEXT NOT NULL
) WITHOUT ROWID;
-- Every operation that arrived well-formed; outcome: answered, replayed, lost (happened, answer lost), failed (503).
CREATE TABLE IF NOT EXISTS calls (
    number INTEGER PRIMARY KEY,
    reference TEXT NOT NULL,
    operation TEXT NOT NULL,
    idempotency_key TEXT NOT NULL,
    status INTEGER NOT NULL,
    outcome TEXT NOT NULL CHECK (outcome IN ('answered', 'replayed', 'lost', 'failed')),
    correlation_id TEXT,
    called_at TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS calls_reference ON calls (reference, operation);
"""


class Operation(StrEnum):
    """What can be asked for a reference."""

    AUTHORIZE = "authorize"
    CAPTURE = "capture"
    VOID = "void"
    REFUND = "refund"


@dataclass(frozen=True, slots=True)
class Hold:
    """What an authorize wants: ``amount`` in minor units; ``decline_reason`` is the decision about it."""

    amount: int
    currency: str
    behaviour: Behaviour
    decline_reason: str | None


@dataclass(frozen=True, slots=True)
class Call:
    """One operation on one reference; an authorize has a ``hold``."""

    operation: Operation
    reference: str
    idempotency_key: str
    correlation_id: str | None = None
    hold: Hold | None = None

    @property
    def request(self) -> str:
        """What makes two calls the same request."""
        hold = self.hold and [self.hold.amount, self.hold.currency, self.hold.behaviour]
        return json.dumps([self.operation, self.reference, hold])


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP status and its JSON object; ``replayed``: it was recorded before."""

    status: int
    body: dict[str, Any]
    replayed: bool = False


class Ledger:
    """The ledger in ``file``, made if it isn't there. Use it on one thread. Raises ``sqlite3.Error`` when it cannot."""

    def __init__(self, file: Path) -> None:
        self._connection = sqlite3.connect(file, isolation_level=None, timeout=5)
        self._connection.row_factory = sqlite3.Row
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = NORMAL")
        self._connection.execute("PRAGMA foreign_keys = ON")
        (found,) = self._connection.execute("PRAGMA user_version").fetchone()
        if found not in (0, _FORMAT):
            raise sqlite3.DatabaseError(f"ledger format {found}, this is a simulator for format {_FORMAT}")
        self._connection.executescript(f"{_SCHEMA} PRAGMA user_version = {_FORMAT};")

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()

    def perform(self, call: Call, *, lose_answer: bool = False) -> Answer:
        """Carry out a call, or repeat the answer it had. ``lose_answer`` only notes that the caller won't get it."""
        with self._transaction():
            recorded = self._one("SELECT * FROM answers WHERE idempotency_key = ?", call.idempotency_key)
            if recorded is None:
                payment = self._one("SELECT * FROM payments WHERE reference = ?", call.reference)
                answer = _STATE_MACHINE[call.operation](self, call, payment)
                self._execute(
                    "INSERT INTO answers VALUES (?, ?, ?, ?)",
                    *(call.idempotency_key, call.request, answer.status, json.dumps(answer.body)),
                )
            elif recorded["request"] != call.request:
                answer = _refusal(422, "idempotency_key_reused", "This Idempotency-Key stands for another request.")
            else:
                answer = Answer(recorded["status"], json.loads(recorded["body"]), replayed=True)
            outcome = "lost" if lose_answer else "replayed" if answer.replayed else "answered"
            self._note(call, answer.status, outcome)
        return answer

    def note_failure(self, call: Call, status: int) -> None:
        """Note a call that failed before anything happened."""
        with self._transaction():
            self._note(call, status, "failed")

    def has_seen(self, reference: str, operation: Operation) -> bool:
        """Whether any such call arrived before, failed ones included."""
        sql = "SELECT 1 FROM calls WHERE reference = ? AND operation = ? LIMIT 1"
        return self._one(sql, reference, operation) is not None

    def has_answered(self, idempotency_key: str) -> bool:
        """Whether an answer is recorded under the key."""
        return self._one("SELECT 1 FROM answers WHERE idempotency_key = ?", idempotency_key) is not None

    def entries(self, reference: str | None = None) -> list[dict[str, Any]]:
        """Every reference (or the one), its status, what moved, and its calls in order. Amounts in minor units.

        ``authorized_count`` counts live holds: above 1 is a double charge in the making.
        """
        where, values = ("", ()) if reference is None else (" WHERE reference = ?", (reference,))
        calls: dict[str, list[dict[str, Any]]] = {}
        for row in self._execute(f"SELECT * FROM calls{where} ORDER BY number", *values):  # noqa: S608 - constants
            call = dict(row)
            calls.setdefault(call.pop("reference"), []).append(call)
        totals = """
            SELECT reference,
                   sum(CASE kind WHEN 'hold' THEN 1 WHEN 'refund' THEN 0 ELSE -1 END) AS authorized_count,
                   sum(CASE kind WHEN 'capture' THEN amount ELSE 0 END) AS captured_amount,
                   max(CASE kind WHEN 'capture' THEN id END) AS capture_id,
                   sum(CASE kind WHEN 'refund' THEN amount ELSE 0 END) AS refunded_amount
            FROM movements"""
        moved = {row["reference"]: row for row in self._execute(f"{totals}{where} GROUP BY reference", *values)}
        entries = []
        for row in self._execute(f"SELECT * FROM payments{where} ORDER BY reference", *values):  # noqa: S608 - constants
            sums = moved.get(row["reference"])
            figures = {
                name: sums[name] if sums else 0 for name in ("authorized_count", "captured_amount", "refunded_amount")
            }
            capture_id = sums["capture_id"] if sums else None
            entries.append({**dict(row), **figures, "capture_id": capture_id, "calls": calls.get(row["reference"], [])})
        return entries

    def money(self, captured_since: datetime | None = None) -> list[dict[str, Any]]:
        """References with a live hold, and those whose capture stands and is not older than ``captured_since``.

        By what moved, whatever ``payments.status`` believes. Amounts in minor units; ``since``: the last movement.
        """
        sql = """
            SELECT reference, currency, since,
                   CASE WHEN held > 0 THEN 'authorized' ELSE 'captured' END AS status,
                   CASE WHEN held > 0 THEN held ELSE taken END AS amount
            FROM (
                SELECT reference, max(moved_at) AS since,
                       sum(CASE kind WHEN 'hold' THEN amount WHEN 'refund' THEN 0 ELSE -amount END) AS held,
                       sum(CASE kind WHEN 'capture' THEN amount WHEN 'refund' THEN -amount ELSE 0 END) AS taken
                FROM movements GROUP BY reference
            ) JOIN payments USING (reference)
            WHERE held > 0 OR (taken > 0 AND since >= ?)
            ORDER BY reference"""
        # Times are text of one form, so they compare as text.
        earliest = "" if captured_since is None else _text(captured_since)
        return [dict(row) for row in self._execute(sql, earliest)]

    def _authorize(self, call: Call, payment: sqlite3.Row | None) -> Answer:
        hold = call.hold
        if hold is None:
            raise ValueError("an authorize call needs a hold")
        if payment is not None and payment["status"] == "voided":
            return _refusal(409, "reference_voided", "The reference was voided before.")
        if payment is not None and payment["status"] != "declined":
            self._count_duplicate(call.reference)
            return _refusal(409, "already_authorized", "The reference was authorized before, under another key.")
        self._execute(
            "INSERT INTO payments (reference, status, amount, currency, behaviour, decline_reason)"
            " VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (reference) DO UPDATE SET status = excluded.status,"
            " amount = excluded.amount, currency = excluded.currency, behaviour = excluded.behaviour,"
            " decline_reason = excluded.decline_reason",
            *(call.reference, "declined" if hold.decline_reason else "authorized"),
            *(hold.amount, hold.currency, hold.behaviour, hold.decline_reason),
        )
        if hold.decline_reason:
            return _refusal(402, hold.decline_reason, "The authorization was declined.")
        authorization_id = self._move(call.reference, "hold", "auth", hold.amount)
        return Answer(200, {"status": "authorized", "authorization_id": authorization_id})

    def _capture(self, call: Call, payment: sqlite3.Row | None) -> Answer:
        if payment is None:
            return _refusal(404, "unknown_reference", "Nothing is known of the reference.")
        match payment["status"]:
            case "authorized" if payment["behaviour"] == Behaviour.CAPTURE_REFUSED:
                return _refusal(402, "capture_refused", "The card's issuer refused the capture.")
            case "authorized":
                capture_id = self._move(call.reference, "capture", "cap", payment["amount"])
                self._set_status(call.reference, "captured")
                return Answer(200, {"status": "captured", "capture_id": capture_id})
            case "captured":
                self._count_duplicate(call.reference)
                return _refusal(409, "already_captured", "The reference was captured before, under another key.")
            case "voided":
                return _refusal(409, "reference_voided", "The authorization was voided.")
            case "refunded":
                return _refusal(409, "reference_refunded", "The payment was refunded.")
            case _:
                return _refusal(409, "not_authorized", "The authorization was declined.")

    def _void(self, call: Call, payment: sqlite3.Row | None) -> Answer:
        if payment is None:
            self._execute("INSERT INTO payments (reference, status) VALUES (?, 'voided')", call.reference)
            return Answer(200, {"status": "voided"})
        match payment["status"]:
            case "captured":
                return _refusal(409, "already_captured", "The payment was captured: refund it.")
            case "refunded":
                return Answer(200, {"status": "refunded"})
            case "authorized":
                self._move(call.reference, "release", "void", payment["amount"])
                self._set_status(call.reference, "voided")
            case "declined":
                self._set_status(call.reference, "voided")
        return Answer(200, {"status": "voided"})

    def _refund(self, call: Call, payment: sqlite3.Row | None) -> Answer:
        if payment is None:
            return _refusal(404, "unknown_reference", "Nothing is known of the reference.")
        match payment["status"]:
            case "captured":
                refund_id = self._move(call.reference, "refund", "ref", payment["amount"])
                self._set_status(call.reference, "refunded")
            case "refunded":
                sql = "SELECT id FROM movements WHERE reference = ? AND kind = 'refund'"
                (refund_id,) = self._execute(sql, call.reference).fetchone()
            case _:
                return _refusal(409, "not_captured", "Nothing was captured that could be refunded.")
        return Answer(200, {"status": "refunded", "refund_id": refund_id})

    def _move(self, reference: str, kind: str, prefix: str, amount: int) -> str:
        movement_id = f"{prefix}_{uuid4().hex}"
        self._execute("INSERT INTO movements VALUES (?, ?, ?, ?, ?)", movement_id, reference, kind, amount, _now())
        return movement_id

    def _set_status(self, reference: str, status: str) -> None:
        self._execute("UPDATE payments SET status = ? WHERE reference = ?", status, reference)

    def _count_duplicate(self, reference: str) -> None:
        self._execute("UPDATE payments SET duplicate_attempts = duplicate_attempts + 1 WHERE reference = ?", reference)

    def _note(self, call: Call, status: int, outcome: str) -> None:
        self._execute(
            "INSERT INTO calls (reference, operation, idempotency_key, status, outcome, correlation_id, called_at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            *(call.reference, call.operation, call.idempotency_key, status, outcome, call.correlation_id, _now()),
        )

    def _one(self, sql: str, *values: object) -> sqlite3.Row | None:
        row: sqlite3.Row | None = self._execute(sql, *values).fetchone()
        return row

    def _execute(self, sql: str, *values: Any) -> sqlite3.Cursor:
        return self._connection.execute(sql, values)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        with self._connection:
            yield


_STATE_MACHINE = {
    Operation.AUTHORIZE: Ledger._authorize,
    Operation.CAPTURE: Ledger._capture,
    Operation.VOID: Ledger._void,
    Operation.REFUND: Ledger._refund,
}


def _refusal(status: int, code: str, detail: str) -> Answer:
    return Answer(status, {"code": code, "detail": detail})


def _now() -> str:
    return _text(datetime.now(UTC))


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds")
