"""TLS: contexts for servers and clients, and certificates that are replaced while the process runs.

A server's certificate is reloaded within 30 seconds of its files' change (guide section 3, statements S40 to S45): a
`CertReloader` watches the pair and hands every new, valid one to `on_reload`. Open connections keep the old one.
"""

import asyncio
import contextlib
import os
import ssl
from collections.abc import Callable
from typing import Final

from cordum.runtime import logging, metrics
from cordum.runtime.certificates import CertPair, TlsError, check_ca, load_pair
from cordum.runtime.clock import Clock

POLL_INTERVAL: Final = 30.0  # seconds between two looks at the files

_log = logging.get_logger(__name__)


def server_context(
    cert: str, key: str, client_ca: str = "", min_version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2
) -> ssl.SSLContext:
    """A context to listen with.

    Args:
        cert: file with the certificate and its chain.
        key: file with its key.
        client_ca: only clients with a certificate of this CA are let in; "" asks for none.
        min_version: oldest TLS version spoken.

    Raises:
        TlsError: a file cannot be used.
    """
    load_pair(cert, key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = min_version
    _load_cert(context, cert, key)
    if client_ca:
        check_ca(client_ca)
        context.load_verify_locations(client_ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def client_context(
    ca: str = "", cert: str = "", key: str = "", min_version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2
) -> ssl.SSLContext:
    """A context to connect with; the server's certificate and name are verified.

    Args:
        ca: CA of the server; the system's when "".
        cert: client certificate, with `key`; "" for none.
        key: its key.
        min_version: oldest TLS version spoken.

    Raises:
        TlsError: a file cannot be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = min_version
    if ca:
        check_ca(ca)
        context.load_verify_locations(ca)
    else:
        context.load_default_certs()
    if cert:
        load_pair(cert, key)
        _load_cert(context, cert, key)
    return context


def trust_anyone(context: ssl.SSLContext) -> ssl.SSLContext:
    """Takes the verification out of a client context; only for `*_TLS_INSECURE`, which production refuses."""
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _load_cert(context: ssl.SSLContext, cert: str, key: str) -> None:
    try:
        context.load_cert_chain(cert, key)
    except (OSError, ssl.SSLError) as error:
        raise TlsError(f"{cert}: cannot be used with {key}: {error.strerror or error}") from error


class SwappingContext:
    """A server context whose certificate can be replaced: `context` stays the same, new connections get the latest.

    Each handshake is handed to the context made last, which was complete before it took over. Takes what
    `server_context` takes.
    """

    def __init__(
        self, cert: str, key: str, client_ca: str = "", min_version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2
    ) -> None:
        self._files = (cert, key, client_ca)
        self._min_version = min_version
        self.context = self._latest = server_context(*self._files, min_version)
        self.context.sni_callback = self._hand_over

    def swap(self, pair: CertPair) -> None:
        """Takes the files as they are now; fits CertReloader's `on_reload`. Raises TlsError and then keeps the old."""
        self._latest = server_context(*self._files, self._min_version)

    def _hand_over(self, connection: ssl.SSLSocket | ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> None:
        connection.context = self._latest


class CertReloader:
    """Watches a certificate and its key.

    Args:
        label: which listener this is, in log lines and metrics: gateway-http, gateway-grpc, safety-kernel.
        cert: certificate file.
        key: key file.
        on_reload: is given each new pair, in a worker thread, so that it may read files; it is to end with one
            assignment. When it raises, the old pair stays in use.
        clock: tells when the next look is due.

    Raises:
        TlsError: the pair cannot be used at the start.
    """

    def __init__(self, label: str, cert: str, key: str, on_reload: Callable[[CertPair], None], clock: Clock) -> None:
        self._label = label
        self._cert = cert
        self._key = key
        self._on_reload = on_reload
        self._clock = clock
        self._seen = self._fingerprint()
        self.pair = load_pair(cert, key)
        self._tell("certificate loaded", "certificate_loaded")

    async def watch(self) -> None:
        """Looks every 30 seconds, for ever; run it as a background task."""
        while True:
            await self._clock.sleep(POLL_INTERVAL)
            await self.poll()

    async def poll(self) -> None:
        """Looks once. A changed pair that cannot be used is logged once per change and the old one kept."""
        found = await asyncio.to_thread(self._fingerprint)
        if found == self._seen:
            return
        try:
            pair = await asyncio.to_thread(self._load)
        except Exception as error:
            _log.error(
                "certificate reload failed, the old one stays in use",
                event="certificate_reload_failed",
                label=self._label,
                cert=self._cert,
                key_file=self._key,
                error=str(error),
            )
            return
        finally:
            self._seen = found
        self.pair = pair
        self._tell("certificate reloaded", "certificate_reloaded")

    def _load(self) -> CertPair:
        pair = load_pair(self._cert, self._key)
        if (pair.cert, pair.key) != (self.pair.cert, self.pair.key):
            self._on_reload(pair)
        return pair

    def _tell(self, msg: str, event: str) -> None:
        metrics.CERT_EXPIRES.labels(self._label, self._cert).set(self.pair.expires_at)
        _log.info(msg, event=event, label=self._label, cert=self._cert, key_file=self._key)

    def _fingerprint(self) -> tuple[object, ...]:
        """What changes when a file is written, replaced, or reached through another symlink."""
        return (_stamp(self._cert), _stamp(self._key))


def _stamp(path: str) -> tuple[int, ...]:
    with contextlib.suppress(OSError):
        stat = os.stat(path)
        return (stat.st_mtime_ns, stat.st_ino, stat.st_dev, stat.st_size)
    return ()
