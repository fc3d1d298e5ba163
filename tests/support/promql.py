"""Which metrics a PromQL expression names, and by which labels: as much of the grammar as our rules and panels use.

What it does not know is an error here, so that nothing slips through unseen.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

_TOKEN = re.compile(
    r"""\s*(?:
    (?P<string>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
  | (?P<window>\[[^\]]+\])
  | (?P<duration>(?:\d+(?:ms|[smhdwy]))+(?![\w.]))
  | (?P<number>\d+(?:\.\d+)?(?:[eE][+-]?\d+)?(?!\w))
  | (?P<name>[a-zA-Z_:][\w:]*)
  | (?P<sign>=~|!~|!=|==|<=|>=|[-+*/%^<>=(){},])
    )""",
    re.VERBOSE,
)
_GROUPINGS = frozenset({"by", "without", "on", "ignoring", "group_left", "group_right"})
_WORDS = frozenset({"and", "or", "unless", "bool", "offset"})
_AGGREGATIONS = frozenset({"sum", "min", "max", "avg", "count", "topk", "bottomk", "quantile"})
_FUNCTIONS = frozenset({"rate", "increase", "histogram_quantile", "absent", "time", "label_replace", "clamp_min"})
_MATCHES = frozenset({"=", "!=", "=~", "!~"})


@dataclass(frozen=True)
class Named:
    """``selected``: each metric, with the labels that select it; ``grouped``: labels that series are summed up by."""

    selected: list[tuple[str, frozenset[str]]] = field(default_factory=list)
    grouped: set[str] = field(default_factory=set)

    @property
    def metrics(self) -> set[str]:
        """All names."""
        return {name for name, _ in self.selected}


def named(expression: str) -> Named:
    """What ``expression`` names. Raises ValueError for what cannot be read."""
    tokens = list(_tokens(expression))
    found = Named()
    at = 0
    while at < len(tokens):
        kind, text = tokens[at]
        following = tokens[at + 1][1] if at + 1 < len(tokens) else ""
        at += 1
        if kind != "name" or text in _WORDS:
            continue
        if text in _GROUPINGS:
            labels, at = _until(tokens, at + 1, ")")
            found.grouped.update(label for _, label in labels if label != ",")
        elif text in _AGGREGATIONS or following == "(":
            if text not in _AGGREGATIONS | _FUNCTIONS:
                raise ValueError(f"{text} is no function that is known here: {expression}")
        else:
            labels = []
            if following == "{":
                labels, at = _until(tokens, at + 1, "}")
            found.selected.append((text, _matched(labels, expression)))
    return found


def _tokens(expression: str) -> Iterator[tuple[str, str]]:
    at = 0
    text = expression.strip()
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None or match.lastgroup is None:
            raise ValueError(f"{text[at : at + 20]!r} cannot be read in {text}")
        yield match.lastgroup, match[match.lastgroup]
        at = match.end()


def _until(tokens: list[tuple[str, str]], start: int, end: str) -> tuple[list[tuple[str, str]], int]:
    """The tokens before ``end``, and where it goes on behind it."""
    for at in range(start, len(tokens)):
        if tokens[at][1] == end:
            return tokens[start:at], at + 1
    raise ValueError(f"no {end} at the end of {tokens[start:]}")


def _matched(tokens: list[tuple[str, str]], expression: str) -> frozenset[str]:
    labels = set()
    matchers = [token for token in tokens if token[1] != ","]
    for number in range(0, len(matchers), 3):
        parts = matchers[number : number + 3]
        if [kind for kind, _ in parts] != ["name", "sign", "string"] or parts[1][1] not in _MATCHES:
            raise ValueError(f"{parts} is no matcher in {expression}")
        labels.add(parts[0][1])
    return frozenset(labels)
