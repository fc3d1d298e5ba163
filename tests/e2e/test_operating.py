"""``orderflow doctor`` on the whole stack and beside what is down."""

from orderflow.stack.stack import EmbeddedStack
from support.doctor import examined, wrong
from support.terminal import Terminal


async def test_the_doctor_finds_nothing_wrong_with_a_stack_that_runs(terminal: Terminal) -> None:
    code, checks = await examined(terminal)
    assert wrong(checks) == []
    assert code == 0
    assert {
        *("orders database", "payments migrations", "clock of the inventory database", "orders relay", "orders outbox"),
        *("Temporal", "search attributes", "task queue order-runs", "task queue payments", "task queue reconciliation"),
        *("Kafka", "topic order.events", "consumer group order-tracking", "dead letters"),
        *("API", "clock of the API", "payment gateway", "clock of the payment gateway"),
    } <= checks.keys()
    people = await terminal.run("doctor")
    assert (people.code, "all fine" in people.out, "FAIL" in people.out) == (0, True, False)


async def test_the_doctor_names_what_is_down_and_what_to_do(stack: EmbeddedStack, terminal: Terminal) -> None:
    gateway, relay = stack.processes["gateway"], stack.processes["relay"]
    await gateway.stop()
    await relay.stop()
    try:
        code, checks = await examined(terminal)
        assert code == 1
        assert {"payment gateway", "orders relay", "payments relay", "inventory relay"} <= set(wrong(checks))
        assert checks["orders relay"]["fix"] == "start one: `orderflow worker relay`"
        assert checks["orders database"]["ok"]
        people = await terminal.run("doctor")
        assert (people.code, "fix: start it, or set ORDERFLOW_GATEWAY_URL" in people.out) == (1, True)
    finally:
        await gateway.start()
        await relay.start()
