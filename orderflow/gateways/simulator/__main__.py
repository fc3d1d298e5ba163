"""``python -m orderflow.gateways.simulator``: run the gateway until SIGTERM or Ctrl-C, then exit with 0."""

import argparse
import signal
import sqlite3
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import prometheus_client
import uvicorn

from orderflow.gateways.simulator.app import Gateway
from orderflow.gateways.simulator.decisions import Decisions
from orderflow.gateways.simulator.ledger import Ledger


def _number(least: float, most: float) -> Callable[[str], float]:
    def parse(text: str) -> float:
        value = float(text)
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"must be from {least:g} to {most:g}")
        return value

    return parse


def _port(text: str) -> int:
    return int(_number(1, 65535)(text))


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="orderflow.gateways.simulator", description="A payment gateway to test with.")
    parser.add_argument("--host", default="127.0.0.1", help="there is no authentication: keep it on loopback")
    parser.add_argument("--port", type=_port, default=8090)
    parser.add_argument("--ledger", type=Path, required=True, metavar="FILE", help="SQLite file, made if missing")
    parser.add_argument("--decline-rate", type=_number(0, 1), default=0.0, help="share of tok_ok that is declined")
    parser.add_argument("--seed", type=int, default=0, help="which references that are")
    parser.add_argument(
        "--slow-seconds", type=_number(0, 600), default=3.0, help="how long tok_slow keeps its answer back"
    )
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Serve. Exits with 0 when told to stop, 2 without a usable ledger, 3 (uvicorn's) when the address is taken."""
    # uvicorn raises the signal once more when it has stopped; by default that would end us by the signal.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    arguments = _arguments(argv)
    prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]
    try:
        ledger = Ledger(arguments.ledger)
    except sqlite3.Error as error:
        sys.stderr.write(f"cannot open the ledger {arguments.ledger}: {error}\n")
        sys.exit(2)
    try:
        decisions = Decisions(arguments.seed, arguments.decline_rate)
        uvicorn.run(
            Gateway(ledger, decisions, arguments.slow_seconds).app(),
            host=arguments.host,
            port=arguments.port,
            access_log=False,
            log_level="warning",
            timeout_keep_alive=75,  # longer than any client keeps a connection, so that it is the client who closes
            timeout_graceful_shutdown=3,
        )
    finally:
        ledger.close()


if __name__ == "__main__":
    main()
