"""Profiles where the machine gives no folder, or none that can be looked into: an error of ours, which names it."""

import pwd
from pathlib import Path

import pytest

from orderflow import profiles, temporal_config
from orderflow.profiles import ProfileError
from orderflow.temporal_config import TemporalConfigError

#: No file has a name as long as this, so a link to it fails to be looked at, for root as well.
TOO_LONG = "x" * 300


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with the profile `near`, of a user with a folder of profiles that is empty."""
    folder = tmp_path / "here"
    folder.mkdir()
    (folder / ".env.near").write_text("ORDERFLOW_KAFKA_TOPIC=near\n")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return folder


@pytest.fixture
def nobody(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user whom the machine does not know, as in a container that runs under any number."""

    def unknown(uid: int) -> None:
        raise KeyError(uid)

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    for name in ("XDG_CONFIG_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.usefixtures("nobody")
def test_a_user_without_a_home_is_told_what_to_set() -> None:
    with pytest.raises(ProfileError, match="no home folder: set HOME or XDG_CONFIG_HOME"):
        profiles.profiles()


@pytest.mark.usefixtures("nobody")
def test_a_user_without_a_home_has_no_configuration_of_temporals(monkeypatch: pytest.MonkeyPatch) -> None:
    assert temporal_config.read() == temporal_config.TemporalConfig()
    monkeypatch.setenv("TEMPORAL_ADDRESS", "temporal.example.com:7233")
    assert temporal_config.read().address == "temporal.example.com:7233"


def test_a_working_directory_that_was_removed_is_named(here: Path) -> None:
    (here / ".env.near").unlink()
    here.rmdir()
    for ask in (profiles.profiles, lambda: profiles.file_of("near")):
        with pytest.raises(ProfileError, match="working directory: No such file or directory"):
            ask()


def test_a_file_that_cannot_be_looked_at_is_named_where_it_is_chosen_and_hides_no_other(here: Path) -> None:
    (here / ".env.far").symlink_to(TOO_LONG)
    assert profiles.read("near", {"kafka_topic"}, "ORDERFLOW_") == here / ".env.near"
    with pytest.raises(ProfileError, match=r"profile far: .*\.env\.far cannot be read: File name too long"):
        profiles.read("far", {"kafka_topic"}, "ORDERFLOW_")


def test_a_folder_that_cannot_be_looked_into_is_named(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", f"/{TOO_LONG}")
    with pytest.raises(ProfileError, match=f"/{TOO_LONG}/orderflow cannot be read: File name too long"):
        profiles.profiles()
    with pytest.raises(TemporalConfigError, match=r"temporal\.toml cannot be read: File name too long"):
        temporal_config.read()
