"""Settings of the safety kernel and of those who ask it."""

from cordum.runtime.settings.common import CommonSettings
from cordum.runtime.settings.declare import variable
from cordum.runtime.settings.grpc import GrpcServerSettings
from cordum.runtime.settings.values import Address, Count, DialAddress, FilePath, Flag, ListenAddress, Seconds


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


class SafetyKernelSettings(GrpcServerSettings):
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
    policy_path: str = variable(
        "SAFETY_POLICY_PATH", default="config/safety.yaml", text="Policy file; without one everything is denied"
    )
    policy_reload_interval: Seconds = variable(
        "SAFETY_POLICY_RELOAD_INTERVAL", default=30.0, least=0.1, most=3600, text="How often the file is looked at"
    )
    policy_max_bytes: Count = variable(
        "SAFETY_POLICY_MAX_BYTES", default=2 * 1024 * 1024, least=1, most=64 * 1024 * 1024, text="Largest policy file"
    )
    policy_public_key: str = variable(
        "SAFETY_POLICY_PUBLIC_KEY",
        default="",
        text="Key the policy must be signed with: ECDSA P-256 or Ed25519, PEM, base64 or hex; required in production",
    )
    policy_signature_required: Flag = variable(
        "SAFETY_POLICY_SIGNATURE_REQUIRED",
        default=False,
        shown="false; in production always",
        text="Refuse an unsigned policy",
    )
    policy_signature: str = variable(
        "SAFETY_POLICY_SIGNATURE", default="", text="Signature of the policy file, base64, hex or JSON"
    )
    policy_signature_path: str = variable(
        "SAFETY_POLICY_SIGNATURE_PATH", default="", shown="the policy file + `.sig`", text="File with the signature"
    )

    @property
    def demands_signature(self) -> bool:
        """Whether only a signed policy is loaded."""
        return self.production or self.policy_signature_required
