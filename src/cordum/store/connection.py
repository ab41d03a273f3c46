"""Opens the right link for the settings: one server, the master behind Sentinels, or a cluster."""

import ssl
from collections.abc import Mapping
from typing import Any, NamedTuple

from redis.asyncio import Redis
from redis.asyncio import connection as redis_connection
from redis.asyncio import sentinel as redis_sentinel
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from cordum.store.cluster import Address, ClusterLink
from cordum.store.confirmed import ConfirmedLink
from cordum.store.errors import StoreSettingsError
from cordum.store.link import Link
from cordum.store.options import StoreOptions, TLSFiles
from cordum.store.server import ServerLink


class TLSConnection(redis_connection.Connection):
    """A connection under a TLS context of ours, asked for at each connect so that renewed certificates are used."""

    def __init__(self, *, tls: Any, tls_server_name: str = "", **settings: Any) -> None:
        super().__init__(**settings)
        self._tls = tls
        self._tls_server_name = tls_server_name

    def _connection_arguments(self) -> Mapping[str, Any]:
        arguments = {**super()._connection_arguments(), "ssl": self._tls()}
        if self._tls_server_name:
            arguments["server_hostname"] = self._tls_server_name
        return arguments


class SentinelTLSConnection(redis_sentinel.SentinelManagedConnection, TLSConnection):
    """The same, to whatever server the Sentinels call the master."""


class SentinelLink(ServerLink):
    """The master of the moment. Each new connection asks the Sentinels where it is."""

    def __init__(self, pool: Any, sentinels: redis_sentinel.Sentinel, *, dial_timeout: float) -> None:
        super().__init__(pool, dial_timeout=dial_timeout)
        self._sentinels = sentinels

    async def aclose(self) -> None:
        """Closes every connection, those to the Sentinels too."""
        await super().aclose()
        await self._sentinels.aclose()


class ClientTLS:
    """The TLS context for connections to come. `reload` reads the files again, after a certificate was renewed."""

    def __init__(self, files: TLSFiles) -> None:
        self._files = files
        self._context: ssl.SSLContext | None = None

    def context(self) -> ssl.SSLContext:
        if self._context is None:
            self.reload()
        assert self._context is not None
        return self._context

    def reload(self) -> None:
        """Raises StoreSettingsError when a file cannot be used; the context in use stays."""
        files = self._files
        try:
            context = ssl.create_default_context(cafile=files.ca or None)
            if files.cert:
                context.load_cert_chain(files.cert, files.key or None)
        except (OSError, ssl.SSLError) as fault:
            raise StoreSettingsError(f"REDIS_TLS_CA, REDIS_TLS_CERT, REDIS_TLS_KEY: cannot be used: {fault}") from fault
        context.minimum_version = files.minimum
        if files.insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        self._context = context


class _Dialling(NamedTuple):
    """How a connection is opened: redis-py's settings without host and port, and the class to open it with."""

    address: Address
    settings: dict[str, Any]
    kind: type[redis_connection.AbstractConnection]

    @property
    def is_secure(self) -> bool:
        return self.kind is TLSConnection


def open_link(options: StoreOptions, tls: ClientTLS) -> Link:
    """The link the options ask for; nothing is dialled before the first command.

    Raises:
        StoreSettingsError: the URL is not one of Redis.
    """
    dialling = _dialling(options, tls)
    if options.cluster:
        if dialling.settings.pop("db", 0):
            raise StoreSettingsError("REDIS_URL: a Redis cluster has database 0 only")
        return ClusterLink(options.cluster, lambda address: _server(address, dialling, options))
    if options.sentinels:
        return _master(options, dialling)
    if dialling.kind is redis_connection.UnixDomainSocketConnection:
        dialling.settings.pop("socket_keepalive")
        pool = redis_connection.ConnectionPool(
            connection_class=dialling.kind, max_connections=options.connections, **dialling.settings
        )
        return ServerLink(pool, dial_timeout=options.dial_timeout)
    return _server(dialling.address, dialling, options)


