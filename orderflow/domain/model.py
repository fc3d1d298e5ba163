"""The base of all our data."""

from pydantic import BaseModel, ConfigDict


class Model(BaseModel):
    """Immutable data. Unknown fields are ignored, so that a newer sender never loses a command."""

    model_config = ConfigDict(frozen=True)
