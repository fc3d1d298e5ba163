"""Whether the API and the codec server know who calls them, as far as the settings here say."""

from collections.abc import Sequence
from typing import Final

from operations.doctor.check import Check, Checked
from orderflow.settings import Settings

ABOUT: Final = "authentication"


def checks(settings: Settings) -> list[Check]:
    """One line for the API, which should have it, and one for a codec server without."""
    return [Check(ABOUT, lambda: _look(settings), "see ORDERFLOW_API_AUTHENTICATION")]


async def _look(settings: Settings) -> Sequence[Checked]:
    if settings.api_authentication == "off":
        said = "off: whoever is on the API's machine may do everything (it listens on loopback alone)"
        fix = "leave out ORDERFLOW_API_AUTHENTICATION, and make keys: `orderflow keys create`"
        lines = [Checked(ABOUT, False, said, fix)]
    else:
        lines = [Checked(ABOUT, True, "the API asks for keys")]
    if settings.codec_authentication == "off":
        said = "off: whoever is on its machine reads every payload (it listens on loopback alone)"
        lines.append(Checked("codec server", True, said))
    return lines
