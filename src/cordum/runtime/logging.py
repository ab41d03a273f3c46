"""Logs: one JSON object per line on stdout, or one line of text for people (spec-ops section 2.4).

    log = logging.get_logger(__name__)
    log.info("job dispatched", event="job_dispatched", job_id=job_id, worker_id=worker_id)

The first argument is for people, `event` is a fixed word for machines. What a whole request or message has in common
is bound once: `with logging.context(trace_id=...)`. Fields whose names look like secrets are masked, and so are the
process's own secrets, wherever they turn up.
"""

import logging as stdlib
import sys
import traceback
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from typing import Any, Final

import structlog
from structlog.contextvars import bound_contextvars, merge_contextvars

from cordum.runtime.logformat import Entry, Renderer, render_json, text_renderer
from cordum.runtime.redact import MASK, MAX_STACK, KnownSecrets, clean, describe, is_secret_name, mask_urls
from cordum.runtime.settings import CommonSettings, LogFormat, LogLevel
from cordum.runtime.settings.loading import secret_values

DEBUG: Final = 10
INFO: Final = 20
WARN: Final = 30
ERROR: Final = 40

_NUMBERS: Final = {LogLevel.DEBUG: DEBUG, LogLevel.INFO: INFO, LogLevel.WARN: WARN, LogLevel.ERROR: ERROR}
_SHORT: Final = 128  # characters; text below is not searched for what makes text long or secret


class _Output:
    """How lines look and which are written; one per process, changed by `setup`."""

    def __init__(self) -> None:
        self.threshold = INFO
        self.head: Entry = {}
        self.secrets = KnownSecrets()
        self.render: Renderer = render_json

    def write(self, line: str) -> None:
        try:
            sys.stdout.write(f"{self.secrets.mask(line)}\n")
            sys.stdout.flush()
        except (OSError, ValueError):
            # Nobody reads us any more, and there is nowhere left to say so. The work goes on.
            pass


_output: Final = _Output()


class Logger(structlog.BoundLoggerBase):
    """Takes a sentence and fields; `bind(job_id=...)` gives a logger that always adds them."""

    def debug(self, msg: str, /, **fields: object) -> None:
        if _output.threshold <= DEBUG:
            self._emit("debug", msg, fields)

    def info(self, msg: str, /, **fields: object) -> None:
        if _output.threshold <= INFO:
            self._emit("info", msg, fields)

    def warning(self, msg: str, /, **fields: object) -> None:
        if _output.threshold <= WARN:
            self._emit("warn", msg, fields)

    def error(self, msg: str, /, **fields: object) -> None:
        self._emit("error", msg, fields)

    def exception(self, msg: str, /, **fields: object) -> None:
        """An error with the exception being handled: its text as `error`, its traceback as `stack`."""
        fields.setdefault("exc_info", sys.exc_info()[1])
        self._emit("error", msg, fields)

    def enabled(self, level: int) -> bool:
        """Whether lines of this level are written; ask before costly fields are put together."""
        return _output.threshold <= level

    def _emit(self, level: str, msg: str, fields: dict[str, object]) -> None:
        entry: Any = {**self._context, **fields, "msg": msg}
        try:
            for processor in self._processors:
                entry = processor(self._logger, level, entry)
        except structlog.DropEvent:
            return
        _output.write(entry)


def _finish(_: object, level: str, entry: Any) -> Entry:
    """Puts time, level, message, service and instance first, takes exceptions apart and masks secrets."""
    done: Entry = {
        "time": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "level": level,
        "msg": clean(entry.pop("msg", "")),
    }
    if (event := entry.pop("event", None)) is not None:
        done["event"] = str(event)
    done |= _output.head
    error = entry.pop("exc_info", None)
    if isinstance(error, BaseException):
        entry.setdefault("error", describe(error))
        stack = "".join(traceback.format_exception(error))
        done["stack"] = mask_urls(stack[-MAX_STACK:])
    for key, value in entry.items():
        if value and is_secret_name(key):
            done[key] = MASK
        elif type(value) is str and len(value) < _SHORT and "://" not in value:
            done[key] = value
        else:
            done[key] = clean(value)
    return done


def _render(_: object, __: str, entry: Any) -> str:
    return _output.render(entry)


# structlog's own list, so that structlog.testing.capture_logs() sees what our loggers write.
structlog.configure(processors=[merge_contextvars, _finish, _render], wrapper_class=Logger)
_processors: Final = structlog.get_config()["processors"]


def get_logger(name: str) -> Logger:
    """A logger whose lines carry the module's name as `logger`."""
    return Logger(None, _processors, {"logger": name.removeprefix("cordum.")})


def context(**fields: object) -> AbstractContextManager[None]:
    """Adds fields to every line written inside, in this task and those it starts."""
    return bound_contextvars(**fields)


def keep_secret(values: list[str]) -> None:
    """Masks these texts from now on, wherever they turn up; for secrets that do not come from the settings."""
    _output.secrets.learn(values)


class _Bridge(stdlib.Handler):
    """Brings the lines of libraries into ours."""

    def emit(self, record: stdlib.LogRecord) -> None:
        try:
            fields: dict[str, object] = {"logger": record.name}
            if record.exc_info is not None:
                fields["exc_info"] = record.exc_info[1]
            log = _library.error if record.levelno >= stdlib.ERROR else _library.warning
            log(record.getMessage(), **fields)
        except Exception:
            self.handleError(record)


_library: Final = Logger(None, _processors, {})


def setup(service: str, settings: CommonSettings) -> None:
    """Makes this process log as `settings` say. Libraries are heard from WARNING on."""
    _output.threshold = _NUMBERS[settings.log_level]
    _output.head = {"service": service, "instance": settings.instance_id}
    keep_secret(secret_values(settings))
    _output.render = (
        text_renderer(coloured=sys.stdout.isatty()) if settings.log_format is LogFormat.TEXT else render_json
    )
    root = stdlib.getLogger()
    root.handlers[:] = [_Bridge(stdlib.WARNING)]
    root.setLevel(stdlib.WARNING)
    stdlib.captureWarnings(capture=True)
