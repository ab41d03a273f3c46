"""Settings of every process."""

import re
import socket
import ssl
from enum import StrEnum
from typing import Annotated, Final

from pydantic import BeforeValidator

from cordum.core.access.keys import is_tenant_id
from cordum.runtime.settings.declare import Settings, variable
from cordum.runtime.settings.values import Flag, parse_word

_INSTANCE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


class LogLevel(StrEnum):
    """The least severe lines that are written."""

    DEBUG = "debug"
    INFO = "info"
    WARN = "warn"
    ERROR = "error"


class LogFormat(StrEnum):
    """JSON lines for collectors, or text for people."""

    JSON = "json"
    TEXT = "text"


class TlsVersion(StrEnum):
    """The oldest TLS version spoken."""

    TLS_1_2 = "1.2"
    TLS_1_3 = "1.3"


class Environment(StrEnum):
    """Where the process runs. A closed list: a typing error must not switch production mode off."""

    PRODUCTION = "production"
    PROD = "prod"
    STAGING = "staging"
    DEVELOPMENT = "development"
    DEV = "dev"
    TEST = "test"
    LOCAL = "local"
    CI = "ci"


def _environment(value: object) -> object:
    return parse_word(Environment, value) if isinstance(value, str) else value


def _level(value: object) -> object:
    if isinstance(value, str):
        return LogLevel.WARN if value.strip().lower() == "warning" else parse_word(LogLevel, value)
    return value


def _format(value: object) -> object:
    return parse_word(LogFormat, value) if isinstance(value, str) else value


def _tls_version(value: object) -> object:
    if not isinstance(value, str):
        return value
    word = value.strip().lower().removeprefix("tls").removeprefix("v")
    return parse_word(TlsVersion, {"12": "1.2", "13": "1.3"}.get(word, word))


def _tenant(value: object) -> object:
    if isinstance(value, str) and not is_tenant_id(value):
        raise ValueError("not a tenant: letters, digits, '.', '_' and '-', 128 at most")
    return value


def _instance(value: object) -> object:
    if isinstance(value, str) and not _INSTANCE.fullmatch(value):
        raise ValueError("not a name: letters, digits, '.', '_' and '-', 128 at most")
    return value


class CommonSettings(Settings):
    """What every process reads."""

    env: Annotated[Environment, BeforeValidator(_environment)] = variable(
        "CORDUM_ENV",
        default=Environment.DEVELOPMENT,
        text="Where this runs; production or prod turns production mode on",
    )
    production_flag: Flag = variable(
        "CORDUM_PRODUCTION", default=False, text="Turns production mode on, whatever CORDUM_ENV says"
    )
    log_level: Annotated[LogLevel, BeforeValidator(_level)] = variable(
        "CORDUM_LOG_LEVEL", default=LogLevel.INFO, text="Least severe log lines written"
    )
    log_format: Annotated[LogFormat, BeforeValidator(_format)] = variable(
        "CORDUM_LOG_FORMAT", default=LogFormat.JSON, text="json for collectors, text for people"
    )
    instance_id: Annotated[str, BeforeValidator(_instance)] = variable(
        "CORDUM_INSTANCE_ID",
        default=socket.gethostname(),
        shown="the host name",
        text="Name of this process among its replicas, in logs and in the instance registry",
    )
    tls_min_version: Annotated[TlsVersion | None, BeforeValidator(_tls_version)] = variable(
        "CORDUM_TLS_MIN_VERSION",
        default=None,
        shown="1.3 in production, else 1.2",
        text="Oldest TLS version spoken, as server and as client",
    )
    tenant_id: Annotated[str, BeforeValidator(_tenant)] = variable(
        "TENANT_ID", default="default", text="Tenant of whatever names no tenant"
    )

    @property
    def production(self) -> bool:
        """Whether production mode is on; it wins where the two variables disagree."""
        return self.production_flag or self.env in (Environment.PRODUCTION, Environment.PROD)

    @property
    def tls_minimum(self) -> ssl.TLSVersion:
        """Oldest TLS version, for `ssl`."""
        version = self.tls_min_version or (TlsVersion.TLS_1_3 if self.production else TlsVersion.TLS_1_2)
        return ssl.TLSVersion.TLSv1_3 if version is TlsVersion.TLS_1_3 else ssl.TLSVersion.TLSv1_2
