"""The keys for payment tokens, as far as this machine has them: the public one of the API, the private ones."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from operations.doctor.check import Check, Checked
from orderflow.domain.errors import Unavailable
from orderflow.postgres.databases import open_database
from orderflow.security.keyring import key_ids
from orderflow.security.sealing import KeyFileError, TokenOpener, TokenSealer
from orderflow.settings import Settings
from orderflow.store.statements import Statement

ABOUT: Final = "payment token keys"
KEYRING: Final = "payload keyring"
COMMAND_SECONDS: Final = 5.0
_USED: Final = Statement(
    "doctor.token_keys",
    "Counts the payment tokens that are kept, by the key that they were sealed with.",
    "SELECT split_part(sealed, '.', 1) AS key, count(*) AS tokens FROM payment_tokens GROUP BY 1 ORDER BY 1",
)


def checks(settings: Settings) -> list[Check]:
    """Do the two files fit, and can every token that is kept be opened; is there a keyring for Temporal."""
    return [
        Check(ABOUT, lambda: _look(settings), "make a pair: `orderflow setup`"),
        Check(KEYRING, lambda: _keyring(settings), "see ORDERFLOW_PAYLOAD_KEYRING_FILE"),
    ]


async def _keyring(settings: Settings) -> Sequence[Checked]:
    path = settings.payload_keyring_file
    if path is None:
        said = "not set: what steps are given and answer lies in Temporal for everybody who reaches it"
        return [Checked(KEYRING, False, said, "set ORDERFLOW_PAYLOAD_KEYRING_FILE, and run `orderflow setup`")]
    if path.exists() and not os.access(path, os.R_OK):
        return [Checked(KEYRING, True, f"not for this user to read: {path}")]
    try:
        keys = key_ids(path)
    except KeyFileError as error:
        return [Checked(KEYRING, False, str(error), "put back the file: without it no order in Temporal can be read")]
    older = f", {len(keys) - 1} more open" if len(keys) > 1 else ""
    return [Checked(KEYRING, True, f"{path}: {keys[0]} seals{older}")]


async def _look(settings: Settings) -> Sequence[Checked]:
    private, public = settings.token_private_key, settings.token_public_key
    there = [path for path in (public, private) if path.exists()]
    if not there:
        where = "neither is on this machine"
        return [Checked(ABOUT, True, f"{where} ({public.name} is the API's, {private.name} the payments role's)")]
    if hidden := [path for path in there if not os.access(path, os.R_OK)]:
        return [Checked(ABOUT, True, f"not for this user to read: {', '.join(map(str, hidden))}")]
    try:
        sealer = TokenSealer.from_file(public) if public in there else None
        opener = TokenOpener.from_file(private) if private in there else None
    except KeyFileError as error:
        return [Checked(ABOUT, False, str(error), "put back the file, or make a pair: `orderflow setup`")]
    line = _pair(sealer, opener, public, private)
    if opener is None:
        return [line]
    return [line, *await _openable(settings, opener, private)]


def _pair(sealer: TokenSealer | None, opener: TokenOpener | None, public: Path, private: Path) -> Checked:
    if sealer is None or opener is None:
        here, other = (public, private) if sealer is not None else (private, public)
        return Checked(ABOUT, True, f"{here} can be used; {other.name} is not on this machine")
    if sealer.key_id != opener.key_ids[-1]:
        fix = f"remove {public} and run `orderflow setup`, which writes it again; then start the API again"
        if sealer.key_id not in opener.key_ids:
            said = f"what {public} seals no key in {private} opens: approved orders are declined"
        else:
            said = f"{public} is not the newest key of {private}"
        return Checked(ABOUT, False, said, fix)
    count = len(opener.key_ids)
    older = f", which has {count - 1} older {'one' if count == 2 else 'ones'} as well" if count > 1 else ""
    return Checked(ABOUT, True, f"{public} fits {private}{older}")


async def _openable(settings: Settings, opener: TokenOpener, private: Path) -> list[Checked]:
    """Whether the private keys open every token that is kept; nothing where the orders database says nothing."""
    try:
        async with open_database(
            settings, "orders", "reader", pool_size=1, command_timeout=COMMAND_SECONDS
        ) as database:
            used = {row["key"]: row["tokens"] for row in await database.all(_USED, {})}
    except Unavailable:
        return []
    about = "payment tokens"
    if lost := {key: tokens for key, tokens in used.items() if key not in opener.key_ids}:
        said = f"{sum(lost.values())} were sealed with keys that are not in {private}: {', '.join(lost)}"
        return [
            Checked(about, False, said, "put the old keys back into that file, and start the payments workers again")
        ]
    return [Checked(about, True, f"{sum(used.values())} are kept, and can be opened")]
