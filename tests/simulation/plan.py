"""What a seed means: the jobs that are wanted, how large the world is, and the great faults with their moments."""

from random import Random
from typing import Final

import msgspec
from tests.simulation import kernel
from tests.simulation.gateway import Wish

_TOPICS: Final = {
    kernel.ALLOWED: 10,
    kernel.SINGLE: 2,
    kernel.RETRIED: 2,
    kernel.FORBIDDEN: 1,
    kernel.CAREFUL: 3,
    kernel.SLOW: 1,
    kernel.OTHER: 3,
    kernel.GATE: 1,
    kernel.GUARD: 1,
}
_GREAT: Final = {
    "kill replica": 8,
    "stop replica": 3,
    "stall replica": 4,
    "cut bus": 4,
    "nats down": 3,
    "redis down": 3,
    "cut redis": 3,
    "lose lease": 2,
    "jump clock": 2,
    "kill worker": 7,
    "stall worker": 4,
    "cut worker": 3,
    "kill gateway": 2,
    "kernel down": 3,
}


class Fault(msgspec.Struct, frozen=True):
    """One great fault: when, what, to which one of several, and for how many seconds."""

    at: float
    kind: str
    which: int
    seconds: float


class WorkerPlan(msgspec.Struct, frozen=True):
    pool: str
    slots: int
    at: float


class Plan(msgspec.Struct, frozen=True):
    """A world.

    Attributes:
        replicas: schedulers.
        trouble_until: the moment after which nothing goes wrong any more.
        calm: nothing goes wrong at all.
        checked: results are held until the output policy has looked at them.
        haunted: one worker takes jobs, takes long, and answers when its job is long another's, or its own again.
    """

    replicas: int
    workers: tuple[WorkerPlan, ...]
    wishes: list[Wish]
    faults: tuple[Fault, ...]
    trouble_until: float
    calm: bool
    haunted: bool
    checked: bool


def plan_of(random: Random) -> Plan:
    """The plan of a seed."""
    calm = random.random() < 0.04
    haunted = not calm and random.random() < 0.12
    replicas = random.choices((1, 2, 3), (5, 4, 2))[0]
    workers = [
        WorkerPlan("main", random.choice((1, 1, 2, 4)), random.choice((0.0, 0.0, 3.0)))
        for _ in range(1 if haunted else random.choices((1, 2, 3), (4, 3, 2))[0])
    ]
    workers.append(WorkerPlan("other", random.choice((1, 2)), 0.0))
    span = random.choice((0.5, 2.0, 5.0))
    wishes = [_wish(random, number, span, calm, haunted) for number in range(random.randint(3, 8))]
    until = random.uniform(8.0, 13.0) if haunted else random.uniform(3.0, 9.0)
    checked = random.random() < 0.15
    count = 0 if calm else random.choices((0, 1, 2, 3, 5), (2, 4, 4, 3, 2))[0]
    faults = tuple(
        Fault(
            random.uniform(0.3, until - 1.0),
            random.choices(tuple(_GREAT), tuple(_GREAT.values()))[0],
            random.randrange(6),
            random.choice((0.3, 2.0, 6.0)) * random.random(),
        )
        for _ in range(count)
    )
    return Plan(replicas, tuple(workers), wishes, faults, 0.5 if calm else until, calm, haunted, checked)


def _wish(random: Random, number: int, span: float, calm: bool, haunted: bool) -> Wish:
    topic = random.choices(tuple(_TOPICS), tuple(_TOPICS.values()))[0]
    if haunted:
        topic = random.choice((kernel.ALLOWED, kernel.CAREFUL))
    return Wish(
        job_id=f"j{number}",
        topic=topic,
        at=0.2 + span * random.random(),
        on_bus=random.random() < 0.2,
        cancel_after=4.0 * random.random() if random.random() < 0.12 else 0.0,
        deadline_ms=random.randint(500, 8000) if random.random() < 0.1 and not calm else 0,
        decide_after=0.3 + 3.0 * random.random() if random.random() < 0.85 else 0.0,
        rejected=random.random() < 0.25,
        twice=random.random() < 0.1,
    )
