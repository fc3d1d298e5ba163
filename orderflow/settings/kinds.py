"""Kinds of values that settings of several modules have. A kind of one module stands there."""

from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr

from orderflow import setting_sources, urls

Port = Annotated[int, Field(ge=1, le=65535)]
#: In the environment, or in a file that ``…_FILE`` names.
Secret = Annotated[SecretStr, BeforeValidator(setting_sources.from_file)]


def http_url(url: str) -> str:
    """The URL as it is. Raises ValueError where it could be read in two ways."""
    return urls.check(url, urls.HTTP)


HttpUrl = Annotated[str, AfterValidator(http_url)]


def parts(text: str) -> tuple[str, ...]:
    """The parts of a comma-separated text."""
    return tuple(filter(None, (part.strip() for part in text.split(","))))
