"""The image, as far as it can be read without building it: what goes in, and that nothing is fetched unpinned."""

import re
import tomllib

import yaml

from support.paths import ROOT

DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
COPIED = {part for line in re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE) for part in line.split()}


def versions(lock: str) -> dict[str, str]:
    text = (ROOT / lock).read_text(encoding="utf-8")
    return dict(re.findall(r"^([a-z0-9._-]+)==(\S+)", text, re.MULTILINE))


def name_of(requirement: str) -> str:
    matched = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert matched
    return matched[0].lower().replace("_", "-")


def test_every_package_of_the_wheel_is_copied() -> None:
    packages = {path.split("/")[0] for path in PYPROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]}
    assert packages <= COPIED
    assert {"migrations", "pyproject.toml", *PYPROJECT["project"]["license-files"]} <= COPIED


def test_everything_that_is_copied_is_let_into_the_build_and_nothing_else() -> None:
    ignore = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert {line[1:] for line in ignore if line.startswith("!")} == COPIED
    assert next(line for line in ignore if line and line[0] not in "#!") == "*"


def test_the_lock_has_every_dependency_and_no_development_package() -> None:
    locked = versions("requirements.runtime.lock")
    project = PYPROJECT["project"]
    assert {name_of(requirement) for requirement in project["dependencies"]} <= locked.keys()
    extras = {name_of(each) for extra in project["optional-dependencies"].values() for each in extra}
    assert not extras & locked.keys()


def test_the_image_runs_the_versions_that_the_tests_ran() -> None:
    tested = versions("requirements.lock")
    assert {name: tested.get(name) for name in versions("requirements.runtime.lock")} == versions(
        "requirements.runtime.lock"
    )


def test_every_locked_package_has_hashes() -> None:
    for lock in ("requirements.runtime.lock", "requirements.build.lock"):
        entries = re.split(r"^(?=[a-z0-9])", (ROOT / lock).read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
        assert [entry.split()[0] for entry in entries if "--hash=sha256:" not in entry] == []


def test_it_does_not_run_as_root() -> None:
    [user] = re.findall(r"^USER (\S+)$", DOCKERFILE, re.MULTILINE)
    assert int(user.split(":")[0]) > 0
    assert DOCKERFILE.index("\nUSER ") < DOCKERFILE.index("\nCMD ")


def test_every_action_of_the_workflow_is_pinned_to_a_commit() -> None:
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8"))
    used = [step["uses"] for job in workflow["jobs"].values() for step in job["steps"] if "uses" in step]
    assert used
    assert [action for action in used if not re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", action)] == []
