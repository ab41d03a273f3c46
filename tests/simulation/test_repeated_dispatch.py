"""A dispatch whose acknowledgement is lost was stored, and its worker has it: it is not published a second time."""

import pytest
from tests.simulation.invariants import Checker
from tests.simulation.world import World


@pytest.mark.parametrize("seed", range(6))
def test_a_worker_gets_a_dispatch_once_although_its_acknowledgement_is_lost(seed: int) -> None:
    world = World(seed)
    world.weather.puback_lost = 0.5
    for name in ("core_lost", "ack_lost", "twice", "publish_lost", "publish_refused", "spike"):
        setattr(world.weather, name, 0.0)
    world.plan = type(world.plan)(
        replicas=1,
        workers=world.plan.workers,
        wishes=world.plan.wishes,
        faults=(),
        trouble_until=12.0,
        calm=True,
        haunted=False,
        checked=False,
    )
    world.replicas = world.replicas[:1]
    report = world.run()
    assert report.violations == []
    assert world.history.faults["puback_lost"] > 0
    assert any(event.what == "gets" for event in world.history.events)
    assert Checker(world).doubled == 0
