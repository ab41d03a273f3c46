"""From settings to what nats-py connects with: servers, credentials, TLS."""

import ssl
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from cordum.bus.errors import BusSettingsError
from cordum.bus.nkey import UserKey
from cordum.core.errors import CordumError
from cordum.runtime import tls
from cordum.runtime.settings import NatsSettings

_SCHEMES: Final = ("nats", "tls")
_DEFAULT_PORT: Final = 4222


class Endpoint(msgspec.Struct, frozen=True):
    """Where NATS is and how to be let in.

    Attributes:
        servers: URLs with credentials, if they have any: not to be shown.
        shown: the same without credentials.
        public_key: the NKey to sign in with, if it is one.
        options: keyword arguments of nats-py's connect.
    """

    servers: list[str]
    shown: str
    public_key: str
    options: dict[str, Any]


def endpoint(settings: NatsSettings) -> Endpoint:
    """Reads the NATS settings.

    Raises:
        BusSettingsError: a URL cannot be used, or user, token or key cannot.
    """
    servers = [url.strip() for url in settings.nats_url.split(",") if url.strip()]
    if not servers:
        raise BusSettingsError("NATS_URL is empty: give one or more of nats://host:4222, tls://host:4222")
    shown = ",".join(_checked(url) for url in servers)
    options = _credentials(settings)
    public_key = ""
    if not options and settings.nats_nkey is not None:
        key = UserKey(settings.nats_nkey.get_secret_value())
        public_key, options = key.public, {"signature_cb": key.sign}
    if any(url.startswith("tls://") for url in servers):
        options["tls"] = _tls(settings)
        if settings.nats_tls_server_name:
            options["tls_hostname"] = settings.nats_tls_server_name
    return Endpoint(servers, shown, public_key, options)


def _checked(url: str) -> str:
    """The URL without its credentials."""
    try:
        parts = urlsplit(url if "://" in url else f"nats://{url}")
        host, port = parts.hostname, parts.port or _DEFAULT_PORT
    except ValueError:
        host, port = None, 0
    if not host or parts.scheme not in _SCHEMES:
        raise BusSettingsError(
            f"NATS_URL: {_harmless(url)!r} is no server address: give nats://host:port or tls://host:port"
        )
    return f"{parts.scheme}://{f'[{host}]' if ':' in host else host}:{port}"


def _harmless(url: str) -> str:
    return url.rpartition("@")[2] if "@" in url else url


def _credentials(settings: NatsSettings) -> dict[str, Any]:
    """User and password, else token, else key: the first that is set counts."""
    if settings.nats_username:
        password = settings.nats_password
        return {"user": settings.nats_username, "password": password.get_secret_value() if password else ""}
    if settings.nats_token is not None:
        return {"token": settings.nats_token.get_secret_value()}
    return {}


def _tls(settings: NatsSettings) -> ssl.SSLContext:
    try:
        context = tls.client_context(
            settings.nats_tls_ca, settings.nats_tls_cert, settings.nats_tls_key, settings.tls_minimum
        )
    except CordumError as error:
        raise BusSettingsError(f"NATS_TLS_*: {error.message}") from error
    return tls.trust_anyone(context) if settings.nats_tls_insecure else context
