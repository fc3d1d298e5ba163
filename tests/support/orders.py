"""Orders for tests, real-shaped and small."""

from uuid import UUID, uuid4

from orderflow.domain.commands import Command
from orderflow.domain.orders import Line, Order


def an_order(*lines: tuple[str, int, int], order_id: UUID | None = None, customer_id: str = "household-515") -> Order:
    """An order of ``lines`` (sku, quantity, unit price in minor units); one of two bananas by default."""
    return Order(
        order_id=order_id or uuid4(),
        customer_id=customer_id,
        reference="basket-32053106851",
        currency="USD",
        lines=tuple(Line(sku=s, quantity=q, unit_price=p) for s, q, p in lines or (("1082185", 2, 99),)),
    )


def command(name: str, command_id: str | None = None, **fields: object) -> Command:
    """A command with an id of its own, unless given."""
    fields.setdefault("data", {"reason": "customer"} if name == "cancel" else {})
    return Command.model_validate(
        {"name": name, "id": command_id or f"c:{uuid4()}", "correlation_id": "test", **fields}
    )
