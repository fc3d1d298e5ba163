"""A pytest plugin: the session fails as misused when it ran code from outside its own root, and can be interrupted.

Without it a mutant could survive, or a whole run mean nothing, because the code of another checkout was tested.
"""

import signal
import sys
from pathlib import Path

import pytest

PACKAGES = ("activities", "api", "cli", "orderflow", "orderflow_events", "support", "workers", "workflows")


def pytest_configure() -> None:
    """Let an interrupt end the tests, also where a shell has started us in the background: there it is ignored."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Look at what was imported."""
    root = session.config.rootpath.resolve()
    strangers = sorted(
        f"{name} from {module.__file__}"
        for name, module in list(sys.modules.items())
        if name.partition(".")[0] in PACKAGES
        and (file := getattr(module, "__file__", None))
        and not Path(file).resolve().is_relative_to(root)
    )
    if strangers:
        pytest.exit(f"code from outside {root}: {', '.join(strangers)}", returncode=pytest.ExitCode.USAGE_ERROR)
