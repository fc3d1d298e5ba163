"""``orderflow keys`` and ``login``: making, showing, replacing and ending keys, as an operator does."""

import asyncio
import json
from pathlib import Path

import asyncpg
import pytest_asyncio

from orderflow.security import api_keys
from support.keys import KEY
from support.stack import Databases
from support.terminal import Terminal
from support.waiting import until


@pytest_asyncio.fixture
async def terminal(databases: Databases, tmp_path: Path) -> Terminal:
    return Terminal(tmp_path, orders_database_url=databases.orders, deployment="shop")


async def listed(terminal: Terminal) -> dict[str, list[dict[str, object]]]:
    said = await terminal.run("keys", "list", "--json")
    found: dict[str, list[dict[str, object]]] = {}
    for row in json.loads(said.out):
        found.setdefault(row["name"], []).append(row)
    return found


async def test_a_key_is_shown_once_and_kept_as_a_digest(terminal: Terminal) -> None:
    said = await terminal.run("keys", "create", "checkout", "--role", "merchant")
    key = api_keys.parse(said.out.strip())
    assert key is not None
    assert key.deployment == "shop"
    shown = await terminal.run("keys", "list")
    assert key.id in shown.out
    assert said.out.strip() not in shown.out + json.dumps(await listed(terminal))


async def test_a_principal_has_two_keys_at_most(terminal: Terminal) -> None:
    await terminal.run("keys", "create", "checkout", "--role", "merchant")
    assert (await terminal.run("keys", "rotate", "checkout", "--overlap-hours", "1")).code == 0
    third = await terminal.run("keys", "rotate", "checkout")
    assert (third.code, "has 2 keys that are good" in third.err) == (2, True)
    rows = (await listed(terminal))["checkout"]
    assert len(rows) == 2
    assert len({row["principal_id"] for row in rows}) == 1
    assert str(rows[0]["expires_at"]) < str(rows[1]["expires_at"])


async def test_a_key_is_ended_by_its_id_or_its_principal(terminal: Terminal) -> None:
    made = await terminal.run("keys", "create", "checkout", "--role", "merchant", "--json")
    key_id = json.loads(made.out)["key_id"]
    assert key_id in (await terminal.run("keys", "revoke", key_id)).out
    again = await terminal.run("keys", "revoke", "checkout")
    assert (again.code, "no key 'checkout' is good" in again.err) == (1, True)
    assert (await listed(terminal))["checkout"][0]["revoked_at"]
    assert KEY.id in (await terminal.run("keys", "revoke", "tests", "--json")).out


async def test_what_makes_no_principal_is_named(terminal: Terminal) -> None:
    for arguments, said in {
        ("--role", "king"): "there is no role 'king'",
        ("--scope", "orders:steal"): "there is no scope 'orders:steal'",
        (): "needs a --role or a --scope",
        ("--role", "customer"): "needs a --customer",
        ("--role", "merchant", "--customer", "c"): "exclude each other",
        ("--role", "merchant", "--not-before", "soon"): "is no time",
    }.items():
        refused = await terminal.run("keys", "create", "somebody", *arguments)
        assert (refused.code, said in refused.err, refused.out) == (2, True, ""), refused
    assert "somebody" not in await listed(terminal)
    await terminal.run("keys", "create", "somebody", "--role", "merchant")
    twice = await terminal.run("keys", "create", "somebody", "--role", "operator")
    assert (twice.code, "there is a principal 'somebody' already" in twice.err) == (1, True)


async def test_a_name_and_a_customer_are_judged_as_the_api_judges_a_new_orders_customer(terminal: Terminal) -> None:
    """A principal of a customer whose id no order may have would reach nothing, or look like another's."""
    for text, rule in {
        "": "at least 1 character",
        "c" * 101: "at most 100 characters",
        " c": "Must not begin or end with blanks",
        "a\u202eb": "Must not contain U+202E",
        "e\u0301": "Normalization Form C",
        "4111 1111 1111 1111": "Must not contain the number of a payment card",
    }.items():
        for what, arguments in {
            "--customer": ("somebody", "--customer", text, "--role", "customer"),
            "NAME": (text, "--role", "merchant"),
        }.items():
            refused = await terminal.run("keys", "create", *arguments)
            assert (refused.code, f"error: {what}: " in refused.err, rule in refused.err) == (2, True, True), refused
            assert "1111" not in refused.err
    assert (await listed(terminal)).keys() == {"tests"}
    good = await terminal.run("keys", "create", "李雷", "--role", "customer", "--customer", "Frau Müller")
    assert (good.code, (await listed(terminal))["李雷"][0]["customer_id"]) == (0, "Frau Müller")


