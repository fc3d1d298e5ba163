"""The keyring: who may read it, what it holds, and that a change of it is seen without a restart."""

import base64
import os
import time
from pathlib import Path

import pytest

from orderflow.security.keyring import Keyring, create_key, ensure_keyring, key_ids, rotate_key
from orderflow.security.sealing import KeyFileError


@pytest.fixture
def ring(tmp_path: Path) -> Path:
    path = tmp_path / "keys" / "payload-keys"
    ensure_keyring(path)
    return path


def test_it_is_made_once_and_for_its_owner_alone(ring: Path) -> None:
    before = ring.read_text()
    ensure_keyring(ring)
    assert ring.read_text() == before
    assert ring.stat().st_mode & 0o777 == 0o600
    assert ring.parent.stat().st_mode & 0o777 == 0o700
    assert sorted(ring.parent.iterdir()) == [ring]


@pytest.mark.parametrize("mode", [0o604, 0o644, 0o666, 0o660, 0o620, 0o601])
def test_a_file_for_others_is_refused(ring: Path, mode: int) -> None:
    ring.chmod(mode)
    with pytest.raises(KeyFileError, match=f"has mode {mode:04o}.*0600 or 0640"):
        Keyring(ring)


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o400, 0o440])
def test_a_file_for_its_owner_and_its_group_to_read_is_taken(ring: Path, mode: int) -> None:
    ring.chmod(mode)
    assert len(Keyring(ring).ids) == 1


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        ("", "holds no key"),
        ("# nothing\n\n", "holds no key"),
        ("k1\n", "line 1: it is not an id and a key"),
        ("k1 c2VjcmV0 more\n", "line 1: it is not an id and a key"),
        ("käse c2VjcmV0\n", "line 1: it is not an id and a key"),
        ("# fine\nk1 c2VjcmV0\n", "line 2: the key is not 32 bytes as base64url"),
        (f"k1 {'!' * 44}\n", "line 1: the key is not 32 bytes"),
        (f"k1 {'A' * 43}=\nk1 {'B' * 42}A=\n", "line 2: a second key with the id k1"),
        ("#" * 70_000, "longer than 65536 bytes"),
    ],
)
def test_what_is_no_keyring_is_refused_by_its_rule_and_never_quoted(tmp_path: Path, content: str, rule: str) -> None:
    path = tmp_path / "ring"
    path.write_text(content)
    path.chmod(0o600)
    with pytest.raises(KeyFileError, match=rule) as refused:
        Keyring(path)
    assert "c2VjcmV0" not in str(refused.value)


def test_a_missing_file_is_named_with_the_command_that_makes_it(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match=r"nowhere: No such file.*orderflow payload-keys create"):
        Keyring(tmp_path / "nowhere")


def test_a_created_key_opens_and_a_rotated_one_seals(ring: Path) -> None:
    [first] = key_ids(ring)
    second, seals = create_key(ring)
    assert not seals
    assert key_ids(ring) == (first, second)
    third = rotate_key(ring)
    assert key_ids(ring) == (third, first, second)
    assert rotate_key(ring, second) == second
    assert key_ids(ring) == (second, third, first)
    with pytest.raises(KeyFileError, match="has no key 2020-01-01-00000000: it has"):
        rotate_key(ring, "2020-01-01-00000000")


def test_a_change_keeps_the_files_mode_and_every_key(ring: Path) -> None:
    ring.chmod(0o640)
    before = {line.split()[0]: line for line in ring.read_text().splitlines() if not line.startswith("#")}
    rotate_key(ring)
    assert ring.stat().st_mode & 0o777 == 0o640
    assert set(before.values()) <= set(ring.read_text().splitlines())


def test_a_link_stays_a_link(ring: Path, tmp_path: Path) -> None:
    """As secrets are mounted."""
    link = tmp_path / "link"
    link.symlink_to(ring)
    made = rotate_key(link)
    assert link.is_symlink()
    assert key_ids(ring)[0] == made


def test_what_hashes_is_another_key_than_what_seals(ring: Path) -> None:
    made = rotate_key(ring)
    keys = Keyring(ring)
    hashing = dict(keys.hashing_keys())
    assert tuple(hashing) == keys.ids
    assert next(iter(hashing)) == made
    written = ring.read_text()
    assert not any(base64.urlsafe_b64encode(key).decode() in written for key in hashing.values())
    assert len(set(hashing.values())) == 2
    assert Keyring(ring).hashing_keys() == keys.hashing_keys()


def test_a_running_process_seals_with_the_new_key_soon(ring: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = Keyring(ring)
    old, _ = keys.newest
    made = rotate_key(ring)
    assert keys.newest[0] == old  # it looks once a second
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + 2)
    assert keys.newest[0] == made


def test_a_running_process_finds_a_key_that_it_lacked_at_once(ring: Path) -> None:
    keys = Keyring(ring)
    assert keys.find("2020-01-01-00000000") is None
    made, _ = create_key(ring)
    assert keys.find(made) is not None


def test_a_file_that_breaks_changes_nothing_for_who_runs(ring: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = Keyring(ring)
    seals = keys.newest[0]
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + 2)
    ring.write_text("half a line")
    assert keys.newest[0] == seals
    os.unlink(ring)
    assert keys.find("nobody") is None
    assert keys.newest[0] == seals
