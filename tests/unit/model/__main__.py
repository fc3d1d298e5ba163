"""The whole search, for people: every world of each scenario, a few minutes and some gigabytes.

    PYTHONPATH=tests python -m unit.model                        every scenario
    PYTHONPATH=tests python -m unit.model "ship" --worlds 50000  one, the nearest worlds only
    PYTHONPATH=tests python -m unit.model everything --walks 100000 --seed 7

It prints what it saw, and the shortest trace to each invariant that does not hold, and ends with 1 if there is one.
"""

import argparse
import sys

from unit.model.rules import Rules
from unit.model.scenarios import EVERYTHING, SCENARIOS, Scenario
from unit.model.search import Report, explore, walk


def main() -> int:
    """Search, and say what was found."""
    arguments = _arguments()
    broken = False
    for scenario in SCENARIOS:
        if not arguments.scenario or scenario.name in arguments.scenario:
            broken |= _told(scenario, explore(scenario, Rules(), arguments.worlds))
    if not arguments.scenario or EVERYTHING.name in arguments.scenario:
        broken |= _told(EVERYTHING, walk(EVERYTHING, Rules(), arguments.walks, arguments.seed))
    return int(broken)


def _arguments() -> argparse.Namespace:
    names = [scenario.name for scenario in (*SCENARIOS, EVERYTHING)]
    parser = argparse.ArgumentParser(prog="python -m unit.model", description="Search the model of one order.")
    parser.add_argument("scenario", nargs="*", help=", ".join(names))
    parser.add_argument("--worlds", type=int, default=3_000_000, help="at most, of each scenario")
    parser.add_argument("--walks", type=int, default=20_000, help="through everything")
    parser.add_argument("--seed", type=int, default=1, help="of the walks")
    arguments = parser.parse_args()
    if unknown := set(arguments.scenario) - set(names):
        parser.error(f"no such scenario: {', '.join(sorted(unknown))}")
    return arguments


def _told(scenario: Scenario, report: Report) -> bool:
    sys.stdout.write(f"{scenario.name}: {report}\n")
    sys.stdout.flush()
    return bool(report.violations)


if __name__ == "__main__":
    sys.exit(main())
