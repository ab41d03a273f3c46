"""What the product logs while it is simulated: shown with `--trace`, and unforeseen exceptions are kept."""

import contextlib
import traceback
from collections.abc import Iterator

from tests.simulation.history import Event, History
from tests.simulation.loop import SimLoop, current_process

from cordum.core.errors import CordumError
from cordum.runtime import logging


class Log:
    """The log of one world."""

    def __init__(self, loop: SimLoop, history: History, *, trace: bool) -> None:
        self._loop = loop
        self._history = history
        self._trace = trace
        self._closed = False
        self.unforeseen: list[str] = []

    def close(self) -> None:
        """The world has ended; what is said while it is thrown away means nothing."""
        self._closed = True

    @contextlib.contextmanager
    def taken(self) -> Iterator[None]:
        """Takes what the product logs, and gives the log back."""
        output, emit = logging._output, logging.Logger._emit
        threshold = output.threshold
        output.threshold = logging.DEBUG if self._trace else logging.ERROR
        # Lines are not rendered, which would take longer than all the rest.
        logging.Logger._emit = lambda _, level, msg, fields: self._line(level, msg, fields)  # type: ignore[method-assign, assignment]
        try:
            yield
        finally:
            logging.Logger._emit = emit  # type: ignore[method-assign]
            output.threshold = threshold

    def _line(self, level: str, msg: str, fields: dict[str, object]) -> None:
        if self._closed:
            return
        error = fields.pop("exc_info", None)
        process = current_process()
        who = process.name if process is not None else "world"
        if isinstance(error, BaseException) and not isinstance(error, CordumError):
            text = "".join(traceback.format_exception(error))
            self.unforeseen.append(f"{self._loop.time():.4f} {who}: {msg}\n{text}")
        if self._trace:
            job = str(fields.pop("job_id", "") or "")
            rest = " ".join(f"{name}={value}" for name, value in fields.items() if value not in (None, ""))
            self._history.add(Event(self._loop.time(), who, level, job, f"{msg} ({rest})"))
