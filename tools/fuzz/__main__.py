"""``make fuzz``: against the stack that runs from this folder, or the API that the settings lead to."""

import argparse
import sys
from typing import Final

from orderflow.credentials import api_key
from orderflow.settings import Settings
from orderflow.stack.environment import running_settings
from tools.fuzz.run import fuzz

#: For each of 17 operations: more than 20,000 requests, in about half an hour on two busy cores.
EXAMPLES: Final = 1300


def main() -> int:
    """0: no finding."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=EXAMPLES, help="requests to each operation, at most")
    parser.add_argument("--seed", type=int, default=1)
    asked, more = parser.parse_known_args()
    settings = running_settings(Settings())
    key = api_key(settings)
    if key is None:
        parser.error("there is no API key: `orderflow up` in another terminal, or set ORDERFLOW_API_KEY_FILE")
    found = fuzz(settings.api_url, f"Bearer {key}", examples=asked.examples, seed=asked.seed, more=more)
    print(found.said)
    print(f"{found.cases.total():,} requests, by status: {dict(sorted(found.cases.items()))}")
    return found.code


if __name__ == "__main__":
    sys.exit(main())
