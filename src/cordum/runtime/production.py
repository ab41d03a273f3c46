"""What a process refuses to start with: always, and in production mode (spec-auth section 1).

Every rule names the variable and the remedy; all are looked at, so that one run tells everything.
"""

from collections.abc import Iterator
from typing import Final, TypeVar
from urllib.parse import urlsplit

from pydantic import SecretStr

from cordum.core.access.keys import BadKeysError, key_texts
from cordum.core.signing.errors import BadKeyError
from cordum.core.signing.keys import read_private_key
from cordum.core.signing.strictness import Strictness
from cordum.runtime import session_keys
from cordum.runtime.certificates import TlsError, check_ca, check_chain, load_pair
from cordum.runtime.redact import mask_urls
from cordum.runtime.secret_strength import API_KEY_LENGTH, PASSWORD_LENGTH, weakness
from cordum.runtime.settings.common import CommonSettings
from cordum.runtime.settings.declare import Settings, variables
from cordum.runtime.settings.gateway import GatewaySettings
from cordum.runtime.settings.grpc import GrpcServerSettings
from cordum.runtime.settings.kernel import KernelClientSettings, SafetyKernelSettings
from cordum.runtime.settings.nats import NatsSettings
from cordum.runtime.settings.policy_signing import PolicySigningSettings, SigningKeySettings
from cordum.runtime.settings.protections import GatewayProtections, Rigour
from cordum.runtime.settings.redis import RedisSettings
from cordum.runtime.settings.scheduler import SchedulerSettings
from cordum.runtime.settings.sessions import HandshakeSettings, SessionSettings
from cordum.runtime.settings.values import Address

S = TypeVar("S", bound=Settings)

LOOPBACK: Final = "127.0.0.1"


def harden(settings: S, given: frozenset[str]) -> S:
    """The settings with the defaults production changes: metrics on loopback unless made public (spec-auth C6).

    Args:
        settings: as read.
        given: the fields that were set, as opposed to left at their default.
    """
    port = _exposed_port(settings, given)
    return settings if port is None else settings.model_copy(update={"metrics_addr": Address(LOOPBACK, port)})


def _exposed_port(settings: Settings, given: frozenset[str]) -> int | None:
    """The default metrics port, where production moves it to loopback."""
    if not isinstance(settings, GatewaySettings | SchedulerSettings) or "metrics_addr" in given:
        return None
    return settings.metrics_addr.port if settings.production and not settings.metrics_public else None


def violations(settings: Settings, given: frozenset[str]) -> list[str]:
    """Every reason not to start, one line each, each beginning with a variable's name.

    Args:
        settings: as read.
        given: the fields that were set, as opposed to left at their default.
    """
    return list(_violations(settings, given))


def _violations(settings: Settings, given: frozenset[str]) -> Iterator[str]:
    yield from _files(settings)
    if isinstance(settings, NatsSettings):
        yield from _nats(settings, given)
    if isinstance(settings, RedisSettings):
        yield from _redis(settings, given)
    if isinstance(settings, KernelClientSettings):
        yield from _kernel_client(settings)
    if isinstance(settings, GatewaySettings):
        yield from _gateway(settings)
    if isinstance(settings, SigningKeySettings):
        yield from _signing_key(settings)
    if isinstance(settings, PolicySigningSettings):
        yield from _policy_signing(settings)
    if isinstance(settings, SessionSettings):
        yield from _sessions(settings)
    if isinstance(settings, SafetyKernelSettings):
        yield from _kernel(settings)
    if isinstance(settings, SchedulerSettings):
        yield from _scheduler(settings, given)
    if isinstance(settings, GatewayProtections):
        yield from _not_built(settings)


def _files(settings: Settings) -> Iterator[str]:
    for declared in variables(type(settings)):
        path = getattr(settings, declared.field)
        if "file" in declared.info.metadata and path and (fault := _unreadable(path)):
            yield f"{declared.name}={path}: {fault}"


