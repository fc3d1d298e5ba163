"""The base of all our data."""

from pydantic import BaseModel, ConfigDict, ValidationError


class Model(BaseModel):
    """Immutable data. Unknown fields are ignored, so that a newer sender never loses a command."""

    model_config = ConfigDict(frozen=True)


def what_is_wrong(error: ValidationError) -> str:
    """Each field and its rule; never what was there instead, which may be a payment token."""
    return "; ".join(
        f"{'.'.join(map(str, wrong['loc']))}: {wrong['msg']}" for wrong in error.errors(include_input=False)
    )
