"""``python -m orderflow_events``: what its own checks say, before any database is asked."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize("password", ["S3cr3t/Pa#rt", "1?S3cr3t", "S3cr3t@x", "S3cr3t x", "[S3cr3t]", "S3cr3t%zz"])
def test_a_password_that_is_not_encoded_is_refused_and_not_shown(password: str) -> None:
    said = subprocess.run(
        [
            *(sys.executable, "-m", "orderflow_events", "list", "--group", "g"),
            *("--database", f"postgresql://me:{password}@127.0.0.1:9/x"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (said.returncode, "percent-encode" in said.stderr, "Traceback" in said.stderr) == (2, True, False)
    assert "S3cr3t" not in said.stdout + said.stderr


def test_a_right_url_is_tried() -> None:
    said = subprocess.run(
        [
            *(sys.executable, "-m", "orderflow_events", "list", "--group", "g"),
            *("--database", "postgresql://me:S3cr3t%2F@127.0.0.1:9/x?sslmode=disable"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (said.returncode, "the database does not do it" in said.stderr) == (2, True)
    assert "S3cr3t" not in said.stderr
