"""Kinds of values that settings of several modules have. A kind of one module stands there."""

from typing import Annotated, Final

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr

from orderflow import setting_sources, urls

#: Of every duration: 31 years. What is later or earlier than that by now has no date.
MOST_SECONDS: Final = 1_000_000_000
_MOST_HOURS: Final = MOST_SECONDS // 3600

Seconds = Annotated[float, Field(ge=0, le=MOST_SECONDS, allow_inf_nan=False)]
PositiveSeconds = Annotated[float, Field(gt=0, le=MOST_SECONDS, allow_inf_nan=False)]
PositiveHours = Annotated[float, Field(gt=0, le=_MOST_HOURS, allow_inf_nan=False)]
WholeSeconds = Annotated[int, Field(ge=0, le=MOST_SECONDS)]
PositiveWholeSeconds = Annotated[int, Field(gt=0, le=MOST_SECONDS)]
PositiveWholeHours = Annotated[int, Field(gt=0, le=_MOST_HOURS)]
Port = Annotated[int, Field(ge=1, le=65535)]
#: In the environment, or in a file that ``…_FILE`` names.
Secret = Annotated[SecretStr, BeforeValidator(setting_sources.from_file)]


def http_url(url: str) -> str:
    """The URL as it is. Raises ValueError where it could be read in two ways."""
    return urls.check(url, urls.HTTP)


HttpUrl = Annotated[str, AfterValidator(http_url)]


#: Where Temporal is.
Address = Annotated[str, AfterValidator(urls.check_address)]


def parts(text: str) -> tuple[str, ...]:
    """The parts of a comma-separated text."""
    return tuple(filter(None, (part.strip() for part in text.split(","))))


def _brokers(text: str) -> str:
    try:
        for broker in text.split(","):
            urls.check_address(broker.strip(), default_port=True)
    except ValueError as error:
        raise ValueError(f"of the comma-separated parts, one is wrong: {error}") from None
    return text


#: Where Kafka's brokers are.
Brokers = Annotated[str, AfterValidator(_brokers)]
