"""What holds for every setting: where its value comes from, and when its default is meant."""

from typing import Final, Self

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, DotEnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from orderflow import profiles, setting_sources

ENV_FILE: Final = ".env"


class CommonSettings(BaseSettings):
    """What each part of the settings is made of. Only ``Settings``, which has all parts, is ever constructed."""

    model_config = SettingsConfigDict(
        env_prefix="ORDERFLOW_",
        env_file=ENV_FILE,
        env_file_encoding="utf-8-sig",
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,  # a value may be a password
    )

    # --- Profile ---
    profile: str | None = Field(
        None,
        description="A profile that is read instead of `.env`: the file `.env.NAME` here, or "
        "`~/.config/orderflow/NAME.env`. `orderflow --profile NAME` comes first.",
    )

    @model_validator(mode="after")
    def _texts_are_text(self) -> Self:
        """Bytes of the environment that are no text come as surrogates, which nobody could send or print."""
        for name in type(self).model_fields:
            value = getattr(self, name)
            if any("\ud800" <= character <= "\udfff" for character in str(value or "")):
                raise ValueError(f"ORDERFLOW_{name.upper()}: it is not text in UTF-8")
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """A chosen profile instead of ``.env``; a caller that names another file, or none, gets that."""
        usual = isinstance(dotenv_settings, DotEnvSettingsSource) and dotenv_settings.env_file == ENV_FILE
        if usual and (name := init_settings().get("profile") or env_settings().get("profile")):
            allowed = setting_sources.names(cls) - {"profile"}
            chosen = profiles.read(str(name), allowed, cls.model_config["env_prefix"])
            dotenv_settings = DotEnvSettingsSource(settings_cls, env_file=chosen)
        elif usual and dotenv_settings().get("profile"):
            raise profiles.ProfileError(f"{ENV_FILE} cannot choose a profile: export ORDERFLOW_PROFILE, or --profile")
        environment, file = setting_sources.SecretFiles(env_settings), setting_sources.SecretFiles(dotenv_settings)
        return init_settings, environment, env_settings, file, dotenv_settings, file_secret_settings

    def address(self, name: str) -> str:
        """Where a server is: the setting ``name``, such as ``kafka_bootstrap_servers``.

        Raises NoAddress where a profile is chosen and does not say: the default is a server of this machine, which
        nobody means who works on another stack.
        """
        value = getattr(self, name)
        text: str = value.get_secret_value() if isinstance(value, SecretStr) else value
        if self.profile and name not in self.model_fields_set and text == self._default_address(name):
            raise profiles.NoAddress(
                f"profile {self.profile} does not set {self.model_config['env_prefix']}{name.upper()}, which this needs"
            )
        return text

    @classmethod
    def _default_address(cls, name: str) -> str:
        default = cls.model_fields[name].default
        return default.get_secret_value() if isinstance(default, SecretStr) else str(default)
