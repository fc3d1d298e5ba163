"""The event schemas and the AsyncAPI document, made from the models; ``make generate`` in the repository writes them.

    events/schemas/<TYPE>.<n>.json           the JSON Schema of a record's value
    events/schemas/released/<TYPE>.<n>.json  the same as it was at the last release: what a change is judged by
    events/asyncapi.yaml                     the topic and its messages, as an AsyncAPI 3 document

``python -m events.generate --release`` freezes the present schemas; what is not compatible is refused.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import yaml

from events.compatibility import incompatibilities
from orderflow_events.envelope import SCHEMA_VERSION, dataschema
from orderflow_events.models import EVENTS, Event

HERE = Path(__file__).parent
RELEASED = HERE / "schemas" / "released"
#: From the repository's root, as `make generate` wants it.
SCHEMAS = Path("events/schemas")

_DRAFT = "http://json-schema.org/draft-07/schema#"
_UUID = {"type": "string", "format": "uuid"}
_TIME = {"type": "string", "format": "date-time"}


def value_schema(model: type[Event]) -> dict[str, Any]:
    """The JSON Schema of the value of a record with ``model``'s data. Unknown properties are allowed everywhere."""
    data = model.model_json_schema(by_alias=True, mode="validation")
    definitions = data.pop("$defs", {})
    return {
        "$schema": _DRAFT,
        "$id": dataschema(model.type),
        "title": model.type,
        "description": _text(model),
        "type": "object",
        "required": ["order_id", "version", "status", "recorded_at", "data"],
        "properties": {
            "order_id": {"description": "The order.", **_UUID},
            "version": {
                "description": "Counts the events of this source and order: 1, 2, 3 without a gap.",
                "type": "integer",
                "minimum": 1,
            },
            "status": {"description": "What the source's part of the order became.", "type": "string"},
            "recorded_at": {"description": "When it happened, UTC.", **_TIME},
            "data": _inlined(data, definitions),
        },
    }


def headers_schema() -> dict[str, Any]:
    """The headers that every record has, as CloudEvents 1.0 names them in Kafka's binary mode."""
    text = {"type": "string"}
    return {
        "type": "object",
        "required": [
            *("content-type", "ce_specversion", "ce_id", "ce_source", "ce_type", "ce_subject", "ce_sequence"),
            *("ce_time", "ce_dataschema", "ce_correlationid"),
        ],
        "properties": {
            "content-type": {"type": "string", "const": "application/json"},
            "ce_specversion": {"type": "string", "const": "1.0"},
            "ce_id": {"description": "<service>/<order id>/<version>, the same on every resend.", **text},
            "ce_source": {"type": "string", "enum": sorted({event.source for event in EVENTS.values()})},
            "ce_type": {"description": "More types come without notice.", **text},
            "ce_subject": {"description": "The order id.", **_UUID},
            "ce_sequence": {
                "description": "The version, 1, 2, 3 per source and order, as ten digits: it sorts as text.",
                "pattern": "^[0-9]{10}$",
                **text,
            },
            "ce_time": {"description": "When it happened.", **_TIME},
            "ce_dataschema": {"description": "urn:orderflow:event:<type>:<n>: the schema of the value.", **text},
            "ce_correlationid": {"description": "The request that started it.", **text},
            "ce_traceparent": {"description": "The W3C trace context, when known.", **text},
            "traceparent": {"description": "The same, for tools that know it without CloudEvents.", **text},
        },
    }


def dead_letter_headers_schema() -> dict[str, Any]:
    """What a dead letter's record has besides."""
    text = {"type": "string"}
    return {
        "type": "object",
        "required": [
            *("dlq_kind", "dlq_reason", "dlq_attempts", "dlq_topic", "dlq_partition", "dlq_offset", "dlq_timestamp"),
        ],
        "properties": {
            "dlq_kind": {"type": "string", "enum": ["failed", "follows", "undecodable"]},
            "dlq_reason": {"description": "Why it could not be applied.", **text},
            "dlq_attempts": {"description": "How often it was tried.", **text},
            "dlq_topic": {"description": "Where the original is.", **text},
            "dlq_partition": text,
            "dlq_offset": text,
            "dlq_timestamp": {"description": "The original's, in milliseconds since 1970.", **text},
            "dlq_first_failed_at": {"description": "Absent for one that only follows.", **_TIME},
            "dlq_last_failed_at": dict(_TIME),
        },
    }


