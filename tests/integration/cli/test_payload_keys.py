"""`orderflow payload-keys`, and the codec server's refusal to be open to others."""

import base64
import json
from dataclasses import replace
from pathlib import Path

import asyncpg
import httpx

from api.codec import CodecServer
from cli.codec import gate
from orderflow.domain.access import Principal, Scope
from orderflow.security import api_keys
from orderflow.security.keyring import Keyring, ensure_keyring
from orderflow.settings import Settings
from orderflow.temporal.codec import SealingCodec
from support.issuer import an_issuer
from support.keys import KEY_TEXT, PRINCIPAL
from support.stack import Databases
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


async def test_the_codec_server_knows_the_apis_keys_and_writes_down_what_it_opens(databases: Databases) -> None:
    settings = Settings(_env_file=None, **databases.settings)
    authenticate, audit = gate(settings)
    assert authenticate is not None
    reader = await authenticate(KEY_TEXT)
    assert reader is not None
    assert (reader.id, Scope.OPERATE in reader.scopes) == (PRINCIPAL.id, False)
    for nobodys in (api_keys.make("test")[0], "a.b.c", f"a.{'b' * 9000}.c"):
        assert await authenticate(nobodys) is None
    await audit(reader.actor, ["order-1|look"])
    assert await audited(databases) == [("api_key", PRINCIPAL.id, "payloads.decoded", "order-1|look")]


async def test_the_codec_server_takes_access_tokens_and_writes_down_whose(databases: Databases) -> None:
    async with an_issuer() as issuer:
        authenticate, audit = gate(Settings(_env_file=None, **databases.settings, oidc_issuers=[issuer.trusted()]))
        assert authenticate is not None
        for client, kind in ((None, "app_user"), ("robot", "service_account")):
            reader = await authenticate(issuer.token(scope="operate", sub="robot", client_id=client))
            assert reader is not None
            assert (reader.type, Scope.OPERATE in reader.scopes) == (kind, True)
            await audit(reader.actor, ["order-1|look"])
            assert (await audited(databases))[-1] == (kind, reader.id, "payloads.decoded", "order-1|look")
        assert await authenticate(issuer.token(scope="operate", exp=1)) is None


async def test_what_a_stranger_says_of_a_place_keeps_nobody_from_reading_the_rest(
    databases: Databases, tmp_path: Path
) -> None:
    ensure_keyring(tmp_path / "ring")
    authenticate, audit = gate(Settings(_env_file=None, **databases.settings))

    async def operator(bearer: str) -> Principal | None:
        assert authenticate is not None
        reader = await authenticate(bearer)
        return reader and replace(reader, scopes=frozenset({Scope.OPERATE}))

    app = CodecServer(SealingCodec(Keyring(tmp_path / "ring")), "http://127.0.0.1:8233", operator, audit).app()
    metadata = {"encoding": "anNvbi9wbGFpbg==", "encryption-context": base64.b64encode(b"x\x00").decode()}
    asked = {"payloads": [{"metadata": metadata, "data": "MQ=="}]}
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1:8096") as client:
        answer = await client.post("/decode", json=asked, headers={"Authorization": f"Bearer {KEY_TEXT}"})
    assert (answer.status_code, answer.json()["payloads"][0]["data"]) == (200, "MQ==")
    assert await audited(databases) == [("api_key", PRINCIPAL.id, "payloads.decoded", "x\\x00")]


async def audited(databases: Databases) -> list[tuple[str, ...]]:
    """The rows of the audit, the newest last."""
    owner = await asyncpg.connect(databases.as_admin("orders"))
    rows = await owner.fetch(
        "SELECT authtype, authid, action, detail->'places'->>0 AS place FROM audit ORDER BY number"
    )
    await owner.close()
    return [tuple(row) for row in rows]
