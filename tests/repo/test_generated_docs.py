"""The pages say what the code says: names and links in all of them lead somewhere."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from orderflow.domain.lifecycle import Lifecycle
from orderflow.settings import Settings
from support.paths import ROOT
from tools.generate import pages as generate

PAGES = sorted([*ROOT.glob("docs/**/*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"])
#: Where settings are named: pages, and what sets them.
NAMING_SETTINGS = [
    *PAGES,
    ROOT / "docker-compose.yml",
    ROOT / "Dockerfile",
    *(path for path in ROOT.glob("deploy/**/*.*") if path.parent.name != "__pycache__"),
    *ROOT.glob(".github/workflows/*.yml"),
]


def by_path(path: Path) -> str:
    return str(path.relative_to(ROOT))


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


@pytest.mark.parametrize("lifecycle", [entry[0] for entry in generate.LIFECYCLES], ids=lambda each: each.aggregate)
def test_every_transition_is_on_the_lifecycle_page(lifecycle: Lifecycle) -> None:
    page = generate.lifecycle_page()
    section = page.split(f"## {lifecycle.aggregate.capitalize()}\n")[1].split("\n## ")[0]
    drawn = re.findall(r"^    (\S+) --> (\S+): (\S+)$", section, re.MULTILINE)
    assert sorted(drawn) == sorted((s or "[*]", t.to, t.command) for t in lifecycle.transitions for s in t.from_)


@pytest.mark.parametrize("path", NAMING_SETTINGS, ids=by_path)
def test_every_setting_that_is_named_exists(path: Path) -> None:
    named = set(re.findall(r"ORDERFLOW_[A-Z0-9_]*[A-Z0-9]", path.read_text(encoding="utf-8")))
    assert named <= {f"ORDERFLOW_{name.upper()}" for name in Settings.model_fields}


@pytest.mark.parametrize("path", PAGES, ids=by_path)
def test_every_relative_link_leads_somewhere(path: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", path.read_text(encoding="utf-8"))
    relative = [link for link in links if "://" not in link and not link.startswith("mailto:")]
    assert [link for link in relative if not (path.parent / link).exists()] == []


@pytest.mark.parametrize("path", PAGES, ids=by_path)
def test_every_file_and_name_that_is_mentioned_exists(path: Path) -> None:
    """`folder/file.py` must be there, and `folder/file.py:name` must be defined in it (`Class.method`: both)."""
    wrong = []
    for file, names in re.findall(
        r"`([\w.-]+(?:/[\w.-]+)+\.(?:py|sql|sh|yml|yaml|md))(?::([\w.]+))?`", path.read_text()
    ):
        if not (ROOT / file).is_file():
            wrong.append(file)
            continue
        source = (ROOT / file).read_text(encoding="utf-8")
        wrong += [
            f"{file}:{name}"
            for name in filter(None, names.split("."))
            if not re.search(
                rf"^\s*(?:(?:async )?def|class) {name}\b|^\s*{name}(?:: .+)? = |^CREATE .+ {name}\b", source, re.M
            )
        ]
    assert wrong == []
