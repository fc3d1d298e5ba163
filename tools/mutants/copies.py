"""Scratch copies of the checkout, to plant bugs in."""

import os
import shutil
import subprocess
from pathlib import Path

from tools.mutants.patches import ROOT


class NoCheckout(Exception):
    """This is not a git checkout, so nobody knows which files belong to it."""


def snapshot(target: Path, source: Path = ROOT) -> None:
    """Copy every file of the checkout to ``target`` as it stands now, committed or not; ignored files stay out."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=source,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode != 0:
        raise NoCheckout(f"{source} is not a git checkout: {listed.stderr.strip()}")
    for name in filter(None, listed.stdout.split("\0")):
        if (source / name).is_file():  # not deleted, and no folder of another repository
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source / name, target / name)
