"""API keys as text, files with secrets, and to whom a key goes."""

from pathlib import Path

import pytest
from pydantic import SecretStr

from orderflow.credentials import CredentialError, api_key
from orderflow.security import api_keys
from orderflow.security.secret_files import write_secret
from orderflow.settings import Settings


def test_a_key_is_read_as_it_was_made() -> None:
    text, key = api_keys.make("prod")
    assert api_keys.parse(text) == key
    assert (key.deployment, len(key.digest), len(text)) == ("prod", 32, len("ofk_prod_") + 16 + 1 + 43 + 6)
    assert api_keys.make("prod")[1].digest != key.digest


@pytest.mark.parametrize("change", range(0, 71, 5))
def test_a_mistyped_key_is_none(change: int) -> None:
    text, _ = api_keys.make("prod")
    other = text[:change] + ("x" if text[change] != "x" else "y") + text[change + 1 :]
    assert api_keys.parse(other) is None


@pytest.mark.parametrize("name", ["", "Prod", "a_b", "x" * 21, "ä"])
def test_a_deployments_name_is_short_and_plain(name: str) -> None:
    with pytest.raises(ValueError, match="a-z 0-9"):
        api_keys.make(name)


def test_a_secret_that_everybody_may_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text("k")
    path.chmod(0o644)
    with pytest.raises(CredentialError, match=r"ORDERFLOW_API_KEY_FILE: .* has mode 0644.*0600 or 0640"):
        api_key(Settings(api_key_file=path))
    path.chmod(0o640)
    assert api_key(Settings(api_key_file=path)) == "k"


@pytest.mark.parametrize("content", ["key\n", "Authorization: Bearer key\n", "authorization: bearer key"])
def test_a_keys_file_may_be_curls(tmp_path: Path, content: str) -> None:
    write_secret(tmp_path / "key", content)
    assert api_key(Settings(api_key_file=tmp_path / "key")) == "key"


@pytest.mark.parametrize(
    ("url", "sent"),
    [
        ("https://orders.example.com/", "key"),
        ("https://orders.example.com:443/shop", "key"),
        ("http://orders.example.com", None),
        ("https://orders.example.com:8443", None),
        ("https://orders.example.com.evil.example", None),
        ("https://evil.example", None),
        ("https://[::1", None),
    ],
)
def test_a_key_goes_to_the_origin_that_it_was_set_for(url: str, sent: str | None) -> None:
    settings = Settings.model_validate({"api_url": "https://orders.example.com", "api_key": "key"})
    assert api_key(settings, url) == sent
    assert api_key(settings) == "key"


@pytest.mark.parametrize("text", ["key\n", " key\r\n", "Authorization: Bearer key\n"])
def test_a_key_in_the_environment_is_read_as_one_in_a_file(text: str) -> None:
    assert api_key(Settings(api_key=SecretStr(text))) == "key"


@pytest.mark.parametrize("text", ["", " ", "\n"])
def test_a_blank_key_is_none(text: str) -> None:
    assert api_key(Settings(api_key=SecretStr(text))) is None


@pytest.mark.parametrize("text", ["ofk_dev_S3CRETé", "S3CRET\nX-Admin: 1", "S3CRET two", "S3CRET\x7f", "S3CRET\x00"])
def test_what_no_header_can_carry_is_no_key_and_is_not_shown(tmp_path: Path, text: str) -> None:
    with pytest.raises(CredentialError, match=r"^ORDERFLOW_API_KEY: ") as refused:
        api_key(Settings(api_key=SecretStr(text)))
    assert "S3CRET" not in str(refused.value)
    write_secret(tmp_path / "key", text)
    with pytest.raises(CredentialError, match=r"^ORDERFLOW_API_KEY_FILE: ") as refused:
        api_key(Settings(api_key_file=tmp_path / "key"))
    assert "S3CRET" not in str(refused.value)
