"""What can go wrong while the embedded stack is started or looked after."""

from pathlib import Path

from cordum.core.errors import CordumError


class EmbeddedError(CordumError):
    """The embedded stack could not do what was asked."""

    code = "embedded_error"


class MissingBinaryError(EmbeddedError):
    """A server program that the embedded stack needs was not found."""

    code = "embedded_binary_missing"


class PortTakenError(EmbeddedError):
    """Another program listens on a port that was asked for."""

    code = "embedded_port_taken"


class DataDirError(EmbeddedError):
    """The data directory cannot be used."""

    code = "embedded_data_dir"


class DataDirHeldError(DataDirError):
    """Another supervisor uses this data directory."""

    code = "embedded_data_dir_held"


class StartError(EmbeddedError):
    """A part of the stack did not become ready.

    Attributes:
        part: the name of the child, such as `redis` or `scheduler`.
        log_tail: its last log lines, oldest first.
    """

    code = "embedded_start_failed"

    def __init__(self, part: str, why: str, log_tail: list[str], log_file: Path | None = None) -> None:
        self.part = part
        self.log_tail = log_tail
        self.log_file = log_file
        super().__init__(f"{part}: {why}")
        for line in log_tail:
            self.add_note(f"{part} | {line}")
