"""``make secrets``: a random password for each variable that docker-compose.yml asks for, in the file ``.env``.

Only the standard library, so that any Python does. What stands in the file stays as it is; what is missing is added.
The file is for its owner alone. Exit codes: 0 done, 1 the file cannot be used.
"""

import os
import re
import secrets
import stat
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
#: ``${NAME:?...}``: what the Compose file cannot do without.
_ASKED = re.compile(r"\$\{([A-Z_]+):\?[^}]*\}")
_SET = re.compile(r"^[^\S\n]*(?:export[^\S\n]+)?([A-Za-z_][A-Za-z0-9_]*)[^\S\n]*=(.*)$", re.MULTILINE)
#: Of a variable: nothing, as it is or in quotes, and perhaps a comment.
_EMPTY = re.compile(r"""\s*(?:""|'')?(?:\s+#.*)?\s*""")
_HEADER = (
    "# Passwords for docker-compose.yml, made by `make secrets`. They are what the volumes were made with: keep them.\n"
)


def main(compose: Path, target: Path) -> int:
    """Add to ``target`` what ``compose`` asks for and it has not."""
    wanted = sorted(set(_ASKED.findall(compose.read_text(encoding="utf-8"))))
    try:
        before = _read(target)
        there = {name: _EMPTY.fullmatch(value) is None for name, value in _SET.findall(before)}  # the last one counts
        missing = [name for name in wanted if not there.get(name)]
        if missing:
            _write(target, before, missing)
        elif stat.S_IMODE(target.stat().st_mode) & 0o077:
            target.chmod(0o600)
    except (OSError, ValueError) as error:
        sys.stderr.write(f"{target}: {error}\n")
        return 1
    said = f"made {len(missing)} passwords" if missing else "all passwords are there"
    sys.stdout.write(f"{target}: {said}\n")
    return 0


def _read(target: Path) -> str:
    """What stands in it; nothing where it is not there. Raises ValueError for a link: its target is somebody else's."""
    if target.is_symlink():
        raise ValueError("it is a link")
    if not target.exists():
        return ""
    if not target.is_file():
        raise ValueError("it is no regular file")
    return target.read_text(encoding="utf-8")


def _write(target: Path, before: str, missing: list[str]) -> None:
    """Whole or not at all, for its owner alone from the first byte."""
    lines = [f"{name}={secrets.token_urlsafe(24)}\n" for name in missing]
    text = before + ("" if not before or before.endswith("\n") else "\n") + _HEADER + "".join(lines)
    handle, draft = tempfile.mkstemp(dir=target.parent, prefix=".env.draft-")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as out:
            out.write(text)
            out.flush()
            os.fsync(out.fileno())
        os.replace(draft, target)
    except BaseException:
        os.unlink(draft)
        raise


if __name__ == "__main__":
    sys.exit(main(ROOT / "docker-compose.yml", Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / ".env"))