def _unreadable(path: str) -> str | None:
    try:
        with open(path, "rb"):
            return None
    except OSError as error:
        return f"cannot be read: {error.strerror}"


def _server_pair(settings: CommonSettings, name: str, cert: str, key: str) -> Iterator[str]:
    """The certificate of a listener: both files or none, in production both, and they belong together."""
    key_name = f"{name[: -len('CERT')]}KEY"
    if not cert and not key:
        if settings.production:
            yield f"{name}: not set; production needs it, together with {key_name}"
        return
    yield from _pair(name, cert, key_name, key)


def _pair(name: str, cert: str, key_name: str, key: str) -> Iterator[str]:
    if cert and not key:
        yield f"{key_name}: not set, but {name} is; set both or none"
    elif key and not cert:
        yield f"{name}: not set, but {key_name} is; set both or none"
    elif cert and not _unreadable(cert) and not _unreadable(key):
        try:
            load_pair(cert, key)
        except TlsError as error:
            yield f"{name}={cert}: {error.message}"


def _client_files(settings: CommonSettings, prefix: str, ca: str, cert: str, key: str) -> Iterator[str]:
    """The files a client shows and trusts; in production its certificate must come from the CA."""
    faults = list(_pair(f"{prefix}_CERT", cert, f"{prefix}_KEY", key))
    yield from faults
    if not ca or _unreadable(ca):
        return
    try:
        check_ca(ca)
        if settings.production and cert and key and not faults and not _unreadable(cert):
            check_chain(cert, ca)
    except TlsError as error:
        yield f"{prefix}_CA={ca}: {error.message}"


def _bad_urls(text: str, schemes: tuple[str, ...]) -> str | None:
    for url in text.split(","):
        try:
            parts = urlsplit(url.strip())
            _ = parts.port
        except ValueError:
            return "not an address"
        if parts.scheme not in schemes or not parts.hostname:
            return f"not an address; write {' or '.join(f'{scheme}://host:port' for scheme in schemes)}"
    return None


def _nats(settings: NatsSettings, given: frozenset[str]) -> Iterator[str]:
    shown = f"NATS_URL={mask_urls(settings.nats_url)}"
    if fault := _bad_urls(settings.nats_url, ("nats", "tls")):
        yield f"{shown}: {fault}"
    yield from _client_files(settings, "NATS_TLS", settings.nats_tls_ca, settings.nats_tls_cert, settings.nats_tls_key)
    if bool(settings.nats_username) != bool(settings.nats_password):
        missing, present = ("PASSWORD", "USERNAME") if settings.nats_username else ("USERNAME", "PASSWORD")
        yield f"NATS_{missing}: not set, but NATS_{present} is; set both or none"
    if not settings.production:
        return
    urls = [url.strip() for url in settings.nats_url.split(",")]
    if "nats_url" not in given:
        yield "NATS_URL: not set; production has no default, write tls://host:4222"
    elif not settings.nats_allow_plaintext:
        if not all(url.startswith("tls://") for url in urls):
            yield f"{shown}: not tls://, which production needs unless CORDUM_NATS_ALLOW_PLAINTEXT=true"
        if not settings.nats_tls_ca:
            yield "NATS_TLS_CA: not set; production needs it (the system's bundle will do for a public CA)"
    has_login = settings.nats_username or settings.nats_token or settings.nats_nkey or _all_have_login(urls)
    if not has_login and not settings.nats_allow_noauth:
        yield (
            "NATS_USERNAME: not set; production needs NATS_USERNAME and NATS_PASSWORD, NATS_TOKEN or NATS_NKEY, "
            "unless CORDUM_NATS_ALLOW_NOAUTH=true"
        )
    if settings.nats_tls_insecure:
        yield "NATS_TLS_INSECURE=true: production verifies certificates; unset it"


def _all_have_login(urls: list[str]) -> bool:
    return all("@" in url for url in urls)


