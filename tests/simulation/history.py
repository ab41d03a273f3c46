"""What happened, in order: the only thing the checks look at, and what `--trace` prints."""

from collections import Counter
from typing import NamedTuple


class Event(NamedTuple):
    """One thing that happened. `who` did `what` at `at` (seconds of virtual time); the rest depends on `what`."""

    at: float
    who: str
    what: str
    job: str = ""
    detail: str = ""
    before: str = ""
    after: str = ""
    dispatch: str = ""
    attempts: int = 0

    def __str__(self) -> str:
        moved = f" {self.before}->{self.after}" if self.after else ""
        rest = "".join(
            f" {name}={value}"
            for name, value in (("dispatch", self.dispatch), ("attempts", self.attempts), ("detail", self.detail))
            if value
        )
        return f"{self.at:10.4f}  {self.who:<12} {self.what:<12} {self.job:<10}{moved}{rest}"


class History:
    """The events of one world, and how many faults of each kind there were."""

    def __init__(self, *, trace: bool = False) -> None:
        self.trace = trace
        self.events: list[Event] = []
        self.faults: Counter[str] = Counter()

    def add(self, event: Event) -> None:
        self.events.append(event)

    def fault(self, at: float, who: str, kind: str, detail: str = "", *, told: bool = True) -> None:
        """A fault was injected. The small ones, of which there are many, are only counted."""
        self.faults[kind] += 1
        if told:
            self.events.append(Event(at, who, "fault", detail=f"{kind} {detail}".rstrip()))
