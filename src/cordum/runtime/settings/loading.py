"""Reading the environment into settings, with every fault said in one line."""

import os
import sys
from collections.abc import Mapping
from typing import Final, TypeVar
from urllib.parse import urlsplit

from pydantic import SecretStr, ValidationError
from pydantic_core import ErrorDetails

from cordum.core.access.keys import key_texts
from cordum.core.errors import CordumError
from cordum.runtime import production
from cordum.runtime.redact import mask_urls
from cordum.runtime.settings.declare import Settings, Variable, variables
from cordum.runtime.settings.gateway import GatewaySettings

S = TypeVar("S", bound=Settings)

EXIT_BAD_SETTINGS: Final = 2
_SHOWN_VALUE: Final = 60  # characters of a bad value that are repeated


class SettingsError(CordumError):
    """A setting is not usable."""

    code = "bad_settings"

    def __init__(self, violations: list[str]) -> None:
        self.violations = violations
        super().__init__("; ".join(violations))


def load(cls: type[S], env: Mapping[str, str] | None = None) -> S:
    """Settings from environment variables; an empty variable is as good as none.

    Args:
        cls: what to load.
        env: the variables; the process's own when None.

    Raises:
        SettingsError: with one line per fault, naming the variable, what is wrong and what is allowed.
    """
    given = {name: text.strip() for name, text in (os.environ if env is None else env).items() if text.strip()}
    values: dict[str, str | dict[str, str]] = {}
    sources: dict[str, Variable] = {}
    for declared in variables(cls):
        if declared.is_open:
            if found := {name.removeprefix(declared.prefix): given[name] for name in given if declared.covers(name)}:
                values[declared.field] = found
            continue
        for name in declared.names:
            if name in given:
                values[declared.field] = given[name]
                sources[declared.field] = declared
                break
    faults: list[str] = []
    bad_names: list[str] = []
    try:
        settings = cls(**values)  # type: ignore[arg-type]  # texts; pydantic makes the types
    except ValidationError as error:
        for detail in error.errors(include_url=False):
            field = str(detail["loc"][0])
            name = next(name for name in sources[field].names if name in given)
            bad_names += sources[field].names
            faults.append(_fault(name, str(values.pop(field, "")), sources[field], detail))
        # What the other settings say together is wanted in the same run; the bad ones stand at their defaults for it.
        settings = cls(**values)  # type: ignore[arg-type]
    settings = production.harden(settings, frozenset(values))
    faults += [line for line in production.violations(settings, frozenset(values)) if not _mentions(line, bad_names)]
    if faults:
        raise SettingsError(sorted(faults))
    return settings


def load_or_exit(cls: type[S]) -> S:
    """Settings from the environment, or the end: each fault on its own line of stderr, exit code 2."""
    try:
        return load(cls)
    except SettingsError as error:
        for violation in error.violations:
            sys.stderr.write(f"{cls.service or 'cordum'}: {violation}\n")
        sys.exit(EXIT_BAD_SETTINGS)


def _fault(name: str, value: str, declared: Variable, detail: ErrorDetails) -> str:
    shown = name if declared.secret else f"{name}={_printable(value)}"
    return f"{shown}: {_reason(detail)}"


def _reason(detail: ErrorDetails) -> str:
    context = detail.get("ctx", {})
    match detail["type"]:
        case "value_error":
            return str(context["error"])
        case "greater_than_equal":
            return f"must be at least {context['ge']}"
        case "less_than_equal":
            return f"must be at most {context['le']}"
        case _:
            return detail["msg"]


def _printable(value: str) -> str:
    text = "".join(char if char.isprintable() else "?" for char in mask_urls(value)[:_SHOWN_VALUE])
    return text + "..." if len(value) > _SHOWN_VALUE else text


def _mentions(line: str, names: list[str]) -> bool:
    return any(line.startswith((f"{name}:", f"{name}=")) for name in names)


def secret_values(settings: Settings) -> list[str]:
    """Every secret text in the settings, so that logging can keep it out of its lines."""
    found: list[str] = []
    for declared in variables(type(settings)):
        value = getattr(settings, declared.field)
        if isinstance(value, SecretStr):
            found.append(value.get_secret_value())
        elif isinstance(value, str) and "@" in value:
            found += [urlsplit(url).password or "" for url in value.split(",")]
    if isinstance(settings, GatewaySettings) and settings.api_keys:
        found += key_texts(settings.api_keys.get_secret_value())
    return found
