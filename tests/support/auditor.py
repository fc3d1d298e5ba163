"""A reconciler for a world, and what it found."""

from typing import Any
from uuid import UUID

import asyncpg
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import DeleteWorkflowExecutionRequest

from operations.reconciliation.findings import Handled, Kind, Reconcile
from operations.reconciliation.reconciler import Reconciler
from operations.reconciliation.repairs import Repairs
from orderflow.settings import Service, Settings
from orderflow.store.statements import Statement
from orderflow.temporal.runs import OrderRuns
from support.stack import Databases
from support.waiting import until
from support.world import Handle, World, order_id

_REPAIRS = Statement(
    "test.repairs",
    "Reads the repairs that were refused.",
    "SELECT command_id, refusal FROM commands WHERE command_id LIKE 'r:%' AND refusal IS NOT NULL",
)


class Auditor:
    """Reconciles a world."""

    def __init__(self, world: World, databases: Databases) -> None:
        self.world = world
        self._databases = databases
        self._runs = OrderRuns.of(world.client)
        self.repairs = Repairs(
            world.orders, world.gateway, (world.payments, world.inventory), tracking_group=Settings().tracking_group
        )

    def reconciler(self, **settings: Any) -> Reconciler:
        """A reconciler that finds everything older than nothing, unless ``settings`` say otherwise."""
        world = self.world
        return Reconciler(
            Settings(**{"reconcile_older_than_seconds": 0.0, **settings}),
            world.orders,
            world.payments,
            world.inventory,
            world.gateway,
            self._runs,
            self.repairs,
            confirm_seconds=0.2,
        )

    async def findings(self, *, repair: bool = False, **settings: Any) -> list[Handled]:
        """One reconciliation."""
        return list((await self.reconciler(**settings).run(Reconcile(repair=repair))).findings)

    async def kinds(self, **settings: Any) -> set[Kind]:
        """What one reconciliation finds."""
        return {handled.finding.kind for handled in await self.findings(**settings)}

    async def finds(self, *kinds: Kind, **settings: Any) -> list[Handled]:
        """Wait until exactly ``kinds`` are found: Temporal's list of workflows may be a moment late."""
        found: list[Handled] = []

        async def they_are_there() -> bool:
            found[:] = await self.findings(**settings)
            return {handled.finding.kind for handled in found} == set(kinds)

        try:
            await until(they_are_there)
        except TimeoutError:
            raise AssertionError(f"found {found}") from None
        return found

    async def repaired(self, *kinds: Kind) -> None:
        """Find and repair ``kinds``; repair what was found once more; then nothing is left to be found.

        What the second repair changed would show in the order's history, which the tests compare in full.
        """
        await self.finds(*kinds)
        reconciler = self.reconciler()
        handled = (await reconciler.run(Reconcile(repair=True))).findings
        assert {h.outcome for h in handled} == {"repaired"}, handled
        await self.world.tell_all()
        recorded = await self.records()
        for finding in (h.finding for h in handled):
            assert any(f"{finding.kind}: " in reason for reason in recorded.values()), recorded
            await self.repairs.repair(finding)
        await self.world.tell_all()
        await self.finds()
        assert await self.findings(repair=True) == []
        assert await self.records() == recorded

    async def records(self) -> dict[str, str]:
        """The repairs that are recorded: id and reason."""
        rows = await self.world.orders.all(_REPAIRS, {})
        return {row["command_id"]: row["refusal"]["detail"] for row in rows}

    async def untold(self, handle: Handle, name: str) -> None:
        """Carry a command out that Temporal never hears of, as if it had lost what it was told."""
        accepted = await self.world.accept(handle, name, tells=False)
        assert accepted.outcome.refusal is None
        assert accepted.handover is not None
        await self.world.handovers.told([accepted.handover])

    async def forgets(self, handle: Handle) -> None:
        """Have Temporal forget the order's run, which is open: a closed one is kept for half a minute."""
        world, order = self.world, order_id(handle)

        async def listed() -> bool:
            return order in await self._runs.running()

        await until(listed)  # before that the list would keep it for ever
        execution = WorkflowExecution(workflow_id=handle.id)
        request = DeleteWorkflowExecutionRequest(namespace=world.client.namespace, workflow_execution=execution)
        await world.client.workflow_service.delete_workflow_execution(request)

        async def forgotten() -> bool:
            return (await self._runs.look(order)).state == "missing" and not await listed()

        await until(forgotten)

    async def loses(self, service: Service, order: UUID, after: int) -> None:
        """Take a service's record of an order back to version ``after``, as a database restored from a backup."""
        table = {"orders": "orders", "payments": "payments", "inventory": "reservations"}[service]
        await self.around_the_rule(service, "DELETE FROM outbox WHERE order_id = $1 AND version > $2", order, after)
        await self.around_the_rule(service, "DELETE FROM commands WHERE order_id = $1 AND version > $2", order, after)
        await self.around_the_rule(service, "DELETE FROM events WHERE order_id = $1 AND version > $2", order, after)
        back = f"""
        UPDATE {table} t SET status = e.status, version = e.version FROM events e
        WHERE t.order_id = $1 AND e.order_id = $1 AND e.version = $2"""
        await self.around_the_rule(service, back, order, after)

    async def around_the_rule(self, service: Service, sql: str, *values: Any) -> None:
        """Write as no process of ours can: without triggers and foreign keys."""
        connection = await asyncpg.connect(self._databases.as_admin(service))
        try:
            await connection.execute("SET session_replication_role = replica")
            await connection.execute(sql, *values)
        finally:
            await connection.close()

    async def fulfilling(self) -> tuple[Handle, UUID]:
        """An order that waits to be shipped."""
        handle = await self.world.place()
        await self.world.ask(handle, "approve")
        await self.world.reaches(handle, "FULFILLING")
        return handle, order_id(handle)
