"""Runs Schemathesis against an API, with a key: what is a finding, and how many requests there are.

Not asked for is that whatever the document allows is taken: rules that no schema can say (Unicode's NFC, Luhn's sum, an
order's status) refuse some of it.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

CHECKS: Final = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "missing_required_header",
    "unsupported_method",
    "allow_header_conformance",
    "ignored_auth",
)


@dataclass(frozen=True)
class Found:
    """What came of a run: ``cases`` by HTTP status, how it ended, and what Schemathesis said."""

    code: int
    cases: Counter[int] = field(default_factory=Counter)
    said: str = ""


def fuzz(url: str, authorization: str, *, examples: int, seed: int, more: Sequence[str] = ()) -> Found:
    """Send some ``examples`` requests to each operation, and walk along the links. ``authorization``: the header.

    The key stands in a file of mode 0600, not in the arguments, which every user of the machine sees.
    """
    with tempfile.TemporaryDirectory(prefix="orderflow-fuzz-") as folder:
        config, har = Path(folder) / "schemathesis.toml", Path(folder) / "requests.har"
        config.write_text(f"[headers]\nAuthorization = {json.dumps(authorization)}\n")
        config.chmod(0o600)
        command = [
            *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(config), "run", f"{url}/openapi.json"),
            *("--checks", ",".join(CHECKS), "--max-examples", str(examples), "--seed", str(seed)),
            *("--continue-on-failure", "--no-color", "--warnings", "off", "--request-timeout", "30"),
            *("--report", "har", "--report-har-path", str(har), *more),
        ]
        ended = subprocess.run(command, cwd=folder, env=_environment(), capture_output=True, text=True, check=False)
        return Found(ended.returncode, _statuses(har), ended.stdout + ended.stderr)


def _environment() -> dict[str, str]:
    """Without our own settings, and proxies that would be asked instead."""
    return {name: value for name, value in os.environ.items() if not name.lower().startswith(("orderflow_", "http"))}


def _statuses(har: Path) -> Counter[int]:
    if not har.exists():
        return Counter()
    entries: list[dict[str, Any]] = json.loads(har.read_text())["log"]["entries"]
    return Counter(entry["response"]["status"] for entry in entries)
