"""The pages say what the code says: names and links in all of them lead somewhere."""

import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from orderflow import setting_sources
from orderflow.settings import Settings
from support.paths import ROOT
from tools.generate import pages as generate

_AT_THE_ROOT = ("README.md", "SECURITY.md", "CONTRIBUTING.md", "CHANGELOG.md")
PAGES = sorted([*ROOT.glob("docs/**/*.md"), *(ROOT / name for name in _AT_THE_ROOT)])
#: Where settings are named: pages, and what sets them.
NAMING_SETTINGS = [
    *PAGES,
    ROOT / "docker-compose.yml",
    ROOT / "Dockerfile",
    *(path for path in ROOT.glob("deploy/**/*.*") if path.parent.name != "__pycache__"),
    *ROOT.glob(".github/workflows/*.yml"),
]


def test_no_value_of_the_environment_gets_onto_a_page() -> None:
    page = generate.configuration_page()
    script = "from tools.generate import pages as generate; import sys; sys.stdout.write(generate.configuration_page())"
    secrets = {f"ORDERFLOW_{name.upper()}": "leaked" for name in Settings.model_fields}
    elsewhere = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env={**secrets, "PYTHONPATH": ".:events", "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert elsewhere.stdout == page
    assert "leaked" not in page


def test_every_setting_is_on_the_configuration_page() -> None:
    documented = re.findall(r"^\| `(ORDERFLOW_\w+)` \|", generate.configuration_page(), re.MULTILINE)
    assert sorted(documented) == sorted(f"ORDERFLOW_{name.upper()}" for name in Settings.model_fields)


def test_every_transition_is_on_the_lifecycle_page() -> None:
    page = generate.lifecycle_page()
    for lifecycle, *_ in generate.LIFECYCLES:
        section = page.split(f"## {lifecycle.aggregate.capitalize()}\n")[1].split("\n## ")[0]
        drawn = re.findall(r"^    (\S+) --> (\S+): (\S+)$", section, re.MULTILINE)
        assert sorted(drawn) == sorted((s or "[*]", t.to, t.command) for t in lifecycle.transitions for s in t.from_)


def in_pages(pattern: str, paths: Sequence[Path] = PAGES) -> Iterator[tuple[Path, Any]]:
    """Each page, and what ``pattern`` finds on it."""
    for path in paths:
        for found in re.findall(pattern, path.read_text(encoding="utf-8")):
            yield path, found


def test_every_setting_that_is_named_exists() -> None:
    known = {f"ORDERFLOW_{name.upper()}" for name in setting_sources.names(Settings)}
    named = set(in_pages(r"ORDERFLOW_[A-Z0-9_]*[A-Z0-9]", NAMING_SETTINGS))
    assert {(path.name, setting) for path, setting in named if setting not in known} == set()


def test_every_relative_link_leads_somewhere() -> None:
    relative = [
        (path, link)
        for path, link in in_pages(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
        if "://" not in link and not link.startswith("mailto:")
    ]
    assert len(relative) > 50
    assert [(path.name, link) for path, link in relative if not (path.parent / link).exists()] == []


def test_every_file_and_name_that_is_mentioned_exists() -> None:
    """`folder/file.py` must be there, and `folder/file.py:name` must be defined in it (`Class.method`: both)."""
    mentioned = list(in_pages(r"`([\w.-]+(?:/[\w.-]+)+\.(?:py|sql|sh|yml|yaml|md))(?::([\w.]+))?`"))
    assert len(mentioned) > 50
    wrong = []
    for path, (file, names) in mentioned:
        if not (ROOT / file).is_file():
            wrong.append((path.name, file))
            continue
        source = (ROOT / file).read_text(encoding="utf-8")
        wrong += [
            (path.name, f"{file}:{name}")
            for name in filter(None, names.split("."))
            if not re.search(
                rf"^\s*(?:(?:async )?def|class) {name}\b|^\s*{name}(?:: .+)? = |^CREATE .+ {name}\b", source, re.M
            )
        ]
    assert wrong == []