def asyncapi() -> dict[str, Any]:
    """The AsyncAPI 3 document: from OrderFlow's point of view, so it sends."""
    messages = {
        event_type: {
            "name": event_type,
            "title": _text(model),
            "contentType": "application/json",
            "headers": {"$ref": "#/components/schemas/headers"},
            "payload": {"$ref": f"./schemas/{event_type}.{SCHEMA_VERSION}.json"},
            "bindings": {"kafka": {"key": {"description": "The order id.", **_UUID}, "bindingVersion": "0.5.0"}},
        }
        for event_type, model in EVENTS.items()
    }
    return {
        "asyncapi": "3.0.0",
        "id": "urn:orderflow:events",
        "info": {
            "title": "OrderFlow order events",
            "version": f"{SCHEMA_VERSION}.0.0",
            "description": (
                "What happens to orders, as CloudEvents 1.0 in Kafka's binary mode. At least once; the first "
                "occurrences of an order's events come in version order per source; across sources any order may be "
                "seen. The key is the order id."
            ),
            "license": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": {
            "orderEvents": {
                "address": "order.events",
                "description": "Every event of every order.",
                "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages},
            },
            "deadLetters": {
                "address": "order.events.dlq.{group}",
                "description": "What a group of consumers built with the consumer kit could not apply.",
                "parameters": {"group": {"description": "The consumer group."}},
                "messages": {"deadLetter": {"$ref": "#/components/messages/deadLetter"}},
            },
        },
        "operations": {
            "publishOrderEvents": {
                "action": "send",
                "summary": "OrderFlow's relays publish what its databases have recorded.",
                "channel": {"$ref": "#/channels/orderEvents"},
            },
            "publishDeadLetters": {
                "action": "send",
                "summary": "A consumer sets a record aside, with the original's key, value and headers.",
                "channel": {"$ref": "#/channels/deadLetters"},
            },
        },
        "components": {
            "schemas": {"headers": headers_schema(), "deadLetterHeaders": dead_letter_headers_schema()},
            "messages": messages
            | {
                "deadLetter": {
                    "name": "deadLetter",
                    "title": "A record as it came, and why it is here.",
                    "headers": {"$ref": "#/components/schemas/deadLetterHeaders"},
                    "payload": {"description": "The original's value, whatever it is."},
                }
            },
        },
    }


def schemas() -> dict[str, dict[str, Any]]:
    """Every schema by its file's name."""
    return {f"{name}.{SCHEMA_VERSION}.json": value_schema(model) for name, model in EVENTS.items()}


def files() -> dict[Path, str]:
    """Every text that is made from the models, by its path from the repository's root."""
    texts = {SCHEMAS / name: _json(schema) for name, schema in schemas().items()}
    header = "# Written by `make generate` from the event models.\n"
    document = yaml.safe_dump(asyncapi(), sort_keys=False, width=110, allow_unicode=True)
    return texts | {SCHEMAS.parent / "asyncapi.yaml": header + document}


def broken(current: dict[str, dict[str, Any]]) -> list[str]:
    """What ``current`` (schemas by file name) breaks of what is released, a sentence each."""
    found = []
    for path in sorted(RELEASED.glob("*.json")):
        if path.name not in current:
            found.append(f"{path.name}: it is released, and gone")
            continue
        problems = incompatibilities(json.loads(path.read_text()), current[path.name])
        found += [f"{path.name}: {problem}" for problem in problems]
    return found


def main() -> int:
    """Release, or refuse to; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--release", action="store_true", required=True, help="freeze the present schemas")
    parser.parse_args()
    problems = broken(schemas())
    if not problems:
        RELEASED.mkdir(parents=True, exist_ok=True)
        for name, schema in schemas().items():
            (RELEASED / name).write_text(_json(schema))
    sys.stderr.writelines(f"{problem}\n" for problem in problems)
    return 1 if problems else 0


def _inlined(schema: Any, definitions: dict[str, Any]) -> Any:
    """``schema`` without references, and without the titles that pydantic makes up from the names."""
    if isinstance(schema, list):
        return [_inlined(part, definitions) for part in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        referred = definitions[schema["$ref"].rpartition("/")[2]]
        schema = referred | {name: value for name, value in schema.items() if name != "$ref"}
    result = {
        name: _inlined(value, definitions) for name, value in schema.items() if name not in ("title", "properties")
    }
    if "properties" in schema:
        result["properties"] = {name: _inlined(value, definitions) for name, value in schema["properties"].items()}
    return result


def _text(model: type[Event]) -> str:
    return " ".join((model.__doc__ or model.type).split())


def _json(schema: dict[str, Any]) -> str:
    return json.dumps(schema, indent=2) + "\n"


if __name__ == "__main__":
    sys.exit(main())
