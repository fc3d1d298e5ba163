"""The sealed payment token: bound to its order, opened by the payments role's keys and no others."""

import base64
import stat
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from orderflow.security.sealing import CannotOpen, KeyFileError, TokenOpener, TokenSealer, make_keys

ORDER = UUID("00000000-0000-0000-0000-000000000001")
TOKEN = "tok_from_a_gateway_0123456789"


def _pair() -> tuple[TokenSealer, TokenOpener]:
    key = X25519PrivateKey.generate()
    return TokenSealer(key.public_key()), TokenOpener(key)


def _private(key: X25519PrivateKey | Ed25519PrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def test_what_was_sealed_is_opened() -> None:
    sealer, opener = _pair()
    for token in (TOKEN, "", "тoken € 🍌", "x" * 500):
        assert opener.open(ORDER, sealer.seal(ORDER, token)) == token


def test_a_sealed_token_tells_nothing_and_is_never_the_same() -> None:
    sealer, _ = _pair()
    sealed = sealer.seal(ORDER, TOKEN)
    box = base64.urlsafe_b64decode(sealed.partition(".")[2])
    assert TOKEN not in sealed
    assert TOKEN.encode() not in box
    assert base64.urlsafe_b64encode(TOKEN.encode())[:12].decode() not in sealed
    assert sealed != sealer.seal(ORDER, TOKEN)


def test_it_is_bound_to_its_order() -> None:
    """Who copies it into another order's row gets nothing for it."""
    sealer, opener = _pair()
    with pytest.raises(CannotOpen, match="another order's"):
        opener.open(uuid4(), sealer.seal(ORDER, TOKEN))


def test_other_keys_do_not_open_it() -> None:
    sealer, _ = _pair()
    _, stranger = _pair()
    sealed = sealer.seal(ORDER, TOKEN)
    with pytest.raises(CannotOpen, match="sealed for a key that is not here"):
        stranger.open(ORDER, sealed)
    key_id, _, box = sealed.partition(".")
    theirs = next(iter(stranger._keys))
    assert theirs != key_id
    with pytest.raises(CannotOpen, match="damaged"):
        stranger.open(ORDER, f"{theirs}.{box}")


def test_old_keys_open_what_was_sealed_before_a_rotation() -> None:
    old, new = X25519PrivateKey.generate(), X25519PrivateKey.generate()
    both = TokenOpener(old, new)
    for key in (old, new):
        assert both.open(ORDER, TokenSealer(key.public_key()).seal(ORDER, TOKEN)) == TOKEN
    with pytest.raises(CannotOpen):
        TokenOpener(new).open(ORDER, TokenSealer(old.public_key()).seal(ORDER, TOKEN))


@pytest.mark.parametrize(
    "damage",
    [
        lambda s: "",
        lambda s: "tok_ok",
        lambda s: s.partition(".")[0],
        lambda s: s.partition(".")[0] + ".",
        lambda s: s.partition(".")[0] + ".not base64!",
        lambda s: s[:-8],
        lambda s: s[:40] + ("A" if s[40] != "A" else "B") + s[41:],
        lambda s: s.rstrip("=") + "AAAA",
        lambda s: "€" + s,
    ],
)
def test_a_damaged_one_is_refused_and_the_message_has_nothing_of_it(damage) -> None:  # type: ignore[no-untyped-def]
    sealer, opener = _pair()
    sealed = damage(sealer.seal(ORDER, TOKEN))
    with pytest.raises(CannotOpen) as refused:
        opener.open(ORDER, sealed)
    assert TOKEN not in str(refused.value)
    box = sealed.partition(".")[2]
    assert not box or box not in str(refused.value)


# --- Key files ---


def test_files_are_made_once_and_only_their_owner_reads_the_private_one(tmp_path: Path) -> None:
    private, public = tmp_path / "keys" / "private.pem", tmp_path / "keys" / "public.pem"
    assert make_keys(private, public)
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    assert stat.S_IMODE(private.parent.stat().st_mode) == 0o700
    assert b"PRIVATE" not in public.read_bytes()
    before = private.read_bytes(), public.read_bytes()
    assert not make_keys(private, public)
    assert (private.read_bytes(), public.read_bytes()) == before
    sealed = TokenSealer.from_file(public).seal(ORDER, TOKEN)
    assert TokenOpener.from_file(private).open(ORDER, sealed) == TOKEN


def test_a_lost_public_file_is_made_again_from_the_newest_key(tmp_path: Path) -> None:
    private, public = tmp_path / "private.pem", tmp_path / "public.pem"
    old, new = X25519PrivateKey.generate(), X25519PrivateKey.generate()
    private.write_bytes(_private(old) + _private(new))
    private.chmod(0o600)
    assert not make_keys(private, public)
    sealed = TokenSealer.from_file(public).seal(ORDER, TOKEN)
    assert TokenOpener(new).open(ORDER, sealed) == TOKEN
    assert TokenOpener.from_file(private).open(ORDER, TokenSealer(old.public_key()).seal(ORDER, TOKEN)) == TOKEN


@pytest.mark.parametrize("mode", [0o604, 0o644, 0o606, 0o601])
def test_a_private_key_that_everybody_may_touch_is_refused(tmp_path: Path, mode: int) -> None:
    private, public = tmp_path / "private.pem", tmp_path / "public.pem"
    make_keys(private, public)
    private.chmod(mode)
    with pytest.raises(KeyFileError, match="0600 or 0640"):
        TokenOpener.from_file(private)


def test_a_private_key_that_a_group_may_read_is_taken(tmp_path: Path) -> None:
    """As a secret is mounted for a process of another user."""
    private, public = tmp_path / "private.pem", tmp_path / "public.pem"
    make_keys(private, public)
    private.chmod(0o640)
    TokenOpener.from_file(private)


@pytest.mark.parametrize("there", [True, False], ids=["to a file", "to nothing"])
def test_no_key_is_written_through_a_link(tmp_path: Path, there: bool) -> None:
    elsewhere, private, public = tmp_path / "elsewhere", tmp_path / "private.pem", tmp_path / "public.pem"
    if there:
        elsewhere.write_text("somebody's")
    private.symlink_to(elsewhere)
    with pytest.raises(KeyFileError):
        make_keys(private, public)
    assert not elsewhere.exists() or elsewhere.read_text() == "somebody's"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "holds no private key"),
        (b"not a key", "holds no private key"),
        (b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "cannot be read"),
        (_private(Ed25519PrivateKey.generate()), "another kind than X25519"),
    ],
)
def test_a_file_without_our_kind_of_private_key_says_so(tmp_path: Path, content: bytes, message: str) -> None:
    file = tmp_path / "key.pem"
    file.write_bytes(content)
    file.chmod(0o600)
    with pytest.raises(KeyFileError, match=message) as refused:
        TokenOpener.from_file(file)
    assert str(file) in str(refused.value)


def test_a_file_without_our_kind_of_public_key_says_so(tmp_path: Path) -> None:
    file = tmp_path / "key.pem"
    for content in (
        b"not a key",
        Ed25519PrivateKey.generate().public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        _private(X25519PrivateKey.generate()),
    ):
        file.write_bytes(content)
        with pytest.raises(KeyFileError, match=r"key\.pem holds"):
            TokenSealer.from_file(file)


def test_a_missing_file_says_who_makes_it(tmp_path: Path) -> None:
    for read in (TokenOpener.from_file, TokenSealer.from_file):
        with pytest.raises(KeyFileError, match="orderflow setup"):
            read(tmp_path / "missing.pem")
