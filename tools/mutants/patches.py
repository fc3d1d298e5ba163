"""Planted bugs: small patches that each break one guarantee, and the page that lists them.

A patch is a file ``patches/<slug>.patch``: header lines that say what it breaks, what the bug is and which tests catch
it, then a unified diff of product code.
"""

import os
import re
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
FOLDER: Final = Path(__file__).resolve().parent / "patches"
PAGE: Final = ROOT / "docs" / "guarantees.md"
BEGIN: Final = "<!-- Planted bugs: written by `make generate` from the heads of the patches. -->"
END: Final = "<!-- End of the planted bugs. -->"
#: What a patch may change; a planted bug is never in a test.
PRODUCT: Final = (
    "activities/",
    "api/",
    "events/orderflow_events/",
    "migrations/",
    "operations/",
    "orderflow/",
    "workers/",
    "workflows/",
)

_HEADER = re.compile(r"(breaks|bug|caught-by): (\S.*)")
_TEST = re.compile(r"((?:tests|events/tests)/[\w/]+\.py)::(test_\w+)(\[\S+\])?")


class PatchError(Exception):
    """A patch is not what it should be; the sentence names it."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """A planted bug. ``caught_by``: pytest's names of the tests that fail because of it, each by itself."""

    slug: str
    breaks: str
    bug: str
    caught_by: tuple[str, ...]
    path: Path


def function_of(node_id: str) -> str:
    """The function in a pytest name, without file and parameters."""
    return node_id.rpartition("::")[2].partition("[")[0]


def load(slugs: Sequence[str] = (), folder: Path = FOLDER) -> list[Mutant]:
    """All planted bugs in the order of their names, or those that are named. Raises PatchError."""
    mutants = {path.stem: read(path) for path in sorted(folder.glob("*.patch"))}
    if unknown := [slug for slug in slugs if slug not in mutants]:
        raise PatchError(f"there is no patch {', '.join(unknown)} in {folder}")
    return [mutants[slug] for slug in slugs] if slugs else list(mutants.values())


def read(path: Path) -> Mutant:
    """One patch. Raises PatchError when its head or what it changes is not as agreed."""
    if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", path.stem):
        raise PatchError(f"{path.name}: its name is not in kebab case")
    head, found, diff = path.read_text(encoding="utf-8").partition("\n--- a/")
    if not found:
        raise PatchError(f"{path.name}: there is no unified diff in it")
    fields: dict[str, list[str]] = {"breaks": [], "bug": [], "caught-by": []}
    for line in filter(None, head.splitlines()):
        if line.startswith(("diff ", "index ", "new file", "deleted file")):
            continue
        header = _HEADER.fullmatch(line)
        if header is None:
            raise PatchError(f"{path.name}: not a line of a patch's head: {line}")
        fields[header[1]].append(header[2])
    if not (len(fields["breaks"]) == len(fields["bug"]) == 1 and 1 <= len(fields["caught-by"]) <= 2):
        raise PatchError(f"{path.name}: it needs one breaks, one bug, and one or two caught-by")
    if wrong := [name for name in fields["caught-by"] if not _TEST.fullmatch(name)]:
        raise PatchError(f"{path.name}: not the name of a test: {wrong[0]}")
    changed = re.findall(r"^--- (?:a/)?(\S+)\n\+\+\+ (?:b/)?(\S+)", found + diff, re.MULTILINE)
    if elsewhere := [name for names in changed for name in names if not name.startswith(PRODUCT)]:
        raise PatchError(f"{path.name}: it changes {elsewhere[0]}, which is no product code")
    return Mutant(path.stem, fields["breaks"][0], fields["bug"][0], tuple(fields["caught-by"]), path)


def apply(mutant: Mutant, checkout: Path, *, check: bool = False) -> None:
    """Plant a bug in ``checkout``, or only see whether that works. Raises PatchError."""
    # Whatever repository is around: the paths are those below the checkout.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    environment["GIT_CEILING_DIRECTORIES"] = str(checkout.resolve().parent)
    command = ["git", "apply", "--whitespace=nowarn", *(["--check"] if check else []), str(mutant.path)]
    done = subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise PatchError(f"{mutant.path.name} no longer applies: {done.stderr.strip()}")


def table(mutants: Iterable[Mutant]) -> str:
    """The planted bugs in Markdown."""
    lines = ["| planted bug | what it breaks | caught by |", "| --- | --- | --- |"]
    for mutant in mutants:
        names = ", ".join(dict.fromkeys(f"`{function_of(node_id)}`" for node_id in mutant.caught_by))
        cells = (f"**{mutant.slug}**: {mutant.bug}", mutant.breaks, names)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines)


def page_with(mutants: Iterable[Mutant], page: str) -> str:
    """``page`` with the table of ``mutants`` between its two marks. Raises PatchError when they are not there."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise PatchError(f"the marks of the table are not in {PAGE.name}")
    return f"{before}{BEGIN}\n\n{table(mutants)}\n\n{END}{after}"


def files() -> dict[Path, str]:
    """The page with the table as it should be, by its path from the repository's root. Raises PatchError."""
    return {PAGE.relative_to(ROOT): page_with(load(), PAGE.read_text(encoding="utf-8"))}
