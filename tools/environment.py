"""Makes ``.venv`` from ``requirements.lock``: `make setup`. Only the standard library; any Python from 3.11 on.

It promises: safe to interrupt (a stamp written last says what is complete), safe to run twice at once (a lock), done
again only when the lock file, the Python or the folder changed. The checkout itself is put on the path, not copied.
"""

import fcntl
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv"
LOCK_FILE = ROOT / "requirements.lock"
STAMP = VENV / "orderflow-stamp"
#: Folders whose packages are importable in the environment.
CODE = (ROOT, ROOT / "events")
COMMAND = """#!{python}
import sys

from cli.main import main

sys.exit(main())
"""


def main() -> int:
    """Returns the exit code."""
    with open(ROOT / ".venv.lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another `make setup` is at work: waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        wanted = stamp()
        if STAMP.exists() and STAMP.read_text() == wanted:
            return 0
        if importlib.util.find_spec("ensurepip") is None:
            version = f"{sys.version_info.major}.{sys.version_info.minor}"
            say(f"this Python has no complete venv module: apt install python3-venv (or python{version}-venv)")
            return 1
        started = time.monotonic()
        shutil.rmtree(VENV, ignore_errors=True)
        say(f"making .venv with Python {sys.version.split()[0]}")
        # The interpreter that is not itself in a virtual environment: one of those may go away.
        base = getattr(sys, "_base_executable", sys.executable)
        if subprocess.run([base, "-m", "venv", str(VENV)], check=False).returncode != 0:
            say("the virtual environment could not be made: see above")
            return 1
        if not install():
            return 1
        put_on_path()
        STAMP.write_text(wanted)
        say(f"the environment is ready after {time.monotonic() - started:.0f} s")
    return 0


def stamp() -> str:
    """What the environment depends on."""
    digest = hashlib.sha256(LOCK_FILE.read_bytes() + Path(__file__).read_bytes()).hexdigest()
    return f"{digest} {sys.version} {VENV}\n"


def install() -> bool:
    """Install the locked packages, with a line of progress. False when pip failed; its output is shown then."""
    total = sum(" \\" in line and "==" in line for line in LOCK_FILE.read_text().splitlines())
    command = [
        str(VENV / "bin" / "python"), "-m", "pip", "install", "--disable-pip-version-check", "--no-input",
        "--progress-bar", "off", "--no-deps", "--require-hashes", "-r", str(LOCK_FILE),
    ]  # fmt: skip
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    environment.pop("PYTHONPATH", None)
    pip = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)
    lines, count = [], 0
    for line in pip.stdout or ():
        lines.append(line)
        if line.startswith("Collecting "):
            count += 1
            progress(
                f"  fetching {count} of at most {total}: {line.split()[1].partition('=')[0]}", every=count % 20 == 0
            )
        elif line.startswith("Installing collected packages"):
            progress(f"  installing {count} packages", every=True)
    progress("", every=False)
    if pip.wait() != 0:
        sys.stdout.write("".join(lines[-30:]))
        say("pip could not install the locked packages: see above")
        return False
    return True


def put_on_path() -> None:
    """The checkout's packages and the ``orderflow`` command, without a build."""
    (site_packages,) = VENV.glob("lib/python*/site-packages")
    (site_packages / "orderflow.pth").write_text("".join(f"{folder}\n" for folder in CODE))
    command = VENV / "bin" / "orderflow"
    command.write_text(COMMAND.format(python=VENV / "bin" / "python"))
    command.chmod(0o755)


def progress(text: str, *, every: bool) -> None:
    """On a terminal one line that changes; elsewhere a line now and then (``every``)."""
    if sys.stdout.isatty():
        sys.stdout.write(f"\r\x1b[K{text[: shutil.get_terminal_size().columns - 1]}")
        sys.stdout.flush()
    elif every:
        say(text)


def say(text: str) -> None:
    """One line, at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
