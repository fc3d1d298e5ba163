"""All checks of the doctor together, and what runs here."""

import platform
from importlib.metadata import PackageNotFoundError, version

from operations.doctor.check import Checked, run_all
from operations.doctor.checks import authentication, certificates, databases, http, keys, stream, temporal
from orderflow.settings import Settings


async def examine(settings: Settings) -> list[Checked]:
    """This machine's versions, then every dependency. Raises nothing for one that is away: its line says so."""
    here = Checked("this machine", True, f"Python {platform.python_version()}, {_versions()}")
    parts = (databases, authentication, keys, temporal, stream, http, certificates)
    return [here, *await run_all([check for part in parts for check in part.checks(settings)])]


def _versions() -> str:
    found = []
    for package in ("orderflow", "temporalio", "aiokafka", "asyncpg"):
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            found.append(f"{package} from source")
    return ", ".join(found)
