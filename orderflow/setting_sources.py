"""Secrets of the settings in files: ``ORDERFLOW_X_FILE`` names the file of the secret setting ``ORDERFLOW_X``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource

from orderflow.security.secret_files import FiledSecret, SecretFileError

_SUFFIX = "_file"


@dataclass(frozen=True, slots=True)
class _InFile:
    """A secret setting, ``variable``, that is to be read from ``path``. ``twice``: it is given in clear as well."""

    variable: str
    path: str
    twice: bool


class SecretFiles(PydanticBaseSettingsSource):
    """The files of secrets that another source (the environment, or a file of settings) names.

    Goes before that source: the file and the secret itself, both of one source, are an error that names both.
    """

    def __init__(self, beside: PydanticBaseSettingsSource) -> None:
        super().__init__(beside.settings_cls)
        self._prefix = str(beside.settings_cls.model_config["env_prefix"]).lower()
        self._variables = beside.env_vars if isinstance(beside, EnvSettingsSource) else {}

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """The file of one secret setting; None: none is named."""
        name = f"{self._prefix}{field_name}"
        path = self._variables.get(f"{name}{_SUFFIX}")
        if not path:
            return None, field_name, False
        return _InFile(name.upper(), path, twice=bool(self._variables.get(name))), field_name, False

    def __call__(self) -> dict[str, Any]:
        """What it has, by field."""
        fields = self.settings_cls.model_fields
        found = {name: self.get_field_value(fields[name], name)[0] for name in secrets(self.settings_cls)}
        # Two of one source are said also where the file has a field of its own, and is read when it is needed.
        return {
            name: value
            for name, value in found.items()
            if value is not None and (value.twice or f"{name}{_SUFFIX}" not in fields)
        }


def from_file(value: object) -> object:
    """A secret setting's value, read where it is in a file. Raises ValueError, which names file and variable."""
    if not isinstance(value, _InFile):
        return value
    variable = f"{value.variable}{_SUFFIX.upper()}"
    if value.twice:
        raise ValueError(f"{value.variable} and {variable} are both set: set one")
    try:
        return FiledSecret(Path(value.path), variable)
    except SecretFileError as error:
        raise ValueError(f"{variable}: {error}") from None


def secrets(settings: type[BaseSettings]) -> frozenset[str]:
    """The fields that are secrets."""
    return frozenset(name for name, field in settings.model_fields.items() if _is_secret(field.annotation))


def names(settings: type[BaseSettings]) -> frozenset[str]:
    """What may be set: the fields, and the file of each secret."""
    return frozenset(settings.model_fields) | {f"{name}{_SUFFIX}" for name in secrets(settings)}


def _is_secret(annotation: Any) -> bool:
    return annotation is SecretStr or any(_is_secret(part) for part in get_args(annotation))
