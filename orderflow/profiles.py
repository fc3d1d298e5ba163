"""Profiles: the settings of another stack under a name, such as ``prod``, each in a file like ``.env``.

A profile is ``.env.NAME`` in the working directory, or else ``~/.config/orderflow/NAME.env`` (``XDG_CONFIG_HOME`` is
obeyed), with lines ``ORDERFLOW_KAFKA_TOPIC=order.events``. The chosen one (`orderflow --profile NAME`, or
``ORDERFLOW_PROFILE``) is read instead of ``.env``; what the environment sets comes before both.
"""

import difflib
import io
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from dotenv import dotenv_values

from orderflow.files import UnreadableFile, read_text

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_HERE: Final = ".env."


class ProfileError(Exception):
    """There is no such profile, or it cannot be read; the message names it, and what would be right."""


class NoProfile(ProfileError):
    """Nothing has this name."""


class NoAddress(ProfileError):
    """The chosen profile does not say where a server is; the message names the setting."""


def file_of(name: str) -> Path:
    """The file of a profile. Raises NoProfile, and ProfileError where one cannot look."""
    found = profiles()
    if name in found:
        return found[name]
    places = f"{_here() / (_HERE + name)} or {home() / (name + '.env')}"
    there = f"there are {', '.join(found)}" if found else "there are none"
    raise NoProfile(f"no profile {name!r}: {there}; one is a file {places}")


def profiles() -> dict[str, Path]:
    """All of them, by name; one in the working directory comes before one of the same name in the home.

    Raises ProfileError where a folder cannot be looked into. A file that cannot be looked at is among them: it fails
    who chooses it, and nobody else.
    """
    here = {path.name.removeprefix(_HERE): path for path in _files(_here(), f"{_HERE}*")}
    usual = {path.name.removesuffix(".env"): path for path in _files(home(), "*.env")}
    return {name: path for name, path in sorted({**usual, **here}.items()) if _NAME.fullmatch(name)}


def read(name: str, settings: Iterable[str], prefix: str) -> Path:
    """The file of a profile, looked through: it may set ``settings`` only, each as ``prefix`` and its name.

    Raises ProfileError, with the line's name, where it sets something else.
    """
    path = file_of(name)
    known = sorted(f"{prefix}{setting}".upper() for setting in settings)
    for variable in variables_in(path, f"profile {name}"):
        if variable.upper() not in known:
            like = hint(variable, known)
            raise ProfileError(f"profile {name} ({path}): {variable} is no setting of a profile{like}")
    return path


def hint(variable: str, known: Iterable[str]) -> str:
    """Which of ``known`` was meant, as the end of a sentence; nothing where none is like it."""
    close = difflib.get_close_matches(variable.upper(), known, n=1, cutoff=0.8)
    return f"; is it {close[0]}?" if close else ""


def variables_in(path: Path, named: str) -> dict[str, str | None]:
    """What a file of settings sets; nothing where it is not there. Raises ProfileError, which calls it ``named``."""
    try:
        if not path.exists():
            return {}
        if path.is_fifo():  # which would be waited for
            raise ProfileError(f"{named}: {path} is a named pipe, and must be a file")
        return dotenv_values(stream=io.StringIO(read_text(path)))
    except UnreadableFile as error:
        raise ProfileError(f"{named}: {error}") from None
    except OSError as error:
        raise ProfileError(f"{named}: {path} cannot be read: {error.strerror}") from None


def _files(folder: Path, pattern: str) -> list[Path]:
    try:
        return [path for path in folder.glob(pattern) if _may_be_file(path)]
    except OSError as error:
        raise ProfileError(f"the folder of profiles {folder} cannot be read: {error.strerror}") from None


def _may_be_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:
        return True


def _here() -> Path:
    try:
        return Path.cwd()
    except OSError as error:  # somebody removed it
        raise ProfileError(f"the working directory: {error.strerror}") from None


def home() -> Path:
    """The folder of this user's profiles. Raises ProfileError where nothing says where it is."""
    return config_folder() / "orderflow"


def config_folder() -> Path:
    """The folder of what this user has configured. Raises ProfileError where nothing says where it is."""
    if config := os.environ.get("XDG_CONFIG_HOME"):
        return Path(config)
    try:
        return Path.home() / ".config"
    except RuntimeError:
        raise ProfileError("this user has no home folder: set HOME or XDG_CONFIG_HOME") from None
