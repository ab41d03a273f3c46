"""Settings of the safety kernel and of those who ask it."""

import re
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import BeforeValidator

from cordum.runtime.settings.common import CommonSettings
from cordum.runtime.settings.declare import variable
from cordum.runtime.settings.grpc import GrpcServerSettings
from cordum.runtime.settings.output import FailMode, FailModeWord
from cordum.runtime.settings.policy_signing import PolicyTrustSettings, PublicKeySettings
from cordum.runtime.settings.values import Address, Count, DialAddress, FilePath, Flag, ListenAddress, Seconds


def _words(value: object) -> object:
    """Words separated by commas or spaces."""
    return tuple(part for part in re.split(r"[,\s]+", value) if part) if isinstance(value, str) else value


def _hosts(value: object) -> object:
    return tuple(host.lower().strip(".") for host in words) if isinstance(words := _words(value), tuple) else words


def _url(value: object) -> object:
    if not isinstance(value, str) or not value:
        return value
    try:
        parts = urlsplit(value)
        _ = parts.port
    except ValueError:
        raise ValueError("not a URL") from None
    if parts.scheme not in ("https", "http") or not parts.hostname:
        raise ValueError("not a URL; write https://host/path")
    if parts.username is not None or parts.password is not None:
        raise ValueError("a URL with a user or password in it, which would show up in logs")
    return value


Words = Annotated[tuple[str, ...], BeforeValidator(_words)]


class KernelClientSettings(CommonSettings):
    """How gateway and scheduler reach the safety kernel (spec-safety section 2)."""

    safety_kernel_addr: DialAddress = variable(
        "SAFETY_KERNEL_ADDR", default=Address("localhost", 50051), text="Safety kernel, host:port"
    )
    safety_kernel_tls_ca: FilePath = variable(
        "SAFETY_KERNEL_TLS_CA", default="", text="CA of the kernel's certificate; set, the connection is TLS"
    )
    safety_kernel_tls_required: Flag = variable(
        "SAFETY_KERNEL_TLS_REQUIRED",
        default=False,
        shown="false; in production always",
        text="Refuse to start without SAFETY_KERNEL_TLS_CA",
    )
    safety_kernel_tls_client_cert: FilePath = variable(
        "SAFETY_KERNEL_TLS_CLIENT_CERT", default="", text="Client certificate shown to the kernel"
    )
    safety_kernel_tls_client_key: FilePath = variable(
        "SAFETY_KERNEL_TLS_CLIENT_KEY", default="", text="Key of SAFETY_KERNEL_TLS_CLIENT_CERT"
    )
    grpc_client_keepalive_time: Seconds = variable(
        "CORDUM_GRPC_CLIENT_KEEPALIVE_TIME",
        default=30.0,
        least=10,
        most=7200,
        text="An idle kernel is pinged this often",
    )
    grpc_client_keepalive_timeout: Seconds = variable(
        "CORDUM_GRPC_CLIENT_KEEPALIVE_TIMEOUT", default=10.0, least=1, most=600, text="How long its answer may take"
    )


