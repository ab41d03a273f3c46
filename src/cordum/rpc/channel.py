"""A gRPC channel as our clients open it: keepalive, quick reconnects, every address of a name in use, TLS."""

from pathlib import Path

import grpc
import msgspec

from cordum.core.errors import CordumError
from cordum.rpc.server import MAX_MESSAGE_BYTES


class ChannelError(CordumError):
    """The gRPC client cannot be set up."""

    code = "grpc_channel_failed"


class ClientTls(msgspec.Struct, frozen=True):
    """PEM texts: the CA that must have signed the server; our own pair where the server asks for one."""

    ca: bytes
    certificate: bytes | None = None
    key: bytes | None = None

    @classmethod
    def from_files(cls, ca: str | Path, certificate: str | Path = "", key: str | Path = "") -> "ClientTls":
        """Reads the files; raises ChannelError naming the one that cannot be read."""
        pair = (_read(certificate), _read(key)) if certificate and key else (None, None)
        return cls(_read(ca), *pair)


def open_channel(
    target: str, tls: ClientTls | None, *, keepalive: float = 30.0, keepalive_timeout: float = 10.0
) -> grpc.aio.Channel:
    """A channel to `target` (`host:port` or any gRPC name); it connects at the first call. Times in seconds."""
    options: list[tuple[str, int | str]] = [
        ("grpc.keepalive_time_ms", int(keepalive * 1000)),
        ("grpc.keepalive_timeout_ms", int(keepalive_timeout * 1000)),
        # A kernel that comes back is found within a second or two, not after gRPC's own two minutes.
        ("grpc.initial_reconnect_backoff_ms", 200),
        ("grpc.min_reconnect_backoff_ms", 500),
        ("grpc.max_reconnect_backoff_ms", 2000),
        # Replicas behind one name share the load, and one that dies is skipped.
        ("grpc.service_config", '{"loadBalancingConfig":[{"round_robin":{}}]}'),
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
        # A process of its own HTTP proxy setting must not put a proxy between us and the kernel.
        ("grpc.enable_http_proxy", 0),
    ]
    if tls is None:
        return grpc.aio.insecure_channel(target, options=options)
    credentials = grpc.ssl_channel_credentials(tls.ca, tls.key, tls.certificate)
    return grpc.aio.secure_channel(target, credentials, options=options)


def _read(path: str | Path) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ChannelError(f"cannot read {path}: {error.strerror}") from error
