"""The settings of a running stack: as the environment of its processes, and for commands in another terminal.

A process of the stack gets every setting explicitly, so neither a ``.env`` file nor an exported variable steers it
away from the servers beside it.
"""

import shlex
from collections.abc import Sequence
from pathlib import Path

from pydantic import SecretStr
from pydantic_core import to_json

from orderflow.postgres.roles import OPENED_BY
from orderflow.security.secret_files import FiledSecret
from orderflow.settings import Settings
from orderflow.stack.records import Record, write_private

FILE = "stack.env"
#: Only setup gets these.
ADMIN_FIELDS = frozenset({"orders_admin_url", "payments_admin_url", "inventory_admin_url"})
#: Only who calls the API gets these: no process of the stack does.
CLIENT_FIELDS = frozenset({"api_key", "api_key_file"})
#: A process of the stack gets what the profile says, not its name; and it serves loopback, where TLS is none of ours.
NEVER = frozenset({"profile", "tls_cert_file", "tls_key_file", "tls_client_ca_file"})
#: How the fields with the URLs of databases end.
DATABASE_URL = "database_url"


def as_environment(
    settings: Settings,
    *,
    opens: Sequence[str] | None = None,
    admin: bool = False,
    client: bool = False,
    **changes: object,
) -> dict[str, str]:
    """``settings``, with ``changes``, as ``ORDERFLOW_*`` variables; what is not set is left out.

    ``opens``: the URLs of databases that a process gets, by field; None: all of them.
    """
    values = {name: getattr(settings, name) for name in Settings.model_fields} | changes
    return {
        _variable(name, value): _text(value)
        for name, value in values.items()
        if value is not None
        and name not in NEVER
        and (admin or name not in ADMIN_FIELDS)
        and (opens is None or name in opens or not name.endswith(DATABASE_URL))
        and (client or name not in CLIENT_FIELDS)
    }


def urls_opened_by(*processes: str) -> list[str]:
    """The fields with the URLs that a process with these roles needs; see ``orderflow.postgres.roles.OPENED_BY``."""
    opened = [part for process in processes for part in OPENED_BY.get(process, ())]
    return [f"{service}_{role}_{DATABASE_URL}" for service, role in opened]


def write_environment(data_dir: Path, settings: Settings) -> None:
    """Leave the settings for ``running_settings``, and for a shell (``. .orderflow/stack.env``); mode 0600."""
    variables = as_environment(settings, admin=True, client=True)
    write_private(data_dir / FILE, "".join(f"{name}={shlex.quote(value)}\n" for name, value in variables.items()))


def running_settings(settings: Settings) -> Settings:
    """``settings`` with the addresses of the stack that runs from ``settings.data_dir``, if one does.

    What was set by the environment, a ``.env`` file or a caller stays as it is. A profile never leads to that stack:
    who chose one means it, also where it leaves something out.
    """
    file = settings.data_dir / FILE
    if settings.profile or not file.exists() or not Record.read(settings.data_dir / "stack.json").running:
        return settings
    chosen = {name: getattr(settings, name) for name in settings.model_fields_set}
    if "api_url" in chosen or CLIENT_FIELDS & chosen.keys():  # the stack's key is for the stack's API
        chosen = {name: getattr(settings, name) for name in CLIENT_FIELDS} | chosen
    return Settings(_env_file=file).model_copy(update=chosen)


def _variable(name: str, value: object) -> str:
    """A secret that came in a file stays in it."""
    return f"ORDERFLOW_{name}{'_file' if isinstance(value, FiledSecret) else ''}".upper()


def _text(value: object) -> str:
    if isinstance(value, FiledSecret):
        return str(value.path.absolute())
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return to_json(value).decode()
    return str(value)