class SafetyKernelSettings(GrpcServerSettings, PolicyTrustSettings, PublicKeySettings):
    """The safety kernel (spec-safety sections 1, 2, 5 and 6)."""

    service = "cordum-safety-kernel"

    addr: ListenAddress = variable(
        "SAFETY_KERNEL_ADDR", default=Address("127.0.0.1", 50051), text="gRPC listen address"
    )
    admin_addr: ListenAddress = variable(
        "SAFETY_KERNEL_ADMIN_ADDR", default=Address("", 9095), text="Health and metrics listen address"
    )
    tls_cert: FilePath = variable(
        "SAFETY_KERNEL_TLS_CERT", default="", text="Server certificate; reloaded when changed"
    )
    tls_key: FilePath = variable("SAFETY_KERNEL_TLS_KEY", default="", text="Key of SAFETY_KERNEL_TLS_CERT")
    tls_client_ca: FilePath = variable(
        "SAFETY_KERNEL_TLS_CLIENT_CA", default="", text="Only clients with a certificate of this CA may ask"
    )
    trusted_callers: Words = variable(
        "SAFETY_KERNEL_TRUSTED_CALLERS",
        default=(),
        text="Names (CN or SAN) in client certificates whose labels that begin with _ count; from others they are "
        "dropped; none: all with a certificate of SAFETY_KERNEL_TLS_CLIENT_CA are trusted",
    )
    policy_path: str = variable(
        "SAFETY_POLICY_PATH", default="config/safety.yaml", text="Policy file; without any policy everything is denied"
    )
    policy_url: Annotated[str, BeforeValidator(_url)] = variable(
        "SAFETY_POLICY_URL", default="", text="Where the policy is fetched instead of the file; https in production"
    )
    policy_url_allowlist: Annotated[tuple[str, ...], BeforeValidator(_hosts)] = variable(
        "SAFETY_POLICY_URL_ALLOWLIST",
        default=(),
        shown="any public host",
        text="Hosts the policy may be fetched from, their sub-domains too, after a redirect as well",
    )
    policy_url_allow_private: Flag = variable(
        "SAFETY_POLICY_URL_ALLOW_PRIVATE",
        default=False,
        text="Let SAFETY_POLICY_URL lead to private, loopback and link-local addresses",
    )
    policy_url_ca: FilePath = variable(
        "SAFETY_POLICY_URL_CA", default="", shown="the system's", text="CA of the server of SAFETY_POLICY_URL"
    )
    policy_config_scope: str = variable(
        "SAFETY_POLICY_CONFIG_SCOPE", default="system", text="Scope of the configuration document with the bundles"
    )
    policy_config_id: str = variable(
        "SAFETY_POLICY_CONFIG_ID", default="policy", text="Id of the configuration document with the bundles"
    )
    policy_config_key: str = variable(
        "SAFETY_POLICY_CONFIG_KEY", default="bundles", text="Key of the bundles in that document"
    )
    policy_config_disable: Flag = variable(
        "SAFETY_POLICY_CONFIG_DISABLE", default=False, text="Use no bundles, only the file or URL"
    )
    policy_reload_interval: Seconds = variable(
        "SAFETY_POLICY_RELOAD_INTERVAL", default=30.0, least=0.1, most=3600, text="How often the policy is looked at"
    )
    policy_max_bytes: Count = variable(
        "SAFETY_POLICY_MAX_BYTES",
        default=2 * 1024 * 1024,
        least=1,
        most=64 * 1024 * 1024,
        text="Largest policy file, and largest bundle",
    )
    policy_public_key: str = variable(
        "SAFETY_POLICY_PUBLIC_KEY",
        default="",
        text="Key the policy must be signed with: ECDSA P-256 or Ed25519, PEM, base64 or hex; required in production",
    )
    policy_public_key_id: str = variable(
        "SAFETY_POLICY_PUBLIC_KEY_ID", default="", shown="any", text="Id of SAFETY_POLICY_PUBLIC_KEY in signatures"
    )
    policy_min_revision: Count = variable(
        "SAFETY_POLICY_MIN_REVISION",
        default=0,
        least=0,
        text="Lowest revision of the bundles' signed manifest that is loaded, against old ones put back",
    )
    policy_signature: str = variable(
        "SAFETY_POLICY_SIGNATURE", default="", text="Signature of the policy file, base64, hex or JSON"
    )
    policy_signature_path: str = variable(
        "SAFETY_POLICY_SIGNATURE_PATH", default="", shown="the policy file + `.sig`", text="File with the signature"
    )
    delegation_policy_enabled: Flag = variable(
        "CORDUM_DELEGATION_POLICY_ENABLED",
        default=False,
        text="Load policies whose rules go by delegation, which only trusted callers may vouch for; else refuse them",
    )
    shadow_eval_disabled: Flag = variable(
        "CORDUM_SHADOW_EVAL_DISABLED", default=False, text="Compare no shadow policies with the one in force"
    )
    velocity_fail_mode: FailModeWord = variable(
        "VELOCITY_FAIL_MODE",
        default=FailMode.CLOSED,
        text="Velocity rules while nobody can count: closed, they ask a human; open, they do not apply",
    )
    decision_cache_ttl: Seconds = variable(
        "SAFETY_DECISION_CACHE_TTL",
        default=0.0,
        least=0,
        most=86_400,
        shown="0: as long as the policy is in force",
        text="How long a decision is remembered for further requests that are the same",
    )
    decision_cache_max_size: Count = variable(
        "SAFETY_DECISION_CACHE_MAX_SIZE",
        default=10_000,
        most=1_000_000,
        text="Most decisions remembered, 2 KiB each at most; 0 or less for the default",
    )

    output_scanners_path: str = variable(
        "OUTPUT_SCANNERS_PATH",
        default="config/output_scanners.yaml",
        text="File with scanners for content rules, beside or instead of the built-in ones",
    )
