"""``orderflow keys create | list | rotate | revoke``, and ``login``: who may call the API.

The keys are in the orders database; there is no route for them. Exit codes: 0 done, 1 refused, 2 wrong usage, 3 the
database does not answer.
"""

import re
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from cli import stores
from cli.calls import REFUSED, USAGE, AsJson, print_json
from cli.terminal import err, fail, out, running_settings

if TYPE_CHECKING:
    from orderflow.store.access import Access, KeyView

app = typer.Typer(help="API keys: who may call the API, and what for.", no_args_is_help=True)

T = TypeVar("T")
Name = Annotated[str, typer.Argument(metavar="NAME", help="The principal: a person, or a service.")]
Lasts = Annotated[int, typer.Option("--days", min=1, max=3650, help="How long the key is good.")]
#: Of what is read from standard input; a key is a tenth of it.
_MOST_BYTES = 1024
#: What a profile says of where the API is, and of its key. Names of variables count in any case.
_OF_THE_API = re.compile(r"\s*(?:export\s+)?ORDERFLOW_API_(?:URL|KEY|KEY_FILE)\s*=", re.IGNORECASE)
_PROFILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


@app.command()
def create(
    name: Name,
    role: Annotated[
        list[str] | None, typer.Option("--role", help="customer, merchant, operator ... Repeat it.")
    ] = None,
    scope: Annotated[list[str] | None, typer.Option("--scope", help="A single scope. Repeat it.")] = None,
    customer: Annotated[
        str | None, typer.Option("--customer", help="The one customer whose orders it reaches.")
    ] = None,
    days: Lasts = 365,
    not_before: Annotated[
        str | None, typer.Option("--not-before", metavar="TIME", help="Good from then on (2026-12-01T00:00Z).")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make a principal and its key. The key is shown once."""
    from orderflow.domain.access import Scope, scopes_of
    from orderflow.domain.text import why_no_name
    from orderflow.security import api_keys

    for what, given in (("NAME", name), ("--customer", customer)):
        if given is not None and (why := why_no_name(given)) is not None:
            fail(f"{what}: {why}", USAGE)
    try:
        scopes = scopes_of(role or (), scope or ())
    except ValueError as error:
        fail(str(error), USAGE)
    if not scopes:
        fail("a principal needs a --role or a --scope", USAGE)
    if customer is not None and Scope.ORDERS_EVERYONE in scopes:
        fail(f"--customer and {Scope.ORDERS_EVERYONE} exclude each other", USAGE)
    if customer is None and "customer" in (role or ()) and Scope.ORDERS_EVERYONE not in scopes:
        fail("the role customer needs a --customer", USAGE)
    begins = _moment(not_before) if not_before is not None else None
    expires = _end(begins, days)
    text, key = api_keys.make(running_settings().deployment)

    async def make(access: "Access") -> None:
        if not await access.make_principal(name, scopes, customer):
            fail(f"there is a principal {name!r} already: `orderflow keys rotate {name}` gives it a new key", REFUSED)
        await access.make_key(name, key, _whoever(), expires_at=expires, not_before=begins)

    _with_access(make)
    _show(name, key.id, text, as_json)


@app.command()
def rotate(
    name: Name,
    overlap_hours: Annotated[
        int, typer.Option("--overlap-hours", min=0, max=24 * 90, help="How long the old key stays good.")
    ] = 24,
    days: Lasts = 365,
    as_json: AsJson = False,
) -> None:
    """Give a principal a new key; its old one ends after a while. Orders and commands stay the same principal's."""
    from orderflow.security import api_keys

    text, key = api_keys.make(running_settings().deployment)

    async def make(access: "Access") -> None:
        now = datetime.now(UTC)
        await access.make_key(name, key, _whoever(), expires_at=now + timedelta(days=days))
        await access.end_others(name, key, now + timedelta(hours=overlap_hours))

    _with_access(make)
    _show(name, key.id, text, as_json)


@app.command()
def revoke(
    which: Annotated[str, typer.Argument(metavar="KEY|NAME", help="A key's id, or a principal: all its keys.")],
    as_json: AsJson = False,
) -> None:
    """End a key at once (the API notices within 5 s)."""

    async def end(access: "Access") -> list[str]:
        return await access.revoke(which, _whoever())

    ended = _with_access(end)
    if as_json:
        print_json(ended)
    if not ended:
        fail(f"no key {which!r} is good, and no principal of this name has one", REFUSED)
    if not as_json:
        out.print(f"revoked: {', '.join(ended)}")


@app.command("list")
def list_(as_json: AsJson = False) -> None:
    """Principals and their keys: which are good, and when each was used last."""

    async def read(access: "Access") -> "list[KeyView]":
        return await access.keys()

    found = _with_access(read)
    if as_json:
        print_json([_data(view) for view in found])
        return
    if not found:
        err.print("no principals yet: `orderflow keys create NAME --role merchant`")
        return
    from cli.pages.keys import key_table

    out.print(key_table(found, datetime.now(UTC)))


def login(
    profile: Annotated[str, typer.Argument(metavar="PROFILE", help="The profile that keeps it.")],
    api: Annotated[str, typer.Option("--api", metavar="URL", help="The API that the key is for.")],
    key_file: Annotated[
        str, typer.Option("--key-file", metavar="FILE", help="Where the key is; -: standard input.")
    ] = "-",
) -> None:
    """Keep an API key in a profile (mode 0600): `orderflow --profile NAME order list` sends it, to that API alone."""
    from pathlib import Path

    from orderflow import urls
    from orderflow.credentials import key_in
    from orderflow.files import UnreadableFile
    from orderflow.profiles import home
    from orderflow.security import api_keys
    from orderflow.security.secret_files import SecretFileError, read_secret, write_secret

    if not _PROFILE.fullmatch(profile):
        fail("a profile's name is of A-Z a-z 0-9 _ -", USAGE)
    try:
        urls.check(api, urls.HTTP)
    except ValueError as error:
        fail(f"--api: {error}", USAGE)
    try:
        text = _from_standard_input() if key_file == "-" else read_secret(Path(key_file))
    except (SecretFileError, UnreadableFile) as error:
        fail(f"--key-file: {error}", USAGE)
    text = key_in(text)
    if api_keys.parse(text) is None:
        fail("that is no API key of OrderFlow: it is mistyped, or cut", USAGE)
    path = home() / f"{profile}.env"
    kept = []
    if path.exists() and path.stat().st_size:
        try:
            lines = read_secret(path).splitlines()
        except SecretFileError as error:
            fail(f"profile {profile}: {error}", USAGE)
        kept = [line for line in lines if not _OF_THE_API.match(line)]
    written = "\n".join([*kept, f"ORDERFLOW_API_URL={api}", f"ORDERFLOW_API_KEY={text}", ""])
    try:
        write_secret(path, written, replace=True)
    except SecretFileError as error:
        fail(str(error), REFUSED)
    out.print(f"kept in {path}: `orderflow --profile {profile} order list`", soft_wrap=True)


def _from_standard_input() -> str:
    """The text there. Raises UnreadableFile."""
    from pathlib import Path

    from orderflow.files import text_of

    if sys.stdin is None:
        fail("standard input is closed: give the key there, or --key-file FILE", USAGE)
    return text_of(Path("standard input"), sys.stdin.buffer.read(_MOST_BYTES))


def _with_access(work: "Callable[[Access], Awaitable[T]]") -> T:
    from orderflow.postgres.databases import open_database
    from orderflow.store.access import Access

    async def run() -> T:
        async with open_database(running_settings(), "orders", "keys", pool_size=1) as database:
            return await work(Access(database))

    return stores.run(run())


def _whoever() -> Any:
    """Who makes keys: whoever has the database's password. Which person that is, the system's log knows."""
    from orderflow.domain.access import SYSTEM

    return SYSTEM


def _show(name: str, key_id: str, text: str, as_json: bool) -> None:
    if as_json:
        print_json({"name": name, "key_id": key_id, "key": text})
        return
    typer.echo(text)
    err.print(f"{name}: key {key_id}. It is shown once: keep it where only {name} can read it.", soft_wrap=True)


def _data(view: "KeyView") -> dict[str, Any]:
    from dataclasses import asdict

    return {
        name: value.isoformat() if isinstance(value, datetime) else value if value is None else _plain(value)
        for name, value in asdict(view).items()
    }


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else str(value)


def _moment(text: str) -> datetime:
    try:
        at = datetime.fromisoformat(text)
        return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        fail(f"--not-before: {text!r} is no time (2026-12-01T00:00Z)", USAGE)


def _end(begins: datetime | None, days: int) -> datetime:
    now = datetime.now(UTC)
    try:
        end = (begins or now) + timedelta(days=days)
    except OverflowError:
        fail(f"--not-before: {days} days later is after the year 9999", USAGE)
    if end <= now:
        fail(f"--not-before: the key would have ended already, {days} days later", USAGE)
    return end