async def test_a_name_that_nobody_has_is_said_to_be_that(terminal: Terminal) -> None:
    """Whatever it is: a name from before is not judged, so that its keys can be replaced and ended."""
    for name in ("nobody", "", "a\u202eb"):
        assert "there is no principal" in (await terminal.run("keys", "rotate", name)).err.lower()
        assert (await terminal.run("keys", "revoke", name)).code == 1


async def test_a_key_that_could_never_be_used_is_not_made(terminal: Terminal) -> None:
    for begins, said in {
        "": "is no time",
        "0001-01-01T00:00+14:00": "is no time",
        "9999-12-31T00:00Z": "365 days later is after the year 9999",
        "2020-01-01T00:00Z": "the key would have ended already",
    }.items():
        refused = await terminal.run("keys", "create", "late", "--role", "merchant", "--not-before", begins)
        assert (refused.code, "--not-before: " in refused.err, said in refused.err) == (2, True, True), refused
    assert "late" not in await listed(terminal)


async def test_a_key_is_kept_in_a_profile_and_sent_to_its_api_alone(terminal: Terminal, tmp_path: Path) -> None:
    made = await terminal.run("keys", "create", "checkout", "--role", "merchant")
    (tmp_path / "key").write_text(made.out)
    (tmp_path / "key").chmod(0o600)
    terminal.env["XDG_CONFIG_HOME"] = str(tmp_path / "config")
    url = "http://127.0.0.1:9"
    said = await terminal.run("login", "prod", "--api", url, "--key-file", str(tmp_path / "key"))
    profile = tmp_path / "config" / "orderflow" / "prod.env"
    assert (said.code, str(profile) in said.out, made.out.strip() in said.out + said.err) == (0, True, False)
    assert profile.stat().st_mode & 0o777 == 0o600
    assert f"ORDERFLOW_API_KEY={made.out.strip()}\n" in profile.read_text()
    shown = await terminal.run("--profile", "prod", "profile", "show")
    assert made.out.strip() not in shown.out
    for key, why in (("no key", "is no API key"), (made.out[:-3], "is no API key")):
        (tmp_path / "wrong").write_text(key)
        (tmp_path / "wrong").chmod(0o600)
        wrong = await terminal.run("login", "prod", "--api", url, "--key-file", str(tmp_path / "wrong"))
        assert (wrong.code, why in wrong.err) == (2, True)


async def test_of_two_who_make_a_principal_at_once_one_gets_no_key_for_the_others(
    terminal: Terminal, databases: Databases
) -> None:
    admin = await asyncpg.connect(databases.as_admin("orders"))
    try:
        transaction = admin.transaction()
        await transaction.start()
        await admin.execute("INSERT INTO principals (name, kind, scopes) VALUES ('bob', 'api_key', '{operate}')")
        second = asyncio.create_task(terminal.run("keys", "create", "bob", "--role", "merchant"))

        async def waits() -> bool:
            waiting = await admin.fetchval(
                "SELECT count(*) FROM pg_locks WHERE NOT granted AND transactionid IS NOT NULL"
            )
            return bool(waiting)

        await until(waits, seconds=30, every=0.05)
        await transaction.commit()
        said = await second
        assert (said.code, "there is a principal 'bob' already" in said.err, said.out) == (1, True, "")
        query = "SELECT count(*) FROM api_keys JOIN principals USING (principal_id) WHERE name = 'bob'"
        assert await admin.fetchval(query) == 0
    finally:
        await admin.close()
