"""``orderflow payload-keys`` and ``orderflow codec``: the keys of what lies in Temporal, and reading it in the Web UI.

Exit codes of ``payload-keys``: 0 done, 1 the keyring cannot be used or changed, 2 wrong usage.
"""

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from cli.calls import USAGE, AsJson, print_json
from cli.terminal import fail, load_settings, out, running_settings

if TYPE_CHECKING:
    from api.codec import Audit, Authenticate
    from orderflow.domain.access import Actor
    from orderflow.security.sealing import KeyFileError
    from orderflow.settings import Settings

app = typer.Typer(help="The keys that everything in Temporal is sealed with.")


def register(app: typer.Typer) -> None:
    """Add the codec server to the top level."""
    app.command()(codec)


@app.command()
def create(as_json: AsJson = False) -> None:
    """Make a key: the first of a new keyring, which seals; in one that is there, one that only opens until `rotate`."""
    from orderflow.security.keyring import create_key
    from orderflow.security.sealing import KeyFileError

    path = _path()
    try:
        key_id, seals = create_key(path)
    except KeyFileError as error:
        _fail(error)
    if as_json:
        print_json({"id": key_id, "seals": seals})
    elif seals:
        out.print(f"{path}: made, with the key {key_id}", soft_wrap=True)
    else:
        out.print(f"{path}: the key {key_id} opens from now on", soft_wrap=True)
        out.print(f"once every process has it: orderflow payload-keys rotate --to {key_id}", soft_wrap=True)


@app.command("list")
def list_(as_json: AsJson = False) -> None:
    """Show the keys' ids, the one that seals first; never the keys."""
    from orderflow.security.keyring import key_ids
    from orderflow.security.sealing import KeyFileError

    try:
        found = key_ids(_path())
    except KeyFileError as error:
        _fail(error)
    if as_json:
        print_json([{"id": key_id, "seals": number == 0} for number, key_id in enumerate(found)])
        return
    for number, key_id in enumerate(found):
        out.print(f"{key_id}  {'seals and opens' if number == 0 else 'opens'}")


@app.command()
def rotate(
    to: Annotated[
        str | None, typer.Option("--to", metavar="ID", help="A key that is in the keyring, instead of a new one.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Have a new key seal. Processes that read this file see it within a second; every old key goes on to open."""
    from orderflow.security.keyring import rotate_key
    from orderflow.security.sealing import KeyFileError

    try:
        key_id = rotate_key(_path(), to)
    except KeyFileError as error:
        _fail(error)
    if as_json:
        print_json({"id": key_id, "seals": True})
    else:
        out.print(f"{key_id} seals from now on; the others open what they have sealed")


def codec() -> None:
    """Run the codec server in this process: it opens, for Temporal's Web UI, what the keyring opens."""
    from api.codec import CodecServer
    from api.server import serve_codec
    from orderflow import process
    from orderflow.security.keyring import Keyring
    from orderflow.security.sealing import KeyFileError
    from orderflow.temporal.codec import SealingCodec

    settings = load_settings()
    try:
        keyring = Keyring(_path())
    except KeyFileError as error:
        _fail(error)
    process.begin(settings, "codec", serves_metrics=False)
    authenticate, audit = gate(settings)
    server = CodecServer(SealingCodec(keyring), settings.temporal_ui_url, authenticate, audit)
    serve_codec(server.app(), settings)


def gate(settings: "Settings") -> "tuple[Authenticate | None, Audit]":
    """Who may read, by what the API takes (its keys, and its issuers' tokens), and where it is written down."""
    from api.identity.authentication import MOST_CHARACTERS, ApiKeys, Bearers, Unauthenticated
    from api.identity.oidc import AccessTokens
    from orderflow.domain.access import Principal
    from orderflow.postgres.databases import open_database
    from orderflow.store.access import Access

    if settings.codec_authentication == "off":
        return None, _logged
    access = Access(open_database(settings, "orders", "codec", pool_size=4))
    tokens = AccessTokens(settings.oidc_issuers) if settings.oidc_issuers else None
    bearers = Bearers(ApiKeys(access), tokens)

    async def authenticate(bearer: str) -> Principal | None:
        try:
            return await bearers.principal(bearer) if len(bearer) <= MOST_CHARACTERS else None
        except Unauthenticated:
            return None

    async def audit(who: "Actor", places: Collection[str]) -> None:
        await access.audit(who, "payloads.decoded", places=sorted(places))

    return authenticate, audit


async def _logged(who: "Actor", places: Collection[str]) -> None:
    """The log's line is all the audit there is without authentication: nobody could be named."""


def _path() -> Path:
    path = running_settings().payload_keyring_file
    if path is None:
        fail("ORDERFLOW_PAYLOAD_KEYRING_FILE is not set: nothing in Temporal is sealed", USAGE)
    return path


def _fail(error: "KeyFileError") -> NoReturn:
    fail(str(error))
