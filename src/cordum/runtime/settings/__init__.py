"""Environment variables: each declared once, typed, with default and one line of help; read and checked at the start.

`load(GatewaySettings)` reads the environment; `load_or_exit` is what a process does first. The reference page
docs/reference/environment.md is generated from the declarations.
"""

from cordum.runtime.settings.common import CommonSettings, LogFormat, LogLevel, TlsVersion
from cordum.runtime.settings.gateway import GatewaySettings
from cordum.runtime.settings.grpc import GrpcServerSettings
from cordum.runtime.settings.kernel import KernelClientSettings, SafetyKernelSettings
from cordum.runtime.settings.loading import SettingsError, load, load_or_exit
from cordum.runtime.settings.nats import NatsSettings
from cordum.runtime.settings.protections import Rigour
from cordum.runtime.settings.redis import RedisSettings
from cordum.runtime.settings.scheduler import SchedulerSettings
from cordum.runtime.settings.values import Address

__all__ = [
    "Address",
    "CommonSettings",
    "GatewaySettings",
    "GrpcServerSettings",
    "KernelClientSettings",
    "LogFormat",
    "LogLevel",
    "NatsSettings",
    "RedisSettings",
    "Rigour",
    "SafetyKernelSettings",
    "SchedulerSettings",
    "SettingsError",
    "TlsVersion",
    "load",
    "load_or_exit",
]