def _redis(settings: RedisSettings, given: frozenset[str]) -> Iterator[str]:
    shown = f"REDIS_URL={mask_urls(settings.redis_url)}"
    if fault := _bad_urls(settings.redis_url, ("redis", "rediss")):
        yield f"{shown}: {fault}"
    for name, addresses in (
        ("REDIS_CLUSTER_ADDRESSES", settings.redis_cluster_addresses),
        ("REDIS_SENTINEL_ADDRESSES", settings.redis_sentinel_addresses),
    ):
        for address in addresses:
            if not address.host or not address.port:
                yield f"{name}={address}: not an address to connect to; write host:port"
    if settings.redis_cluster_addresses and settings.redis_sentinel_addresses:
        yield "REDIS_SENTINEL_ADDRESSES: set together with REDIS_CLUSTER_ADDRESSES; it is one or the other"
    yield from _client_files(
        settings, "REDIS_TLS", settings.redis_tls_ca, settings.redis_tls_cert, settings.redis_tls_key
    )
    if not settings.production:
        return
    if "redis_url" not in given:
        yield "REDIS_URL: not set; production has no default, write rediss://host:6379"
    elif not settings.redis_url.startswith("rediss://"):
        yield f"{shown}: not rediss://, which production needs"
    if not settings.redis_tls_ca:
        yield "REDIS_TLS_CA: not set; production needs it (the system's bundle will do for a public CA)"
    if settings.redis_tls_insecure:
        yield "REDIS_TLS_INSECURE=true: production verifies certificates; unset it"


def _kernel_client(settings: KernelClientSettings) -> Iterator[str]:
    address = settings.safety_kernel_addr
    if not address.host or not address.port:
        yield f"SAFETY_KERNEL_ADDR={address}: not an address to connect to; write host:port"
    if not settings.safety_kernel_tls_ca and (settings.production or settings.safety_kernel_tls_required):
        why = "production needs it" if settings.production else "SAFETY_KERNEL_TLS_REQUIRED asks for it"
        yield f"SAFETY_KERNEL_TLS_CA: not set; {why}"
    cert, key = settings.safety_kernel_tls_client_cert, settings.safety_kernel_tls_client_key
    yield from _pair("SAFETY_KERNEL_TLS_CLIENT_CERT", cert, "SAFETY_KERNEL_TLS_CLIENT_KEY", key)
    yield from _ca("SAFETY_KERNEL_TLS_CA", settings.safety_kernel_tls_ca)


def _ca(name: str, ca: str) -> Iterator[str]:
    if ca and not _unreadable(ca):
        try:
            check_ca(ca)
        except TlsError as error:
            yield f"{name}={ca}: {error.message}"


def _metrics(name: str, settings: GatewaySettings | SchedulerSettings) -> Iterator[str]:
    if settings.production and not settings.metrics_public and not settings.metrics_addr.is_loopback:
        yield (
            f"{name}_METRICS_ADDR={settings.metrics_addr}: other machines could read the metrics; "
            f"set {name}_METRICS_PUBLIC=1 or a loopback address"
        )


def _gateway(settings: GatewaySettings) -> Iterator[str]:
    yield from _server_pair(settings, "GATEWAY_HTTP_TLS_CERT", settings.http_tls_cert, settings.http_tls_key)
    yield from _server_pair(settings, "GRPC_TLS_CERT", settings.grpc_tls_cert, settings.grpc_tls_key)
    yield from _metrics("GATEWAY", settings)
    keys: list[str] = []
    if settings.api_keys:
        try:
            keys = key_texts(settings.api_keys.get_secret_value())
        except BadKeysError as error:
            yield f"CORDUM_API_KEYS: {error.message}"
            return
    if not settings.production:
        return
    if not settings.api_key and not keys and not settings.api_keys_path:
        yield "CORDUM_API_KEY: not set; production needs it, CORDUM_API_KEYS or CORDUM_API_KEYS_PATH"
    if "*" in settings.allowed_origins:
        yield "CORDUM_ALLOWED_ORIGINS=*: production needs a list of origins"
    if settings.dashboard_embed_api_key:
        yield "CORDUM_DASHBOARD_EMBED_API_KEY=true: production does not hand its API key to browsers; unset it"
    if not settings.skip_secret_validation:
        yield from _weak_secrets(settings, keys)


