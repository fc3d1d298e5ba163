"""``orderflow --profile NAME`` and ``orderflow profile list | show``: which stack the commands lead to, and by what.

Secrets are masked: passwords in URLs, API keys. Exit codes: 0 shown, 2 wrong usage or a profile that is wrong, 4 there
is no such profile.
"""

import contextlib
import os
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.calls import NOT_FOUND, USAGE, AsJson, print_json
from cli.terminal import PROFILE_VARIABLE, err, fail, load_settings, out, running_settings

if TYPE_CHECKING:
    from orderflow.settings import Settings

app = typer.Typer(help="Named settings of other stacks: .env.NAME here, or ~/.config/orderflow/NAME.env.")


def names(incomplete: str) -> list[str]:
    """For the shell's completion, which is no place for an error."""
    from orderflow.profiles import ProfileError, profiles

    with contextlib.suppress(ProfileError):
        return [name for name in profiles() if name.startswith(incomplete)]
    return []


def choose(
    profile: Annotated[
        str | None,
        typer.Option(
            "--profile",
            metavar="NAME",
            envvar=PROFILE_VARIABLE,
            autocompletion=names,
            help="The stack to work on: its settings, instead of `.env` and what runs here.",
        ),
    ] = None,
) -> None:
    """Orders as Temporal workflows, with one event stream on Kafka."""
    if profile is not None:
        # For all that reads settings in this process, as if it had been exported.
        os.environ[PROFILE_VARIABLE] = profile


@app.command("list")
def list_(as_json: AsJson = False) -> None:
    """Show the profiles that there are, and which is chosen."""
    from orderflow.profiles import profiles

    found, chosen = profiles(), os.environ.get(PROFILE_VARIABLE)
    if as_json:
        print_json([{"name": name, "file": str(path), "chosen": name == chosen} for name, path in found.items()])
        return
    for name, path in found.items():
        out.print(f"{'*' if name == chosen else ' '} {name:<16} {path}", soft_wrap=True)
    if not found:
        err.print("no profiles: one is a file .env.NAME here, or NAME.env in ~/.config/orderflow")


@app.command()
def show(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", autocompletion=names, help="Default: what is chosen now.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Also what has its default.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show what the commands would work with, and where each value comes from. Secrets are masked."""
    from orderflow.profiles import NoProfile, ProfileError, file_of

    if name is not None:
        os.environ[PROFILE_VARIABLE] = name
    if chosen := os.environ.get(PROFILE_VARIABLE):
        try:
            file_of(chosen)
        except NoProfile as error:
            fail(str(error), NOT_FOUND if name is not None else USAGE)
        except ProfileError as error:
            fail(str(error), USAGE)
    rows = _rows(load_settings(), running_settings())
    shown = [row for row in rows if everything or row["from"] != "default"]
    if as_json:
        print_json({"profile": chosen or None, "settings": shown})
        return
    for row in shown:
        value = "not set" if row["value"] is None else row["value"]
        out.print(f"{row['setting']:<44} {value}  ({row['from']})", soft_wrap=True)
    if len(shown) < len(rows):
        err.print(f"left out, as they have their default: {len(rows) - len(shown)} (--all shows them)")


def _rows(given: "Settings", used: "Settings") -> list[dict[str, Any]]:
    """Every setting: what is used, and who said so. ``given``: without the stack that runs here."""
    from orderflow import urls

    prefix = str(given.model_config["env_prefix"])
    exported = {variable.upper() for variable in os.environ}
    file = f"profile {given.profile}" if given.profile else ".env"
    own = used.temporal_config
    elsewhere = {
        f"temporal_{name}": value
        for name, value in (("address", own.address), ("namespace", own.namespace), ("api_key", own.api_key))
        if value is not None
    } | ({"temporal_tls": own.tls is not False} if own.tls is not None else {})
    rows = []
    for setting in type(given).model_fields:
        variable = f"{prefix}{setting}".upper()
        if setting in given.model_fields_set:
            source = "environment" if {variable, f"{variable}_FILE"} & exported else file
        else:
            source = "default" if getattr(given, setting) == getattr(used, setting) else "the stack that runs here"
        value = getattr(used, setting)
        if source == "default" and setting in elsewhere:
            value, source = elsewhere[setting], own.where(setting.removeprefix("temporal_"))
            value = urls.HIDDEN if setting == "temporal_api_key" else value
        rows.append({"setting": variable, "value": _plain(setting, value), "from": source})
    return [row for row in rows if row["setting"] != PROFILE_VARIABLE]


def _plain(setting: str, value: object) -> str | int | float | bool | None:
    from pydantic import SecretStr

    from orderflow import urls

    if isinstance(value, SecretStr):
        return urls.shown(value.get_secret_value()) if setting.endswith("_url") else urls.HIDDEN
    if isinstance(value, str) and "://" in value:
        return urls.shown(value)
    return value if value is None or isinstance(value, bool | int | float) else str(value)
