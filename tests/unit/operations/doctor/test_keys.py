"""What ``orderflow doctor`` says of the keys for payment tokens and payloads, as far as a machine has them."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from operations.doctor.check import Checked, run_all
from operations.doctor.checks import keys
from orderflow.security.keyring import create_key, ensure_keyring, key_ids
from orderflow.security.sealing import make_keys
from orderflow.settings import Settings

NOWHERE: dict[str, Any] = {"orders_database_url": "postgresql://x@127.0.0.1:9/x"}


@pytest.fixture
def private(tmp_path: Path) -> Path:
    path = tmp_path / "keys" / "private.pem"
    make_keys(path, path.with_name("public.pem"))
    return path


def looked(private: Path, public: Path | None = None) -> Checked:
    """The line, without a database."""
    settings = Settings(
        **NOWHERE, token_private_key_file=private, token_public_key_file=public or private.with_name("public.pem")
    )
    [line] = [line for line in asyncio.run(run_all(keys.checks(settings))) if line.about == keys.ABOUT]
    assert line.ok or line.fix
    return line


def test_a_pair_fits(private: Path) -> None:
    line = looked(private)
    assert (line.ok, line.detail) == (True, f"{private.with_name('public.pem')} fits {private}")


def test_the_public_key_must_be_that_of_the_newest_private_one(private: Path, tmp_path: Path) -> None:
    newer = tmp_path / "newer" / "private.pem"
    make_keys(newer, newer.with_name("public.pem"))
    line = looked(private, newer.with_name("public.pem"))
    assert "no key in" in line.detail
    assert not line.ok
    with private.open("ab") as file:
        file.write(newer.read_bytes())
    line = looked(private)
    assert (line.ok, "is not the newest key of" in line.detail) == (False, True)
    line = looked(private, newer.with_name("public.pem"))
    assert (line.ok, line.detail.endswith("which has 1 older one as well")) == (True, True)


def test_what_is_not_on_this_machine_is_said_and_no_fault(private: Path, tmp_path: Path) -> None:
    assert looked(tmp_path / "private.pem").detail.startswith("neither is on this machine (public.pem is the API")
    public = private.with_name("public.pem")
    private.rename(tmp_path / "elsewhere.pem")
    line = looked(private)
    assert (line.ok, line.detail) == (True, f"{public} can be used; private.pem is not on this machine")


def test_a_file_that_cannot_be_used_is_named(private: Path) -> None:
    private.write_text("no key at all")
    line = looked(private)
    assert (line.ok, "holds no private key" in line.detail) == (False, True)


def keyring(path: Path | None) -> Checked:
    settings = Settings(**NOWHERE, payload_keyring_file=path)
    [line] = [line for line in asyncio.run(run_all(keys.checks(settings))) if line.about == keys.KEYRING]
    assert line.ok or line.fix
    return line


def test_payloads_that_nothing_seals_are_a_fault() -> None:
    line = keyring(None)
    assert (line.ok, line.detail.startswith("not set: ")) == (False, True)
    assert "ORDERFLOW_PAYLOAD_KEYRING_FILE" in line.fix


def test_a_payload_keyring_is_told_by_its_key_that_seals(tmp_path: Path) -> None:
    ring = tmp_path / "ring"
    ensure_keyring(ring)
    [seals] = key_ids(ring)
    assert (keyring(ring).ok, keyring(ring).detail) == (True, f"{ring}: {seals} seals")
    create_key(ring)
    assert keyring(ring).detail == f"{ring}: {seals} seals, 1 more open"
    ring.chmod(0o644)
    assert (keyring(ring).ok, "0644" in keyring(ring).detail) == (False, True)
    assert "No such file" in keyring(tmp_path / "nowhere").detail