def _weak_secrets(settings: GatewaySettings, keys: list[str]) -> Iterator[str]:
    found = [
        ("CORDUM_API_KEY", _text(settings.api_key), API_KEY_LENGTH),
        ("REDIS_PASSWORD", _text(settings.redis_password), PASSWORD_LENGTH),
    ]
    found += [
        (f"CORDUM_API_KEYS: key {number}", key, API_KEY_LENGTH)
        for number, key in enumerate(keys, start=1)
        if not key.startswith("sha256:")
    ]
    for name, secret, least in found:
        if secret and (fault := weakness(secret, least)):
            yield f"{name}: {fault}; use a random one (CORDUM_SKIP_SECRET_VALIDATION=true accepts it)"


def _text(secret: SecretStr | None) -> str:
    return secret.get_secret_value() if secret else ""


def _kernel(settings: SafetyKernelSettings) -> Iterator[str]:
    yield from _server_pair(settings, "SAFETY_KERNEL_TLS_CERT", settings.tls_cert, settings.tls_key)
    yield from _ca("SAFETY_KERNEL_TLS_CLIENT_CA", settings.tls_client_ca)
    if settings.tls_client_ca and not settings.tls_cert:
        yield "SAFETY_KERNEL_TLS_CLIENT_CA: set without SAFETY_KERNEL_TLS_CERT; without TLS nobody shows a certificate"
    if settings.trusted_callers and not settings.tls_client_ca:
        yield "SAFETY_KERNEL_TRUSTED_CALLERS: set without SAFETY_KERNEL_TLS_CLIENT_CA; nobody shows a certificate"
    yield from _policy_source(settings)
    yield from _policy_signature(settings)


def _policy_source(settings: SafetyKernelSettings) -> Iterator[str]:
    if not settings.policy_url:
        return
    shown = f"SAFETY_POLICY_URL={mask_urls(settings.policy_url)}"
    if settings.production and not settings.policy_url.startswith("https://"):
        yield f"{shown}: not https://, which production needs"
    yield from _ca("SAFETY_POLICY_URL_CA", settings.policy_url_ca)
    if settings.demands_signature and not settings.policy_signature and not settings.policy_signature_path:
        yield f"{shown}: set without SAFETY_POLICY_SIGNATURE or SAFETY_POLICY_SIGNATURE_PATH, and it must be signed"


def _policy_signature(settings: SafetyKernelSettings) -> Iterator[str]:
    has_key = settings.policy_public_key or settings.policy_public_keys
    if settings.demands_signature and not has_key:
        if settings.production:
            why = "production needs it"
        elif settings.policy_signature_required:
            why = "SAFETY_POLICY_SIGNATURE_REQUIRED asks for it"
        else:
            why = "CORDUM_POLICY_STRICT asks for it"
        yield f"SAFETY_POLICY_PUBLIC_KEY: policy signature required but no key to verify it with is set; {why}"
    if settings.policy_strict is Strictness.OFF and settings.demands_signature:
        why = "production" if settings.production else "SAFETY_POLICY_SIGNATURE_REQUIRED"
        yield f"CORDUM_POLICY_STRICT=off: {why} wants signatures enforced; unset one of the two"


def _scheduler(settings: SchedulerSettings, given: frozenset[str]) -> Iterator[str]:
    yield from _metrics("SCHEDULER", settings)
    if settings.production and "timeout_config_path" in given and (fault := _unreadable(settings.timeout_config_path)):
        yield f"TIMEOUT_CONFIG_PATH={settings.timeout_config_path}: {fault}"


