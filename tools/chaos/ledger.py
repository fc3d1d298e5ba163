"""The client's ledger: every request before it is sent, and what was answered. One JSON object a line.

It is what a customer could hold against us: the checker compares it with what the servers have.
"""

import json
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self


class Ledger:
    """Appends to ``file``. A line is with the operating system before its request is sent."""

    def __init__(self, file: Path) -> None:
        self._file = file.open("a", buffering=1)
        self._number = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def sending(self, **what: Any) -> int:
        """A request is about to be sent: its number."""
        self._number += 1
        self._write(n=self._number, say="sent", **what)
        return self._number

    def told(self, number: int, **answer: Any) -> None:
        """It was answered."""
        self._write(n=number, say="told", **answer)

    def lost(self, number: int, error: str) -> None:
        """No answer came."""
        self._write(n=number, say="lost", error=error)

    def gave_up(self, **what: Any) -> None:
        """The client waited longer than anybody should."""
        self._number += 1
        self._write(n=self._number, say="gave up", **what)

    def _write(self, **entry: Any) -> None:
        self._file.write(json.dumps({"at": time.time(), **entry}, separators=(",", ":")) + "\n")


def read_ledger(file: Path) -> list[dict[str, Any]]:
    """One entry a request: what was sent, and under ``told`` or ``lost`` what came of it."""
    entries: dict[int, dict[str, Any]] = {}
    for line in file.read_text().splitlines():
        said = json.loads(line)
        if said["say"] in ("sent", "gave up"):
            entries[said["n"]] = {**said, "told": None, "lost": None}
        elif said["say"] == "told":
            entries[said["n"]]["told"] = said
        else:
            entries[said["n"]]["lost"] = said["error"]
    return list(entries.values())
