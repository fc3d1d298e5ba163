"""A near step has one attempt: its workflow task is not held by what gives no answer."""

from support.runs import is_pending
from support.world import World


async def test_a_near_step_is_tried_once_and_then_seen_by_everybody(world: World) -> None:
    world.gateway.miss("authorize", 10**6)
    handle = await world.place()
    await world.ask(handle, "approve")
    try:
        await is_pending(world, handle, "authorize_payment", "the call was lost")
    finally:
        world.gateway.miss("authorize", 0)  # what is tried in the workflow's task would hold its worker
    await world.reaches(handle, "FULFILLING")
    assert len({key for _, key in world.gateway.calls}) == 1
