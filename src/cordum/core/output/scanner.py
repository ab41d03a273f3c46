"""A scanner: a named set of things to look for."""

from collections.abc import Iterable

from cordum.core.output.probes import Probe, Probes


class Scanner(Probes):
    """A named set of things to look for; `type` is that of its findings."""

    def __init__(self, name: str, finding_type: str, probes: Iterable[Probe], description: str = "") -> None:
        super().__init__(tuple(probes))
        self.name = name
        self.type = finding_type
        self.description = description
