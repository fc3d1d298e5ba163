"""`orderflow payload-keys`, and the codec server's refusal to be open to others."""

import json
from pathlib import Path

from support.terminal import Terminal


async def test_keys_are_made_listed_and_rotated_and_never_shown(tmp_path: Path) -> None:
    ring = tmp_path / "ring"
    terminal = Terminal(tmp_path, payload_keyring_file=str(ring))
    made = await terminal.run("payload-keys", "create", "--json")
    first = json.loads(made.out)
    assert first["seals"]
    second = json.loads((await terminal.run("payload-keys", "create", "--json")).out)
    assert not second["seals"]
    assert json.loads((await terminal.run("payload-keys", "rotate", "--to", second["id"], "--json")).out) == {
        "id": second["id"],
        "seals": True,
    }
    third = json.loads((await terminal.run("payload-keys", "rotate", "--json")).out)
    listed = await terminal.run("payload-keys", "list", "--json")
    assert json.loads(listed.out) == [
        {"id": third["id"], "seals": True},
        {"id": second["id"], "seals": False},
        {"id": first["id"], "seals": False},
    ]
    shown = await terminal.run("payload-keys", "list")
    assert shown.out.splitlines()[0] == f"{third['id']}  seals and opens"
    keys = [line.split()[1] for line in ring.read_text().splitlines() if not line.startswith("#")]
    assert len(keys) == 3
    assert not any(key in listed.out + shown.out + made.out for key in keys)


async def test_what_is_wrong_is_said(tmp_path: Path) -> None:
    unset = await Terminal(tmp_path).run("payload-keys", "list")
    assert (unset.code, "ORDERFLOW_PAYLOAD_KEYRING_FILE is not set" in unset.err) == (2, True)
    ring = tmp_path / "ring"
    terminal = Terminal(tmp_path, payload_keyring_file=str(ring))
    missing = await terminal.run("payload-keys", "list")
    assert (missing.code, "payload-keys create" in missing.err) == (1, True)
    await terminal.run("payload-keys", "create")
    ring.chmod(0o644)
    for command in (("list",), ("create",), ("rotate",)):
        said = await terminal.run("payload-keys", *command)
        assert said.code == 1
        assert "has mode 0644" in " ".join(said.err.split())
    ring.chmod(0o600)
    unknown = await terminal.run("payload-keys", "rotate", "--to", "nobody")
    assert (unknown.code, "has no key nobody" in " ".join(unknown.err.split())) == (1, True)


async def test_a_codec_server_without_authentication_is_for_this_machine(tmp_path: Path) -> None:
    open_to_all = Terminal(tmp_path, codec_authentication="off", codec_host="192.0.2.1")
    said = await open_to_all.run("codec")
    assert said.code != 0
    assert "ORDERFLOW_CODEC_HOST is not loopback" in " ".join((said.err + said.out).split())
    closed = await Terminal(tmp_path).run("codec")
    assert (closed.code, "nobody can be authenticated yet" in " ".join(closed.err.split())) == (2, True)
