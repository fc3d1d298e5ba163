"""One order from POST to COMPLETED, over HTTP, on a stack that runs: ``python3 deploy/smoke.py [URL]``.

``ORDERFLOW_API_KEY_FILE`` names the file with a merchant's key.
Only the standard library, so that any Python outside the containers can run it. Exits with 0 when the order is
COMPLETED, its stock has left and the stream has told of its payment; raises what stood in the way otherwise.
"""

import json
import os
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

START_SECONDS = 300
STEP_SECONDS = 60
#: A gateway may decline some payments by chance, as the simulator of docker-compose.yml does.
ORDERS_TRIED = 10


def main(url: str) -> None:
    """Raises TimeoutError or RuntimeError when the stack does not do what it should."""
    until("the API is ready", lambda: call(url, "GET", "/health/ready"), START_SECONDS)
    sku = f"smoke-{uuid.uuid4()}"
    call(url, "PUT", f"/inventory/{sku}", {"on_hand": 5})
    for _ in range(ORDERS_TRIED):
        order = run_order(url, sku)
        if order["status"] == "COMPLETED":
            break
        if order["reason"] != "payment_declined":
            raise RuntimeError(f"the order is {order['status']}: {order['reason']}")
    else:
        raise RuntimeError(f"all of {ORDERS_TRIED} payments were declined")
    path = f"/orders/{order['id']}"

    def told() -> bool:
        payment = call(url, "GET", path)["payment"]
        return bool(payment) and payment["status"] == "CAPTURED"

    until("the stream has told of the capture", told)
    until("the stock has left", lambda: call(url, "GET", f"/inventory/{sku}")["on_hand"] == 4)
    sys.stdout.write(f"order {order['id']} is COMPLETED\n")


def run_order(url: str, sku: str) -> dict[str, Any]:
    """Place, approve, ship and complete an order of one piece. The order as it ended: COMPLETED or CANCELLED."""
    body = {
        "customer_id": "smoke",
        "currency": "EUR",
        "payment_token": "tok_ok",
        "lines": [{"sku": sku, "quantity": 1, "unit_price": 100}],
    }
    path = f"/orders/{call(url, 'POST', '/orders', body)['id']}"
    reached(url, path, "DRAFT")
    call(url, "POST", f"{path}/approve", {})
    if reached(url, path, "FULFILLING", "CANCELLED")["status"] == "CANCELLED":
        return dict(call(url, "GET", path))
    call(url, "POST", f"{path}/ship", {})
    reached(url, path, "SHIPPED")
    call(url, "POST", f"{path}/complete", {})
    return reached(url, path, "COMPLETED")


def reached(url: str, path: str, *statuses: str) -> dict[str, Any]:
    """The order, once it has one of ``statuses``."""

    def look() -> dict[str, Any] | None:
        order: dict[str, Any] = call(url, "GET", path)
        return order if order["status"] in statuses else None

    order: dict[str, Any] = until(f"{path} is {' or '.join(statuses)}", look)
    return order


def until(what: str, look: Callable[[], Any], seconds: float = STEP_SECONDS) -> Any:
    """What ``look`` gives as soon as that is something. Raises TimeoutError that says what did not happen, and why."""
    deadline = time.monotonic() + seconds
    last: object = "nothing"
    while time.monotonic() < deadline:
        try:
            if found := look():
                return found
        except OSError as error:  # refused, reset, timed out, or an HTTP error
            last = error
        time.sleep(0.5)
    raise TimeoutError(f"not within {seconds:.0f} s: {what} (last: {last})")


def call(url: str, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
    """The JSON answer. Raises urllib.error.HTTPError for 4xx and 5xx, with the problem in its text."""
    headers = {"Content-Type": "application/json", "Idempotency-Key": str(uuid.uuid4())} | authorization()
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url + path, data, headers, method=method)  # noqa: S310 - the caller's own URL
    try:
        with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310
            return json.load(response)
    except urllib.error.HTTPError as error:
        error.msg += f" {method} {path}: {error.read().decode(errors='replace')[:500]}"
        raise


def authorization() -> dict[str, str]:
    """With the key in the file that ``ORDERFLOW_API_KEY_FILE`` names."""
    file = os.environ.get("ORDERFLOW_API_KEY_FILE")
    return {"Authorization": f"Bearer {Path(file).read_text().strip()}"} if file else {}


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8080")