def _read_text(path: str) -> str:
    """A file's text; "" for none, and for one that `_files` has complained about."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def _signing_key(settings: SigningKeySettings) -> Iterator[str]:
    for name, text in (
        ("CORDUM_POLICY_SIGNING_KEY", _text(settings.policy_signing_key)),
        ("CORDUM_POLICY_SIGNING_KEY_PATH", _read_text(settings.policy_signing_key_path)),
    ):
        try:
            if text:
                read_private_key(text)
        except BadKeyError as error:
            yield f"{name}: {error.message}"


def _sessions(settings: SessionSettings) -> Iterator[str]:
    if any(_files(settings)) or any(_signing_key(settings)):
        return  # that has been said
    enforced = settings.sdk_handshake is Rigour.ENFORCE
    try:
        if session_keys.read_signer(settings) is None and enforced:
            yield (
                "CORDUM_POLICY_SIGNING_KEY: no Ed25519 key; CORDUM_SDK_HANDSHAKE=enforce needs one to sign sessions "
                "with (or CORDUM_POLICY_SIGNING_KEY_PATH)"
            )
        if isinstance(settings, HandshakeSettings):
            session_keys.read_trusted(settings)
            if session_keys.read_trust_key(settings) is None and enforced:
                yield (
                    "CORDUM_SCHEDULER_TRUST_KEY: not set; CORDUM_SDK_HANDSHAKE=enforce needs a P-256 key by which "
                    "workers know the scheduler (or CORDUM_SCHEDULER_TRUST_KEY_PATH)"
                )
    except session_keys.SessionKeyError as error:
        yield error.message


def _policy_signing(settings: PolicySigningSettings) -> Iterator[str]:
    if settings.production and settings.policy_dev_signing_seed is not None:
        yield (
            "CORDUM_POLICY_DEV_SIGNING_SEED: whoever knows the text can sign; "
            "production needs CORDUM_POLICY_SIGNING_KEY"
        )


def _not_built(settings: GatewayProtections) -> Iterator[str]:
    """A protection that is asked for and does not exist is no reason to go without it."""
    if settings.jwt_required:
        yield "CORDUM_JWT_REQUIRED=true: not available in this version, which knows API keys only; unset it"
    if settings.license_required:
        yield "CORDUM_LICENSE_REQUIRED=true: not available in this version, which reads no licences; unset it"


def notices(settings: CommonSettings) -> list[str]:
    """What an operator should know about settings that count for nothing; logged once at the start."""
    found = []
    if isinstance(settings, GrpcServerSettings) and settings.grpc_reflection and not settings.serves_reflection:
        found.append("CORDUM_GRPC_REFLECTION is ignored in production; CORDUM_GRPC_REFLECTION_FORCE=1 would allow it")
    if isinstance(settings, SafetyKernelSettings) and settings.production and not settings.tls_client_ca:
        found.append("SAFETY_KERNEL_TLS_CLIENT_CA is not set: whoever reaches the kernel is believed like a service")
    if isinstance(settings, GatewaySettings) and settings.dashboard_embed_api_key:
        found.append("CORDUM_DASHBOARD_EMBED_API_KEY hands the API key to every browser; never do that in production")
    if isinstance(settings, GatewaySettings | SchedulerSettings) and settings.metrics_addr.is_loopback:
        found.append(f"metrics bound to loopback, {settings.metrics_addr}")
    if (
        isinstance(settings, HandshakeSettings)
        and settings.sdk_handshake is Rigour.WARN
        and not settings.has_session_keys
    ):
        found.append(
            "CORDUM_SDK_HANDSHAKE=warn has no effect: CORDUM_POLICY_SIGNING_KEY (Ed25519) and "
            "CORDUM_SCHEDULER_TRUST_KEY (P-256) are not both set, so no handshake is answered"
        )
    return found
