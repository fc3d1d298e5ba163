"""The client's ledger against the databases: what was accepted is there, once, and is what was told."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from tools.chaos.evidence import Evidence, Row, Rows

COMMANDS: Final = ("approve", "ship", "complete", "cancel")
STOCK_COMMANDS: Final = ("set", "adjust")
#: Refusals of a client's command: nothing was accepted, and nothing is written. The same key is judged anew.
NOT_RECORDED: Final = {"illegal_transition", "version_conflict", "shipment_in_progress"}
#: The one refusal that is an outcome: of a ship that had been accepted.
RECORDED: Final = "capture_refused"
#: How long a client waits for an answer.
ANSWER_SECONDS: Final = 10.0
#: From a command's record to its commit.
COMMIT_SECONDS: Final = 1.0


@dataclass(slots=True)
class Told:
    """All that was told about one key: (version, status) of what was done, refusals and when they were asked for."""

    kind: str
    done: set[tuple[Any, Any]] = field(default_factory=set)
    refused: set[tuple[str, float]] = field(default_factory=set)
    accepted: bool = False


def accepted_is_present(evidence: Evidence) -> Iterator[str]:
    """Every order that was accepted is there, as it was sent; and nothing else is."""
    orders = {row["order_id"]: row for row in evidence.rows["orders"]}
    lines: dict[str, list[Row]] = defaultdict(list)
    for line in evidence.order_lines:
        lines[line["order_id"]].append({name: line[name] for name in ("sku", "quantity", "unit_price")})
    ids: dict[str, str] = {}
    for sent in _sent(evidence, "place"):
        told = sent["told"]
        if told is None or _says_nothing(told):
            continue
        if told["status"] != 201:
            yield f"POST /orders {sent['key']}: told {told['status']} {told['problem']}"
            continue
        order_id = told["order_id"]
        if ids.setdefault(sent["key"], order_id) != order_id:
            yield f"POST /orders {sent['key']}: told two ids, {ids[sent['key']]} and {order_id}"
        if (row := orders.get(order_id)) is None:
            yield f"order {order_id} was accepted ({told['status']}) and is not there"
            continue
        body = sent["body"]
        total = sum(line["quantity"] * line["unit_price"] for line in body["lines"])
        as_sent = (body["customer_id"], body["reference"], body["currency"], total)
        if (row["customer_id"], row["reference"], row["currency"], row["total"]) != as_sent:
            yield f"order {order_id} is not what was sent"
        if lines[order_id] != body["lines"]:
            yield f"order {order_id} has other lines than were sent"
        if (told["command"]["version"], told["command"]["status"]) != (1, "DRAFT"):
            yield f"order {order_id}: its placing was told as {told['command']}"
    unknown = orders.keys() - ids.values()
    yield from (f"order {order_id} is there, and nobody was told of it" for order_id in sorted(unknown))


def commands_as_told(evidence: Evidence) -> Iterator[str]:
    """Every accepted command was done or refused, once, and that is what its client was told."""
    recorded = {(row["order_id"], row["command_id"]): row for row in evidence.commands["orders"]}
    made: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for event in evidence.events["orders"]:
        made[event["order_id"], event["command_id"]].append(event)
    sent_keys = set()
    for (order_id, key), told in _told(evidence).items():
        name = f"order {order_id} {told.kind} {key}"
        identity = (order_id, f"c:{key}")
        sent_keys.add(identity)
        row, events = recorded.get(identity), made.get(identity, [])
        if row is None:
            if told.done or told.accepted:
                yield f"{name}: accepted, and not recorded"
            yield from (f"{name}: told {slug}, not recorded" for slug, _ in told.refused if slug not in NOT_RECORDED)
            continue
        if row["name"] != told.kind:
            yield f"{name}: recorded as {row['name']}"
        if len(told.done) > 1:
            yield f"{name}: told two outcomes, {sorted(told.done, key=str)}"
        if row["version"] is None and row["refusal"] is None:
            yield f"{name}: neither done nor refused"
        elif row["version"] is not None:
            as_made = {(event["version"], event["status"]) for event in events}
            yield from (f"{name}: told {one}, made {as_made}" for one in told.done if {one} != as_made)
            # Refused before it was done, it was judged anew; afterwards what was done is its answer for ever.
            late = row["recorded_at"] + COMMIT_SECONDS
            for slug, asked_at in told.refused:
                if slug not in NOT_RECORDED or asked_at > late:
                    yield f"{name}: told {slug}, done as version {row['version']}"
        else:
            slug = row["refusal"]["slug"]
            yield from (f"{name}: told version {version}, refused as {slug}" for version, _ in told.done)
            for one, asked_at in told.refused:
                if one != slug and (one not in NOT_RECORDED or asked_at > row["recorded_at"] + COMMIT_SECONDS):
                    yield f"{name}: told {one}, refused as {slug}"
    for (order_id, command_id), row in recorded.items():
        events = made.get((order_id, command_id), [])
        versions = [event["version"] for event in events]
        if versions != ([] if row["version"] is None else [row["version"]]):
            yield f"order {order_id} {command_id}: recorded as version {row['version']}, it made {versions}"
        if command_id.startswith("c:") and (order_id, command_id) not in sent_keys:
            yield f"order {order_id} {command_id}: carried out, and never sent"
    yield from (f"order {o} {c} made an event, and is not recorded" for o, c in made.keys() - recorded.keys())


def refusals_wrote_nothing(evidence: Evidence) -> Iterator[str]:
    """No refusal of an order's command is recorded, but a ship's whose payment could not be captured."""
    for row in evidence.commands["orders"]:
        if row["refusal"] is None or row["command_id"].startswith("r:"):
            continue  # done, or what reconciliation noted
        if (row["name"], row["refusal"]["slug"]) != ("ship", RECORDED):
            yield f"order {row['order_id']} {row['command_id']}: {row['name']} was refused as {row['refusal']['slug']}"


def stock_as_told(evidence: Evidence) -> Iterator[str]:
    """Every accepted change of stock is one movement, as told; one that was refused each time is none."""
    movements: dict[str, Rows] = defaultdict(list)
    for movement in evidence.movements:
        if movement["command_id"] is not None:
            movements[movement["command_id"].removeprefix("c:")].append(movement)
    sent_keys = set()
    refused: dict[str, set[tuple[str, float]]] = defaultdict(set)
    for sent in _sent(evidence, *STOCK_COMMANDS):
        key, told = sent["key"], sent["told"]
        sent_keys.add(key)
        if told is None or _says_nothing(told):
            continue
        if told["status"] not in (200, 201):
            refused[key].add((told["problem"], sent["at"]))
            continue
        as_made = [tuple(m[name] for name in ("sku", "on_hand", "version", "delta")) for m in movements[key]]
        as_told = tuple(told[name] for name in ("sku", "on_hand", "version", "delta"))
        if as_made != [as_told]:
            yield f"stock {key}: told {as_told}, made {as_made}"
    for key, refusals in refused.items():
        for movement in movements[key]:
            # As of an order's commands: refused before it was done, it was judged anew.
            late = movement["recorded_at"] + COMMIT_SECONDS
            yield from (f"stock {key}: told {slug}, and done" for slug, asked_at in refusals if asked_at > late)
    yield from (f"stock {key}: done, and never sent" for key in movements.keys() - sent_keys)
    yield from (f"stock {key}: {len(made)} movements" for key, made in movements.items() if len(made) > 1)


def keys_stand_for_one_request(evidence: Evidence) -> Iterator[str]:
    """Another request under a key that was used is refused, and changes nothing (the other rules would see that)."""
    for sent in evidence.ledger:
        told = sent["told"]
        if not sent.get("conflict") or told is None or _says_nothing(told):
            continue
        if (told["status"], told["problem"]) != (422, "idempotency_conflict"):
            yield f"another request under the key {sent['key']} was told {told['status']} {told['problem']}"


def nobody_saw_a_bug(evidence: Evidence) -> Iterator[str]:
    """No answer but the documented ones, and nobody waited longer than anybody should."""
    for sent in evidence.ledger:
        if sent["say"] == "gave up":
            yield f"a client gave up waiting for {sent['what']}"
        elif (told := sent["told"]) is not None and told["status"] >= 500 and told["status"] != 503:
            if any(begin - ANSWER_SECONDS < sent["at"] < end for begin, end in evidence.refusing):
                continue  # there was one
            yield f"{sent['kind']} {sent['path']}: told {told['status']} {told['problem']}: {told.get('detail')}"


def _says_nothing(told: Row) -> bool:
    """Whether the request was not judged: too many at once, or something is away. (A 500 is seen by a rule.)"""
    return bool(told["status"] >= 500 or told["status"] == 429)


def _sent(evidence: Evidence, *kinds: str) -> Rows:
    return [sent for sent in evidence.ledger if sent.get("kind") in kinds and not sent.get("conflict")]


def _told(evidence: Evidence) -> dict[tuple[str, str], Told]:
    found: dict[tuple[str, str], Told] = {}
    for sent in evidence.ledger:
        kind = sent["of"] if sent.get("kind") == "ask" else sent.get("kind")
        if kind not in COMMANDS or sent.get("conflict"):
            continue
        said = found.setdefault((sent["order_id"], sent["key"]), Told(kind))
        told = sent["told"]
        if told is None:
            continue
        command = told["command"]
        if command is not None and command["state"] == "done":
            said.done.add((command["version"], command["status"]))
        elif told["problem"] is not None and not _says_nothing(told):
            said.refused.add((told["problem"], sent["at"]))
        elif told["status"] == 202:
            said.accepted = True
    return found
