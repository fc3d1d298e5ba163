"""May a schema replace a released one? Only if readers and writers of both releases understand each other.

Records live for days in the topic and for longer in a lake, and consumers update when they like. So a record of the new
release must be readable by the old models, and a record of the old release by the new ones. What is left is: to add an
optional property, and to say things better (titles, descriptions). All else is a new schema version, or a new type.
"""

from collections.abc import Iterator, Mapping
from typing import Any

Schema = Mapping[str, Any]

_WORDS = frozenset({"title", "description", "$comment", "examples"})
_STRUCTURE = frozenset({"properties", "required"})


def incompatibilities(released: Schema, current: Schema) -> list[str]:
    """What readers or writers of one schema would not understand of the other, a sentence each; none: compatible."""
    return list(_compare(released, current, "the value"))


def _compare(released: Schema, current: Schema, where: str) -> Iterator[str]:
    for keyword in sorted((released.keys() | current.keys()) - _WORDS - _STRUCTURE):
        before, after = released.get(keyword), current.get(keyword)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            yield from _compare(before, after, f"{where}'s {keyword}")
        elif keyword == "anyOf" and before and after:
            yield from _compare_alternatives(before, after, where)
        elif _comparable(keyword, before) != _comparable(keyword, after):
            yield f"{keyword} of {where} was {before}, and is {after}"
    properties, now = released.get("properties", {}), current.get("properties", {})
    required, required_now = set(released.get("required", ())), set(current.get("required", ()))
    for name in sorted(properties.keys() - now.keys()):
        yield f"{where} has lost {name}"
    for name in sorted(required_now - required):
        yield f"{name} is required in {where} now: older records lack it"
    for name in sorted((required - required_now) & now.keys()):
        yield f"{name} is no longer required in {where}: older readers need it"
    for name in sorted(properties.keys() & now.keys()):
        yield from _compare(properties[name], now[name], f"{where}.{name}" if where != "the value" else name)


def _compare_alternatives(released: list[Schema], current: list[Schema], where: str) -> Iterator[str]:
    before, after = ({str(schema.get("type")): schema for schema in schemas} for schemas in (released, current))
    if before.keys() != after.keys() or len(released) != len(before) or len(current) != len(after):
        yield f"{where} was {' or '.join(sorted(before))}, and is {' or '.join(sorted(after))}"
    for name in sorted(before.keys() & after.keys()):
        yield from _compare(before[name], after[name], where)


def _comparable(keyword: str, value: Any) -> Any:
    """The order of an enum's values means nothing."""
    return sorted(map(repr, value)) if keyword == "enum" and isinstance(value, list) else value