def open_node(options: StoreOptions, tls: ClientTLS, address: Address | None = None) -> Link:
    """A link to one server of the installation, whatever the topology; by default the one the URL names.

    Raises:
        StoreSettingsError: the URL is not one of Redis.
    """
    dialling = _dialling(options, tls)
    if options.cluster:
        dialling.settings.pop("db", 0)
    return _server(address or dialling.address, dialling, options)


def open_watcher(options: StoreOptions, tls: ClientTLS, address: Address) -> Link:
    """A link to one Sentinel.

    Raises:
        StoreSettingsError: the URL is not one of Redis.
    """
    dialling = _dialling(options, tls)
    unused = ("username", "password", "db")
    settings = {name: value for name, value in dialling.settings.items() if name not in unused}
    if options.sentinel_password:
        settings["password"] = options.sentinel_password
    return _server(address, dialling._replace(settings=settings), options)


def _dialling(options: StoreOptions, tls: ClientTLS) -> _Dialling:
    settings = _url_settings(options.url)
    if options.password:
        settings["password"] = options.password
    address = str(settings.pop("host", "localhost")), int(settings.pop("port", 6379))
    settings |= {
        "protocol": 2,
        # Time is bounded per batch, not per read.
        "socket_timeout": None,
        "socket_connect_timeout": options.dial_timeout,
        "socket_keepalive": True,
        # Else each new connection looks up the client library's version on disk, to tell the server.
        "driver_info": None,
    }
    kind = settings.pop("connection_class", redis_connection.Connection)
    if kind is redis_connection.SSLConnection:
        tls.context()
        settings |= {"tls": tls.context, "tls_server_name": options.tls_server_name}
        kind = TLSConnection
    return _Dialling(address, settings, kind)


def _server(address: Address, dialling: _Dialling, options: StoreOptions) -> Link:
    pool = redis_connection.ConnectionPool(
        connection_class=TLSConnection if dialling.is_secure else redis_connection.Connection,
        max_connections=options.connections,
        host=address[0],
        port=address[1],
        **dialling.settings,
    )
    return _confirmed(ServerLink(pool, dial_timeout=options.dial_timeout), options)


def _confirmed(link: ServerLink, options: StoreOptions) -> Link:
    if not options.wait_replicas:
        return link
    return ConfirmedLink(link, replicas=options.wait_replicas, timeout=options.wait_timeout)


def _master(options: StoreOptions, dialling: _Dialling) -> Link:
    settings = dialling.settings
    # A Sentinel that does not answer must leave time to ask the next one.
    patience = min(options.dial_timeout, options.operation_timeout / 4)
    access: dict[str, Any] = {
        "socket_timeout": patience,
        "socket_connect_timeout": patience,
        "retry": Retry(NoBackoff(), 0),
        "driver_info": None,
    }
    if options.sentinel_password:
        access["password"] = options.sentinel_password
    watchers = redis_sentinel.Sentinel(options.sentinels, sentinel_kwargs=access)  # type: ignore[no-untyped-call]
    if dialling.is_secure:
        # As with the master itself: under our context, so that renewed certificates are used.
        access |= {name: settings[name] for name in ("tls", "tls_server_name")}
        watchers.sentinels = [
            Redis.from_pool(
                redis_connection.ConnectionPool(connection_class=TLSConnection, host=host, port=port, **access)
            )
            for host, port in options.sentinels
        ]
    pool = redis_sentinel.SentinelConnectionPool(  # type: ignore[no-untyped-call]
        options.sentinel_master,
        watchers,
        connection_class=SentinelTLSConnection if dialling.is_secure else redis_sentinel.SentinelManagedConnection,
        max_connections=options.connections,
        **settings,
    )
    return _confirmed(SentinelLink(pool, watchers, dial_timeout=2 * options.dial_timeout), options)


def _url_settings(url: str) -> dict[str, Any]:
    try:
        return dict(redis_connection.parse_url(url))
    except ValueError as fault:
        raise StoreSettingsError(f"REDIS_URL: {fault}") from fault
