"""How likely it is, in this world and at this moment, that something small goes wrong."""

from dataclasses import dataclass, field
from random import Random


@dataclass
class Weather:
    """Chances between 0 and 1 a message, a command or a call; all of them 0 when the weather is calm.

    Attributes:
        spike: a message or a command takes long; `longest_spike` seconds at most.
        redis_refuses: a batch is not run, and that is known.
        redis_drops: a batch is not run, and nobody says so.
        redis_loses: a batch is run, and its answers are lost.
        redis_late: a batch is run after whoever sent it has given up.
        redis_cuts: a batch is run in part, then the connection breaks.
        redis_splits: others' commands come between those of a batch (this is no fault: a batch is no transaction).
        redis_forgets: the server forgets its scripts.
        core_lost: a core message does not reach one listener.
        puback_lost: a message is stored, and its acknowledgement is lost.
        publish_lost: a message to a stream is lost on the way.
        publish_refused: a stream says no.
        ack_lost: a consumer's word about a message is lost.
        twice: a stream delivers a message a second time while it is being handled.
        kernel_fails: the kernel gives no answer.
    """

    spike: float = 0.0
    longest_spike: float = 0.0
    redis_refuses: float = 0.0
    redis_drops: float = 0.0
    redis_loses: float = 0.0
    redis_late: float = 0.0
    redis_cuts: float = 0.0
    redis_splits: float = 0.02
    redis_forgets: float = 0.0
    core_lost: float = 0.0
    puback_lost: float = 0.0
    publish_lost: float = 0.0
    publish_refused: float = 0.0
    ack_lost: float = 0.0
    twice: float = 0.0
    kernel_fails: float = 0.0
    kernel_down: bool = False
    redis_down: bool = False
    redis_cut_off: set[str] = field(default_factory=set)

    @property
    def redis_trouble(self) -> float:
        return (
            self.redis_refuses
            + self.redis_drops
            + self.redis_loses
            + self.redis_late
            + self.redis_cuts
            + self.redis_forgets
        )


def bad_weather(random: Random) -> Weather:
    """The faults of one world. Most worlds have few kinds of them, so that each is met alone and together."""
    weather = Weather()
    kinds = (
        ("spike", 0.05),
        ("redis_refuses", 0.03),
        ("redis_drops", 0.03),
        ("redis_loses", 0.05),
        ("redis_late", 0.03),
        ("redis_cuts", 0.05),
        ("redis_forgets", 0.02),
        ("core_lost", 0.15),
        ("puback_lost", 0.1),
        ("publish_lost", 0.1),
        ("publish_refused", 0.05),
        ("ack_lost", 0.15),
        ("twice", 0.1),
        ("kernel_fails", 0.15),
    )
    for name, most in kinds:
        if random.random() < 0.4:
            setattr(weather, name, most * random.random())
    weather.longest_spike = random.choice((0.05, 0.5, 3.0))
    return weather


def calm_weather() -> Weather:
    return Weather(redis_splits=0.0)
